import numpy as np
import pytest
import show_harmonized
import torch
from PIL import Image
from reproduction.small.network import build

import opmask


@pytest.fixture
def checkpoint(tmp_path):
    opmask.save(build(8, "none"), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(show_harmonized, "SIZE", 64)


@pytest.fixture
def folder(tmp_path):
    """Two composites, of which the left half and nothing were changed."""
    for name in ("composite_images", "masks"):
        (tmp_path / name).mkdir()
    for stem, side in (("a", 60), ("b", 0)):
        pixels = np.full((80, 120, 3), (90, 120, 200), np.uint8)
        pixels[:, :side, 0] = 200
        Image.fromarray(pixels).save(tmp_path / "composite_images" / f"{stem}.png")
        mask = np.zeros((80, 120), np.uint8)
        mask[:, :side] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path


def test_a_row_has_a_column_for_everything_given():
    example = next(show_harmonized.samples(64))
    row = show_harmonized.panel_row(build(8, "none"), example)
    given = ["given the region", "given a box", "given nothing"]
    assert list(row.images) == ["composite", *given, "photo", "region"]
    torch.testing.assert_close(
        row.images["given nothing"], row.images["composite"], atol=1e-3, rtol=0
    )
    assert torch.equal(row.images["region"][0] > 0, example.regions > 0)


def test_composites_of_a_folder_are_made_small_and_put_on_squares(folder):
    first, second = show_harmonized.composites_in(folder, 64)
    assert first.composite.shape == (3, 43, 64)
    assert first.regions.float().mean() == pytest.approx(0.5, abs=0.02)
    assert not second.regions.any()
    row = show_harmonized.panel_row(build(8, "none"), first)
    assert {tuple(image.shape[1:]) for image in row.images.values()} == {(64, 64)}
    assert (row.images["composite"][:, 43:] == 1).all()


def test_examples_are_shown_in_one_picture(checkpoint, folder, capsys):
    out = folder / "scenes.png"
    model = ["--model", str(checkpoint)]
    show_harmonized.main([*model, "--count", "2", "--out", str(out)])
    assert capsys.readouterr().out == f"The picture is {out}.\n"
    with Image.open(out) as picture:
        rows = picture.height
    show_harmonized.main([str(folder), *model, "--count", "1", "--out", str(out), "--overwrite"])
    with Image.open(out) as picture:
        assert picture.height < rows


def test_regions_are_outlined_from_the_outside():
    image, region = torch.rand(3, 9, 9), torch.zeros(1, 9, 9, dtype=torch.bool)
    region[:, 3:6, 3:6] = True
    made = show_harmonized.outlined(image, region)
    changed = (made != image).any(0)
    assert not changed[3:6, 3:6].any()
    assert changed.sum() == 7 * 7 - 3 * 3
    assert (made[:, changed] * 255).unique(dim=1).flatten().tolist() == [255, 64, 32]


def test_models_are_judged_beside_each_other_given_the_region(folder):
    example = next(show_harmonized.composites_in(folder, 64))
    model = build(8, "none")
    torch.nn.init.normal_(model.backbone.out.weight)
    row = show_harmonized.guided_row({"a": model, "b": build(8, "none")}, example)
    assert list(row.images) == ["composite", "region", "a", "b"]
    region = (example.regions > 0)[None]
    made = opmask.harmonize(model, example.composite, region=region)
    torch.testing.assert_close(row.images["a"], made)


def test_composites_fill_sheets(checkpoint, folder, capsys):
    out = folder / "sheet.png"
    assert show_harmonized.sheets(out, 5, None) == {out: slice(5)}
    sheets = show_harmonized.sheets(out, 5, 2)
    assert [path.name for path in sheets] == ["sheet-1.png", "sheet-2.png", "sheet-3.png"]
    assert [list(range(5))[rows] for rows in sheets.values()] == [[0, 1], [2, 3], [4]]
    options = ["--guided", "--model", str(checkpoint), "--per-sheet", "1", "--out", str(out)]
    show_harmonized.main([str(folder), *options])
    assert capsys.readouterr().out.count("The picture is ") == 2


def test_several_models_are_for_guided_sheets_only(checkpoint, capsys):
    with pytest.raises(SystemExit):
        show_harmonized.main(["--model", str(checkpoint), str(checkpoint)])
    assert "unless --guided is given" in capsys.readouterr().err


def test_a_folder_without_composites_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="must hold composites in composite_images, got none"):
        show_harmonized.main([str(tmp_path)])
