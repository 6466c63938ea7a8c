import argparse
import json

import pytest
import torch
from reproduction import report

from opmask import OperatorMaskWrapper
from opmask.backbones import SmallUNet


@pytest.fixture
def args(monkeypatch, tmp_path):
    """Arguments of a run on four synthetic scenes, with a log for each of two models."""
    monkeypatch.setattr(report, "VALIDATION", 8)
    for name in ("rgb-residual", "om"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text("step,loss,pixel\n1,0.5,3\n2,0.4,2\n")
    return argparse.Namespace(data=None, size=32, workers=0, guided=False, out=tmp_path)


def models():
    return {name: OperatorMaskWrapper(SmallUNet(3, width=8)) for name in ("rgb-residual", "om")}


def test_results_hold_a_row_for_the_composites_and_each_model(args):
    report.report(models(), args, torch.device("cpu"))
    rows = json.loads((args.out / "results.json").read_text())
    assert [row["model"] for row in rows] == ["composite", "rgb-residual", "om"]
    assert all(list(row) == ["model", "mse", "psnr", "ssim", "iou"] for row in rows)
    assert rows[1]["mse"] == pytest.approx(rows[0]["mse"], rel=1e-3)


def test_the_written_results_have_intervals_comparisons_and_the_protocol(args):
    table = report.report(models(), args, torch.device("cpu"))
    text = (args.out / "results.md").read_text()
    assert text.startswith(table)
    assert "| model | images | MSE | PSNR | SSIM | fMSE | fPSNR | IoU |" in text
    assert "- om less rgb-residual, on the same images: MSE " in text
    assert "Protocol opmask: " in text


def test_models_are_compared_with_the_one_before():
    scores = dict.fromkeys(["composite", "rgb", "rgb-residual", "om"])
    assert report.neighbours(scores) == [("rgb-residual", "rgb"), ("om", "rgb-residual")]
    assert report.neighbours({"composite": 0, "om": 0}) == []


def test_batches_are_the_composites_one_after_the_other(monkeypatch):
    monkeypatch.setattr(report, "VALIDATION", 18)
    loader = report.validation_loader(None, 32)
    batches = list(loader)
    assert [len(batch.real) for batch in batches] == [16, 2]
    expected = report.validation_set(None, 32)[17]
    assert torch.equal(batches[1].composite[1], expected.composite)


def test_recompressed_batches_are_made_by_the_library(monkeypatch):
    monkeypatch.setattr(report, "VALIDATION", 2)
    (batch,) = report.validation_loader(None, 32, recompress=True)
    expected = report.RecompressedComposites(report.validation_set(None, 32))[1]
    assert torch.equal(batch.composite[1], expected.composite)
