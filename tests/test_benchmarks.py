import ast
import sys

import numpy as np
import pytest
import torch
from benchmark_scripts import FOLDER, load
from PIL import Image

from opmask import OperatorMaskWrapper
from opmask.backbones import SmallUNet
from opmask.perturb import apply_filter


@pytest.mark.slow
def test_the_conditioning_benchmark_runs(monkeypatch, tmp_path, capsys):
    module = load("conditioning")
    monkeypatch.setattr(module, "NETWORKS", {"pix2pix": lambda: module.PixelToPixel(4)})
    monkeypatch.setattr(module, "batches", lambda seed, count, size: random_batches(size))
    flags = ["--steps", "12", "--seeds", "1", "--size", "32", "--out", str(tmp_path / "rows.json")]
    monkeypatch.setattr("sys.argv", ["conditioning.py", *flags])
    module.main()
    assert "| pix2pix |" in capsys.readouterr().out


def random_batches(size):
    return [tuple(torch.rand(4, channels, size, size) for channels in (3, 3, 1))] * 3


@pytest.mark.slow
def test_a_tapped_head_starts_at_the_composite_and_an_output_does_not(monkeypatch, capsys):
    module = load("heads")
    monkeypatch.setattr(module, "SCENES", 8)
    monkeypatch.setattr(module, "HELD_OUT", 2)
    flags = ["--steps", "2", "--size", "32", "--batch-size", "2"]
    monkeypatch.setattr("sys.argv", ["heads.py", *flags])
    module.main()
    table = capsys.readouterr().out.strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    (_, _, _, composite, *_), *models = rows
    heads = ["tapped", "its own output"]
    assert [row[:2] for row in models] == [[name, h] for name in module.NETWORKS for h in heads]
    for _, head, start, *_ in models:
        assert (start == composite) == (head == "tapped")


def test_mutations_change_code_and_leave_messages_alone():
    module = load("mutation")
    source = "def f(x):\n    if x < 0:\n        raise ValueError(f'{x + 1}')\n    return 2 * x"
    texts = {module.mutated(source, number, kind)[0] for number, kind in module.sites(source)}
    assert len(texts) == 6  # the comparison, its constant, three for the product, its constant
    assert all("x + 1" in text and ast.parse(text) for text in texts)


@pytest.fixture
def filters(monkeypatch):
    """The comparison of filters, on few pictures."""
    module = load("filters")
    noise = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    monkeypatch.setattr(module, "every_color", lambda: [noise])
    monkeypatch.setattr(module, "every_level", lambda: [noise.swapaxes(0, 1).copy()])
    monkeypatch.setattr("sys.argv", ["filters.py", "--photos", "2"])
    return module


def test_the_comparison_of_filters_finds_all_of_them_exact(filters, monkeypatch, capsys, tmp_path):
    picture = tmp_path / "filters.png"
    monkeypatch.setattr("sys.argv", [*sys.argv, "--picture", str(picture)])
    assert exit_code(filters.main) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[-1] == "32 of 32 filters: maximum difference 0"
    assert sum(row.endswith("| 0 | 0 | 0 | 0 | 0 |") for row in rows) == 32
    with Image.open(picture) as drawn:
        assert drawn.width > 1000


def exit_code(main):
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_the_comparison_of_filters_reports_one_level_in_one_pixel(filters, monkeypatch, capsys):
    def off_by_one(images, name, amount):
        filtered = apply_filter(images, name, amount)
        if name == "moon" and images.shape[2:] == (3, 3):
            filtered[0, 2, 2, 2] ^= 1
        return filtered

    monkeypatch.setattr(filters, "apply_filter", off_by_one)
    assert exit_code(filters.main) == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows[-1] == "31 of 32 filters: maximum difference 0"
    assert "| moon | 0 | 0 | 0 | 1 | 1 |" in rows


