import numpy as np
import pytest
import show_harmonized
import torch
from PIL import Image
from reproduction.small.network import build

import opmask


@pytest.fixture
def checkpoint(tmp_path):
    opmask.save(build(8, None), tmp_path / "model.safetensors")
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
    example = next(show_harmonized.samples())
    row = show_harmonized.panel_row(build(8, None), example)
    given = ["given the region", "given a box", "given nothing"]
    assert list(row.images) == ["composite", *given, "photo", "region"]
    torch.testing.assert_close(
        row.images["given nothing"], row.images["composite"], atol=1e-3, rtol=0
    )
    assert torch.equal(row.images["region"][0] > 0, example.regions > 0)


def test_composites_of_a_folder_are_made_small_and_put_on_squares(folder):
    first, second = show_harmonized.composites_in(folder)
    assert first.composite.shape == (3, 43, 64)
    assert first.regions.float().mean() == pytest.approx(0.5, abs=0.02)
    assert not second.regions.any()
    row = show_harmonized.panel_row(build(8, None), first)
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
