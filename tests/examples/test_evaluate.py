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


def test_a_folder_without_models_says_so(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="neither a checkpoint nor a run folder"):
        run(monkeypatch, str(tmp_path))
