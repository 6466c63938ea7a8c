"""Going on from the bundled model, as somebody with a folder of photos would."""

import re

import fine_tune
import pytest
import torch
from PIL import Image

import opmask
from opmask.datasets import SyntheticScenes


@pytest.fixture
def folder(tmp_path):
    for i, scene in enumerate(SyntheticScenes(16, size=80)):
        picture = Image.fromarray(scene.image.permute(1, 2, 0).numpy())
        picture.crop((0, 0, 80, 60)).save(tmp_path / f"{i}.jpg")
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["fine_tune.py", *map(str, arguments)])
    fine_tune.main()


def test_photos_are_a_quarter_larger_than_crops_and_have_segments(folder):
    photos = fine_tune.read_photos(folder, 32)
    assert [tuple(photo.image.shape) for photo in photos] == [(3, 40, 53)] * 16
    assert all(photo.label_map.min() >= 1 and photo.label_map.max() >= 2 for photo in photos)


@pytest.mark.slow
def test_what_is_learned_lowers_the_error_and_is_saved(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "tuned.safetensors"
    run(monkeypatch, folder, "--steps", 12, "--size", 48, "--out", out)
    table = capsys.readouterr().out
    shares = re.findall(r"\| (\w+) \| ([\d.]+) \| ([\d.]+) \|", table)
    assert [kind for kind, *_ in shares] == ["exact", "boxes", "unknown"]
    assert all(float(after) < float(before) for _, before, after in shares)
    tuned, first = opmask.load(out), opmask.load()
    assert list(tuned.state_dict()) == list(first.state_dict())
    image = torch.rand(1, 3, 48, 48)
    assert not torch.equal(tuned.predict(image)["l_add"], first.predict(image)["l_add"])
    trunk = "backbone.trunk"
    for name, tensor in tuned.state_dict().items():
        if name.startswith(trunk):
            assert torch.equal(tensor, first.state_dict()[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "whole number from 1 on"),
        (["nowhere"], "nowhere"),
        (["--lr", "-1"], "--lr"),
        (["--out", "tuned.pth"], "--out must end in .safetensors, got tuned.pth."),
        (["--size", "100000"], "--size must be at most 1024, got 100000."),
    ],
)
def test_bad_arguments_are_refused(arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
    assert message in capsys.readouterr().err


def test_what_cannot_be_read_is_left_out_and_too_few_are_refused(
    folder, tmp_path, monkeypatch, capsys
):
    (folder / "0.jpg").write_text("no picture")
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, "--out", tmp_path / "tuned.safetensors")
    said = capsys.readouterr()
    assert f"Left out: {folder / '0.jpg'}" in said.out
    assert "at least 16 pictures in it (folders in it are not read), got 15" in said.err


def test_a_loss_that_is_not_finite_ends_training(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tune, "score", lambda *_: {})
    arguments = ["--size", 32, "--steps", 3, "--lr", "1e30"]
    with pytest.raises(SystemExit, match=r"The loss is not finite after [12] steps: take a lower"):
        run(monkeypatch, folder, *arguments, "--out", tmp_path / "tuned.safetensors")
    assert not (tmp_path / "tuned.safetensors").exists()


@pytest.mark.slow
def test_what_became_worse_is_said(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "tuned.safetensors"
    run(monkeypatch, folder, "--size", 32, "--steps", 4, "--lr", "0.03", "--out", out)
    said = capsys.readouterr().out
    assert "8 composites of 2 photos; 14 to learn from." in said
    assert "Worse than it was, told exact, boxes, unknown: take more photos" in said
