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
    for i, scene in enumerate(SyntheticScenes(9, size=80)):
        picture = Image.fromarray(scene.image.permute(1, 2, 0).numpy())
        picture.crop((0, 0, 80, 60)).save(tmp_path / f"{i}.jpg")
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["fine_tune.py", *map(str, arguments)])
    fine_tune.main()


def test_photos_are_a_quarter_larger_than_crops_and_have_segments(folder):
    photos = fine_tune.read_photos(folder, 32)
    assert [tuple(photo.image.shape) for photo in photos] == [(3, 40, 53)] * 9
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
    ],
)
def test_bad_arguments_are_refused(arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
    assert message in capsys.readouterr().err


def test_a_single_photo_is_too_few(folder, tmp_path, monkeypatch, capsys):
    for path in sorted(folder.glob("*.jpg"))[1:]:
        path.unlink()
    with pytest.raises(SystemExit):
        run(monkeypatch, folder, "--out", tmp_path / "tuned.safetensors")
    assert "at least 2 pictures, got 1" in capsys.readouterr().err
