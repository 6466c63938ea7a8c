import csv
import sys

import evaluate
import pytest
import report
import torch

import opmask
from opmask import OperatorMaskWrapper
from opmask.backbones import SmallUNet


@pytest.fixture
def checkpoint(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "VALIDATION", 4)
    model = OperatorMaskWrapper(SmallUNet(4, width=8), region=True)
    with torch.no_grad():
        model.head.layer.bias.fill_(1.0)
    opmask.save(model, tmp_path / "om" / "model.safetensors")
    return tmp_path / "om" / "model.safetensors"


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, "--size", "32", "--workers", "0"])
    evaluate.main()


def test_a_checkpoint_and_its_run_folder_get_the_same_table(monkeypatch, checkpoint, capsys):
    run(monkeypatch, str(checkpoint))
    table = capsys.readouterr().out
    run(monkeypatch, str(checkpoint.parents[1]))
    assert capsys.readouterr().out == table
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["composite", "om"]


def test_the_scores_of_every_image_are_written(monkeypatch, checkpoint, tmp_path):
    run(monkeypatch, str(checkpoint), "--out", str(tmp_path / "scores.csv"))
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [row["model"] for row in rows] == ["composite"] * 4 + ["om"] * 4
    assert set(rows[0]) == {"model", "image", "mse", "psnr", "ssim", "iou"}


def test_the_reference_protocol_gives_other_numbers(monkeypatch, checkpoint, tmp_path):
    tables = []
    for protocol in ("opmask", "reference"):
        path = tmp_path / f"{protocol}.csv"
        run(monkeypatch, str(checkpoint), "--protocol", protocol, "--out", str(path))
        tables.append(
            [float(row["ssim"]) for row in csv.DictReader(path.read_text().splitlines())]
        )
    assert tables[0] != tables[1]
    assert tables[0] == pytest.approx(tables[1], abs=0.2)


def test_lpips_is_scored_with_the_weights_of_a_folder(monkeypatch, checkpoint, data_root, capsys):
    folder = str(data_root / "weights")
    run(monkeypatch, str(checkpoint), "--lpips", "vgg", "alex", "--weights", folder)
    header, _, composite, om, *_ = capsys.readouterr().out.splitlines()
    assert "LPIPS (VGG) | LPIPS (Alex)" in header
    assert composite != om


def test_lpips_networks_get_their_own_files(tmp_path):
    files = [tmp_path / name for name in ("vgg16-1.pth", "alexnet-1.pth", "vgg16.txt", "x.pth")]
    for file in files:
        file.touch()
    for paths in ([tmp_path], files):
        assert evaluate.find_weights("vgg", paths) == files[0]
        assert evaluate.find_weights("alex", paths) == files[1]
    assert evaluate.find_weights("vgg", []) is None


@pytest.mark.parametrize("names", [["alexnet-1.pth"], ["vgg16-1.pth", "vgg16-2.pth"]])
def test_none_or_several_files_of_weights_are_refused(monkeypatch, checkpoint, tmp_path, names):
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    with pytest.raises(SystemExit, match=r"must hold one file vgg16\*\.pth for --lpips vgg"):
        run(monkeypatch, str(checkpoint), "--lpips", "vgg", "--weights", str(folder))


def test_missing_weights_say_where_they_are_expected(monkeypatch, checkpoint, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    with pytest.raises(SystemExit, match="weights of alexnet, does not exist"):
        run(monkeypatch, str(checkpoint), "--lpips", "alex")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--weights", "."], "--weights are those for --lpips"),
        (["--lpips", "squeeze"], "--lpips: invalid choice: 'squeeze'"),
        (["--protocol", "paper"], "--protocol: invalid choice: 'paper'"),
        (["--device", "cube"], "--device: must be a device that PyTorch finds, got cube"),
        (["--data", "nowhere"], "--data: must be a file or folder, but there is no 'nowhere'"),
    ],
)
def test_bad_arguments_are_refused_at_once(monkeypatch, checkpoint, capsys, flags, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, str(checkpoint), *flags)
    assert message in capsys.readouterr().err


def test_a_folder_without_models_says_so(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="neither a checkpoint nor a run folder"):
        run(monkeypatch, str(tmp_path))
