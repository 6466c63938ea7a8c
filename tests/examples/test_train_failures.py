import json
import sys
from pathlib import Path

import pytest
import torch
import train_hscene
from reproduction import train
from small_training import shrink

import opmask
from opmask.datasets import Composites, Resized, SyntheticScenes
from opmask.perturb import Perturber


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch.setattr)


def run(monkeypatch, out, *flags):
    options = ["--steps", "6", "--size", "32", "--batch-size", "2", "--workers", "0"]
    options += ["--device", "cpu", "--model", "om", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["train_hscene.py", *options, *flags])
    train_hscene.main()


def break_step(monkeypatch, step, fail):
    """Lets `fail` change what the losses of a step are."""
    terms, calls = train.generator_terms, []

    def failing(*arguments):
        calls.append(1)
        found = terms(*arguments)
        return fail(found, arguments[2]) if len(calls) == step else found

    monkeypatch.setattr(train, "generator_terms", failing)


def nan(terms, model):
    return {name: value * float("nan") for name, value in terms.items()}


def infinite_gradient(terms, model):
    """Finite losses, but weights that are not finite after the step."""
    return terms | {"x": (model.head.layer.weight * 0).sum().sqrt()}


def test_a_loss_that_is_not_finite_names_its_batch_and_keeps_the_checkpoint(monkeypatch, tmp_path):
    break_step(monkeypatch, 4, nan)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, tmp_path, "--save-every", "1")
    photos = Resized(SyntheticScenes(8, size=32, seed=0), 32)
    composites = Composites(photos, Perturber(), shuffle=True, seed=0)
    sources = [composites.source(position) for position in (6, 7)]
    text = str(stopped.value)
    assert "The loss of om is not finite at step 4. Its batch: positions 6-7; " in text
    names, seeds = [photo.name for photo, _ in sources], [seed for _, seed in sources]
    assert f"positions 6-7; seeds {seeds}; photos {names}. " in text
    assert f"The last good checkpoint stays in {tmp_path / 'om' / 'checkpoint'}" in text
    state = torch.load(tmp_path / "om" / "checkpoint" / "state.pt", weights_only=True)
    assert state["step"] == 3
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_weights_that_are_not_finite_do_not_replace_the_checkpoint(monkeypatch, tmp_path):
    break_step(monkeypatch, 3, infinite_gradient)
    with pytest.raises(SystemExit, match=r"weights of om are not finite after step 3. The last b"):
        run(monkeypatch, tmp_path, "--save-every", "1")
    state = torch.load(tmp_path / "om" / "checkpoint" / "state.pt", weights_only=True)
    assert state["step"] == 2


def test_the_positions_of_accumulated_batches_are_all_named(monkeypatch, tmp_path):
    break_step(monkeypatch, 4, nan)
    with pytest.raises(SystemExit, match=r"at step 2. Its batch: positions 4-5, 6-7; "):
        run(monkeypatch, tmp_path, "--accumulate", "2")


def test_a_process_without_fault_says_that_it_was_another(tmp_path):
    class Run:
        name, step = "om", 5

    with pytest.raises(SystemExit, match="The loss of om is not finite at step 5, in another pro"):
        train.stop_if_not_finite(Run, torch.ones(2), [1.0, float("inf")], [])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_without_memory_the_argument_to_lower_is_named(monkeypatch, tmp_path, error):
    def fail(terms, model):
        raise error

    break_step(monkeypatch, 2, fail)
    with pytest.raises(SystemExit, match=r"--batch-size 2 and --size 32. Lower --batch-size \(ra"):
        run(monkeypatch, tmp_path)


def test_other_errors_stay_what_they_are(monkeypatch, tmp_path):
    def fail(terms, model):
        raise RuntimeError("something else")

    break_step(monkeypatch, 2, fail)
    with pytest.raises(RuntimeError, match="something else"):
        run(monkeypatch, tmp_path)


def test_omgan_without_om_is_refused_before_anything_is_trained(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="omgan starts from a trained om, but there is none in"):
        run(monkeypatch, tmp_path, "--model", "rgb", "omgan")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--masks", "add"], "another configuration: operators is "),
        (["--guided"], "another configuration: backbone is .*; region is False, not True"),
        (["--backbone", "attention-unet"], "another configuration: backbone is .*SmallUNet"),
        (["--model", "rgb"], "another configuration: kind is OperatorMaskWrapper, not DirectRGB"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(monkeypatch, tmp_path, flags, message):
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8))
    opmask.save(model, tmp_path / "om.safetensors")
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, tmp_path / "out", "--init", str(tmp_path / "om.safetensors"), *flags)


def test_a_file_that_is_no_checkpoint_is_refused(monkeypatch, tmp_path):
    Path(tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match=r"--init: .* is no whole safetensors file"):
        run(monkeypatch, tmp_path / "out", "--init", str(tmp_path / "x.safetensors"))


def test_missing_weights_of_the_perceptual_loss_are_told(monkeypatch, tmp_path, torch_home):
    with pytest.raises(SystemExit, match=r"--perceptual lpips-vgg: .*vgg16.* does not exist"):
        run(monkeypatch, tmp_path, "--perceptual", "lpips-vgg")


def test_a_finished_run_says_what_it_was(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path)
    told = json.loads((tmp_path / "settings.json").read_text())
    assert (told["processes"], told["images in a step"], told["steps of om"]) == ("1", "2", "6")
    with pytest.raises(SystemExit, match="steps of om was 6, is 7"):
        run(monkeypatch, tmp_path, "--resume", "--steps", "7")
