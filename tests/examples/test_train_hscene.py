import csv
import json
import shutil
import signal
import sys
import warnings

import pytest
import torch
import train_hscene
from PIL import Image
from reproduction import checkpoint, loop, networks, recipes, report, train
from small_training import shrink

import opmask
from opmask.backbones import AttentionUNet, SmallUNet
from opmask.color import HLS_CLAMPED
from opmask.perturb import CompositeBatch
from opmask.retouch import paper_hls_retoucher


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch.setattr)


def run(monkeypatch, out, *flags: str) -> None:
    options = [
        "--steps",
        "6",
        "--size",
        "32",
        "--batch-size",
        "2",
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    monkeypatch.setattr(sys, "argv", ["train_hscene.py", *options, "--out", str(out), *flags])
    train_hscene.main()


def weights(path) -> dict[str, torch.Tensor]:
    return opmask.load(path / "om" / "model.safetensors").state_dict()


@pytest.mark.parametrize("flags", [(), ("--guided",)])
def test_a_run_leaves_the_table_the_pictures_and_the_models(monkeypatch, tmp_path, capsys, flags):
    run(monkeypatch, tmp_path, *flags)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["model"] for row in rows] == ["composite", "rgb", "rgb-residual", "om"]
    assert all(set(row) == {"model", "mse", "psnr", "ssim", "iou"} for row in rows)
    assert "| om |" in capsys.readouterr().out
    assert (tmp_path / "results.md").read_text().startswith("| model | MSE | PSNR | SSIM | IoU |")
    for picture in ("panel.png", "loss.png"):
        Image.open(tmp_path / picture).verify()
    for model in ("rgb", "rgb-residual", "om"):
        assert opmask.load(tmp_path / model / "model.safetensors").region is bool(flags)


