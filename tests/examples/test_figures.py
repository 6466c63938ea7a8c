import sys

import evaluate
import figures
import pytest
import torch
from PIL import Image
from reproduction import data

import opmask
from opmask.backbones import SmallUNet
from opmask.perturb import CompositeBatch
from opmask.retouch import lab_retoucher, paper_hls_retoucher


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run folder with untrained models, of which the masks are not the identity."""
    monkeypatch.setattr(data, "VALIDATION", 8)
    torch.manual_seed(0)
    models = {
        "rgb": opmask.DirectRGB(SmallUNet(3, width=8), region=False, multiple_of=32),
        "om": opmask.OperatorMaskWrapper(SmallUNet(3, width=8), lab_retoucher()),
        "om-hls": opmask.OperatorMaskWrapper(SmallUNet(3, width=8), paper_hls_retoucher()),
    }
    for name, model in models.items():
        (tmp_path / name).mkdir()
        opmask.save(model, tmp_path / name / "model.safetensors")
    return tmp_path


def draw(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["figures.py", *map(str, arguments), "--workers", "0"])
    figures.main()


def test_a_run_folder_gets_panels_and_a_sweep_of_each_addition(folder, monkeypatch):
    draw(monkeypatch, folder, "--size", "32", "--rows", "2")
    names = {path.name for path in (folder / "figures").iterdir()}
    masks = [*(f"om-{c}_add" for c in "lab"), *(f"om-hls-{c}_add" for c in "hls")]
    assert names == {"panels.png", *(f"sweep-{name}.png" for name in masks)}
    with Image.open(folder / "figures" / "panels.png") as picture:
        assert picture.size[1] > 2 * 256


def test_additions_are_told_in_units_of_cie_lab():
    model = opmask.OperatorMaskWrapper(SmallUNet(3, width=8), lab_retoucher())
    assert figures.added(model)["l_add"] == ("L*", 100.0, 30.0)
    assert figures.added(model)["b_add"] == ("b*", 128.0, 40.0)


def test_hue_is_told_in_degrees():
    model = opmask.OperatorMaskWrapper(SmallUNet(3, width=8), paper_hls_retoucher())
    assert figures.added(model)["h_add"] == ("hue (degrees)", 360.0, 90.0)


def test_a_sweep_goes_through_the_output_and_changes_one_channel(folder):
    model = opmask.load(folder / "om" / "model.safetensors").eval()
    image = torch.rand(1, 3, 32, 32) * 0.2 + 0.4
    batch = CompositeBatch(image, image, torch.ones(1, 1, 32, 32), (None,))
    row = figures.sweeps(model, batch)["l_add"]
    assert list(row.images) == [
        "composite", "L* -30", "L* -20", "L* -10", "output", "L* +10", "L* +20", "L* +30",
    ]  # fmt: skip
    torch.testing.assert_close(row.images["output"], image[0], atol=1e-4, rtol=0)
    brighter = opmask.LAB.from_rgb(row.images["L* +10"]) - opmask.LAB.from_rgb(image[0])
    torch.testing.assert_close(brighter[0].mean().item(), 0.1, atol=1e-3, rtol=0)


def test_a_folder_without_models_is_refused(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="neither a checkpoint nor a run folder"):
        draw(monkeypatch, tmp_path)


def test_checkpoints_are_found_as_by_the_evaluation():
    assert figures.find_checkpoints is evaluate.find_checkpoints
