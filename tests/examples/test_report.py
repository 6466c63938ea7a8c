import json

import pytest
import torch
from reproduction import data, report

from opmask import OperatorMaskWrapper
from opmask.backbones import SmallUNet


@pytest.fixture
def out(monkeypatch, tmp_path):
    """A run folder with a log for each of two models; models are scored on eight scenes."""
    monkeypatch.setattr(data, "VALIDATION", 8)
    for name in ("rgb-residual", "om"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text("step,loss,pixel\n1,0.5,3\n2,0.4,2\n")
    return tmp_path


def models():
    return {name: OperatorMaskWrapper(SmallUNet(3, width=8)) for name in ("rgb-residual", "om")}


def write(out):
    return report.write_report(
        models(), data.validation_loader(None, 32), out, torch.device("cpu")
    )


def test_results_hold_a_row_for_the_composites_and_each_model(out):
    write(out)
    rows = json.loads((out / "results.json").read_text())
    assert [row["model"] for row in rows] == ["composite", "rgb-residual", "om"]
    assert all(list(row) == ["model", "mse", "psnr", "ssim", "iou"] for row in rows)
    assert rows[1]["mse"] == pytest.approx(rows[0]["mse"], rel=1e-3)


def test_the_written_results_have_intervals_comparisons_and_the_protocol(out):
    table = write(out)
    text = (out / "results.md").read_text()
    assert text.startswith(table)
    assert "| model | images | MSE | PSNR | SSIM | fMSE | fPSNR | IoU |" in text
    assert "- om less rgb-residual, on the same images: MSE " in text
    assert "Protocol opmask: " in text


def test_models_are_compared_with_the_one_before():
    scores = dict.fromkeys(["composite", "rgb", "rgb-residual", "om"])
    assert report.consecutive(scores) == [("rgb-residual", "rgb"), ("om", "rgb-residual")]
    assert report.consecutive({"composite": 0, "om": 0}) == []