@pytest.mark.slow
def test_the_comparison_of_filters_covers_every_color_and_every_level_everywhere():
    module = load("filters")
    codes = np.concatenate([p.reshape(-1, 3) for p in module.every_color()]).astype(int)
    assert (np.bincount(codes @ [65536, 256, 1], minlength=2**24) == 1).all()
    pictures = module.every_level()
    for shape in (pictures[0].shape, pictures[-1].shape):
        stack = np.stack([picture for picture in pictures if picture.shape == shape])
        assert (np.sort(stack, 0) == np.arange(256)[:, None, None, None]).all()


def test_the_comparison_of_filters_reads_photos_evenly_from_folders(tmp_path):
    for index in range(10):
        Image.new("RGB", (index + 1, 5)).save(tmp_path / f"{index}.jpg")
    (tmp_path / "notes.txt").write_text("not a photo")
    read = load("filters").photos([tmp_path], 4)
    assert [picture.shape for picture in read] == [(5, width, 3) for width in (1, 4, 7, 10)]


@pytest.mark.slow
def test_the_training_step_benchmark_runs(monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)  # it takes the reference pipeline from perturb.py
    module = load("training_step")
    monkeypatch.setattr(module, "SIZE", 32)
    monkeypatch.setattr(module, "SCENES", 4)
    monkeypatch.setattr(module, "AttentionUNet", lambda: SmallUNet(3, width=8))
    flags = ["--steps", "2", "--workers", "0", "--batch-size", "2"]
    monkeypatch.setattr("sys.argv", ["training_step.py", *flags])
    module.main()
    rows = [row.split(" | ") for row in capsys.readouterr().out.splitlines()]
    ways = {row[0]: row[1:] for row in rows if row[0].startswith("| ")}
    assert len(ways) == 4
    del ways[next(iter(ways))]  # the headings
    spent = {way: float(cells[1].split()[0]) for way, cells in ways.items()}
    assert spent["| workers read and perturb"] < spent["| workers read, the device perturbs"] / 5


def test_times_are_medians_without_the_first_step_and_shares_add_up(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    module = load("training_step")
    clock = module.Clock(torch.device("cpu"))
    monkeypatch.setattr(clock, "now", iter([9.0, 10.0, 12.0, 17.0]).__next__)
    clock.last = 0.0
    for _ in range(4):
        clock.lap("forward")
    assert clock.medians() == {"forward": 2000.0}
    times = dict(zip(module.PARTS, (10.0, 30.0, 60.0, 100.0), strict=True))
    cells = "10.0 (5.0%) | 30.0 (15.0%) | 60.0 (30.0%) | 100.0 (50.0%) | 200"
    assert module.row("so", times) == f"| so | {cells} |"


@pytest.mark.slow
def test_the_parity_of_onnx_is_printed(monkeypatch, capsys):
    module = load("onnx_parity")
    network = OperatorMaskWrapper(SmallUNet(4, width=8), region=True)
    monkeypatch.setattr(module, "NETWORKS", {"small": network.eval})
    monkeypatch.setattr(module, "SIZES", ((1, 40, 50),))
    monkeypatch.setattr("sys.argv", ["onnx_parity.py", "--only", "hls_ret", "small"])
    module.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    kinds = ["retoucher | 1 of", "retoucher | 1 of", "both | 1 of", "both | 1 of"]
    assert all(kind in row for kind, row in zip(kinds, rows, strict=True))


@pytest.mark.slow
def test_the_flicker_benchmark_runs_without_data(monkeypatch, capsys):
    module = load("flicker")
    monkeypatch.setattr(module, "PANS", ((2, 2.0),))
    flags = ["--photos", "1", "--frames", "4", "--lags", "1"]
    monkeypatch.setattr("sys.argv", ["flicker.py", *flags])
    module.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["found", "given"]
    assert all(float(row.split("|")[5]) < 1 for row in rows)


@pytest.mark.slow
def test_the_benchmark_of_rerendering_finds_the_same_pictures(monkeypatch, capsys):
    module = load("rerender")
    monkeypatch.setattr("sys.argv", ["rerender.py", "--size", "64", "--repeats", "1"])
    module.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("|")[2].strip() for row in rows] == ["no", "yes"]
    assert all(int(row.split("|")[6].split("/")[0]) <= 2 for row in rows)