def test_the_log_has_a_row_for_each_step(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--model", "om")
    rows = list(csv.DictReader((tmp_path / "om" / "log.csv").read_text().splitlines()))
    assert [float(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert list(rows[0]) == ["step", "loss", "pixel", "change"]
    assert float(rows[0]["change"]) < 0.01  # the first output is the input


@pytest.mark.slow
def test_the_paper_s_network_trains_as_every_model(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--backbone", "attention-unet", "--model", *recipes.CHOICES)
    for name in recipes.CHOICES:
        model = opmask.load(tmp_path / name / "model.safetensors")
        assert type(model.backbone) is AttentionUNet
        assert model.multiple_of == 32
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["model"] for row in rows] == ["composite", *recipes.CHOICES]


@pytest.mark.parametrize(
    ("size", "depth"), [(32, 5), (80, 5), (64, 6), (192, 6), (128, 7), (256, 8), (512, 8)]
)
def test_the_paper_s_network_is_as_deep_as_the_size_allows(size, depth):
    network, multiple = networks.build_network("attention-unet", 4, size)
    assert multiple == network.multiple_of == 2**depth
    assert network.arguments["in_channels"] == 4


def test_an_attention_unet_starts_at_the_identity(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--backbone", "attention-unet", "--model", "om", "--guided")
    assert checkpoint.read_log(tmp_path / "om" / "log.csv")[0][3] < 0.01


def test_the_masks_in_hls_are_the_paper_s(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--model", "om-hls", "om-hls")
    retoucher = opmask.load(tmp_path / "om-hls" / "model.safetensors").retoucher
    assert [op.space for op in retoucher.operators] == [HLS_CLAMPED] * 2
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["model"] for row in rows] == ["composite", "om-hls"]


def test_the_panel_shows_the_first_masks_that_there_are():
    sample = torch.rand(1, 3, 32, 32)
    batch = CompositeBatch(sample, sample, sample[:, :1], (None,))
    retouchers = {"om": None, "om-hls": paper_hls_retoucher()}
    models = {
        name: opmask.OperatorMaskWrapper(SmallUNet(width=8), retoucher).eval()
        for name, retoucher in retouchers.items()
    }
    (row,) = report.panel_rows(models, batch, count=1)
    assert list(row.masks) == ["l_add", "a_add", "b_add"]
    (row,) = report.panel_rows({"om-hls": models["om-hls"]}, batch, count=1)
    assert list(row.masks) == ["h_add", "l_add", "s_add"]


def test_ten_steps_are_possible(monkeypatch, tmp_path):
    # A rise over exactly one step would make PyTorch's schedule divide by zero.
    run(monkeypatch, tmp_path, "--model", "om", "--steps", "10")
    assert len(checkpoint.read_log(tmp_path / "om" / "log.csv")) == 10


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--size", "31", "--size: must be a whole number from 32 on, got 31"),
        ("--steps", "0", "--steps: must be a whole number from 1 on, got 0"),
        ("--batch-size", "x", "--batch-size: must be a whole number from 1 on, got x"),
        ("--save-every", "0", "--save-every: must be a whole number from 1 on, got 0"),
        ("--workers", "-1", "--workers: must be a whole number from 0 on, got -1"),
        ("--data", "nowhere", "--data: must be a file or folder, but there is no 'nowhere'"),
        ("--model", "hls", "--model: invalid choice: 'hls'"),
        ("--backbone", "large", "--backbone: invalid choice: 'large'"),
    ],
)
def test_bad_arguments_are_refused_at_once(monkeypatch, tmp_path, capsys, flag, value, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "out", flag, value)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_weights(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path / "whole", "--model", "om")
    step = loop.advance
    calls = []

    def interrupting(*args):
        calls.append(args)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return step(*args)

    monkeypatch.setattr(loop, "advance", interrupting)
    with pytest.raises(KeyboardInterrupt, match=r"at step 4. Add --resume to go on"):
        run(monkeypatch, tmp_path / "parts", "--model", "om")
    assert not (tmp_path / "parts" / "om" / "model.safetensors").exists()
    run(monkeypatch, tmp_path / "parts", "--model", "om", "--resume")
    assert len(calls) == 6
    torch.testing.assert_close(
        weights(tmp_path / "parts"), weights(tmp_path / "whole"), rtol=0, atol=0
    )
    for file in ("om/log.csv", "results.json"):
        parts, whole = tmp_path / "parts" / file, tmp_path / "whole" / file
        assert parts.read_text() == whole.read_text()


@pytest.mark.slow
def test_a_killed_run_resumes_from_the_last_checkpoint(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path / "whole", "--model", "om")
    run(monkeypatch, tmp_path / "parts", "--model", "om", "--save-every", "4")
    (tmp_path / "parts" / "om" / "model.safetensors").unlink()
    run(monkeypatch, tmp_path / "parts", "--model", "om", "--resume")
    assert len(checkpoint.read_log(tmp_path / "parts" / "om" / "log.csv")) == 6
    torch.testing.assert_close(
        weights(tmp_path / "parts"), weights(tmp_path / "whole"), rtol=0, atol=0
    )


def test_resuming_a_finished_run_only_evaluates(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--model", "om")
    before = (tmp_path / "results.json").read_text()
    monkeypatch.setattr(loop, "train", None)  # would fail if it were called
    run(monkeypatch, tmp_path, "--model", "om", "--resume")
    assert (tmp_path / "results.json").read_text() == before


@pytest.mark.slow
def test_weights_that_are_read_score_as_those_just_trained(monkeypatch, tmp_path):
    # So narrow a network as in the other tests sums alike wherever its weights lie in memory.
    monkeypatch.setattr(networks, "SmallUNet", SmallUNet)
    run(monkeypatch, tmp_path, "--model", "rgb", "om")
    before = (tmp_path / "results.json").read_text()
    run(monkeypatch, tmp_path, "--model", "rgb", "om", "--resume")
    assert (tmp_path / "results.json").read_text() == before


def test_a_run_is_not_overwritten(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--model", "om")
    with pytest.raises(SystemExit, match="already holds a run"):
        run(monkeypatch, tmp_path, "--model", "om")


def test_resuming_with_other_settings_is_refused(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, "--model", "om")
    with pytest.raises(SystemExit, match=r"--resume needs the settings of the run .* seed was 0"):
        run(monkeypatch, tmp_path, "--model", "om", "--resume", "--seed", "1")


def test_a_model_that_still_returns_its_input_is_reported():
    with pytest.warns(UserWarning, match="after 500 steps om still returns its input"):
        train.warn_if_still("om", 0.49)


def test_a_model_that_moved_is_not_reported():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train.warn_if_still("om", 0.51)


def test_a_step_that_takes_several_times_the_median_is_called_slow():
    slow = "slow: 1.6 s instead of 0.5, is another process busy?"
    assert loop.describe_pace([0.5, 0.5, 0.5, 1.6]) == slow
    assert loop.describe_pace([0.5, 0.5, 0.5, 1.4]) == loop.describe_pace([9.0]) == ""


@pytest.mark.slow
def test_the_check_runs_at_its_step_both_ways(monkeypatch, tmp_path):
    monkeypatch.setattr(train, "CHECK_STEP", 5)
    monkeypatch.setitem(recipes.RATES, "small", 0.0)
    with pytest.warns(UserWarning, match="om still returns its input"):
        run(monkeypatch, tmp_path / "stuck", "--model", "om")
    monkeypatch.setitem(recipes.RATES, "small", 5e-2)
    run(monkeypatch, tmp_path / "moving", "--model", "om")


def test_a_root_without_photographs_says_what_was_expected(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="images"):
        run(monkeypatch, tmp_path / "out", "--data", str(tmp_path))


def test_a_missing_gpu_is_reported(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, "--device", "cuda")
    assert "--device cuda needs a CUDA device" in capsys.readouterr().err


def test_real_photographs_train_and_validate(monkeypatch, tmp_path, data_root):
    root = tmp_path / "data"
    shutil.copytree(data_root / "ade150_sample", root)
    run(monkeypatch, tmp_path / "out", "--data", str(root), "--model", "om", "--guided")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert rows[0]["mse"] > 0