@pytest.mark.slow
def test_the_wrapper_benchmark_compares_predicting_training_and_loading(monkeypatch, capsys):
    module = load("wrapper")
    monkeypatch.setattr(module, "SIZE", 64)
    monkeypatch.setattr(module, "NETWORKS", {"small": lambda: SmallUNet(width=8)})
    monkeypatch.setattr("sys.argv", ["wrapper.py", "--repeats", "1"])
    module.main()
    rows = [row.split("|")[1:-1] for row in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == ["predict", "forward and backward", "load"]
    assert all(float(row[4]) > 0 for row in rows)


def test_the_wrapper_benchmark_compares_the_same_weights():
    module = load("wrapper")
    bare, model = module.pairs(SmallUNet(width=8))
    torch.testing.assert_close(bare.state_dict(), model.backbone.state_dict())
    assert all(parameter.requires_grad for parameter in bare.parameters())
    assert not bare.out._forward_hooks


def test_the_wrapper_benchmark_gives_medians_of_ratios_without_the_first_turn(monkeypatch):
    module = load("wrapper")
    times = {"bare": iter([9.0, 1.0, 2.0, 4.0]), "ours": iter([9.0, 2.0, 2.0, 12.0])}
    monkeypatch.setattr(module, "seconds", lambda call: next(times[call]))
    row = module.compared("work", "network", "bare", "ours", 3)
    assert row == ("work", "network", "2000.0 ms", "2000.0 ms", "2.000")


def test_the_benchmark_of_operators_compares_the_same_jobs(monkeypatch, capsys):
    module = load("operators")
    image = module.photos(None, 2, 32)
    masks = module.smooth_masks(image)
    for theirs, ours in module.JOBS.values():
        # kornia's matrix back is rounded, and it clips strong blues.
        difference = theirs(image.double(), masks.double()) - ours(image, masks)
        assert difference.abs().median() < 1e-4
    monkeypatch.setattr("opmask.color.blocks.BLOCK", 256)
    arguments = ["--batch", "2", "--size", "32", "--repeats", "1", "--no-compile"]
    monkeypatch.setattr("sys.argv", ["operators.py", *arguments])
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert float(lines[-1].rsplit(" ", 1)[1]) <= 3


@pytest.mark.slow
def test_the_benchmark_of_expressiveness_lists_every_change(monkeypatch, capsys):
    module = load("expressiveness")
    monkeypatch.setattr("sys.argv", ["expressiveness.py", "--photos", "1", "--size", "32"])
    module.main()
    rows = [row.split(" | ") for row in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 23 + 6 + 3 + 6 + 4
    mean = next(row for row in rows if row[0] == "| **filters, mean**")
    changed, *found = (float(cell.strip("* |")) for cell in mean[1:])
    assert all(changed < value for value in found)


def test_the_benchmark_of_expressiveness_draws_a_photo_with_its_fits(monkeypatch, tmp_path):
    module = load("expressiveness")
    monkeypatch.setattr(module, "shrink", lambda image, size: image[:, ::12, ::12])
    monkeypatch.setattr("sys.argv", ["expressiveness.py", "--panel", str(tmp_path / "fit.png")])
    module.main()
    with Image.open(tmp_path / "fit.png") as picture:
        assert picture.width > picture.height


def test_the_benchmark_of_expressiveness_measures_free_masks_beside_constants():
    module = load("expressiveness")
    photo = module.photos(None, 1, 32, seed=0)[0]
    changes = module.groups(0)["filters"]
    changed, *found = module.figures(changes["xpro2"], [photo], 0.03).tolist()
    assert all(
        changed < constants < free for constants, free in zip(found[::2], found[1::2], strict=True)
    )
