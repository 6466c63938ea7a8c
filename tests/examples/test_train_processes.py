"""Training scripts as processes of their own: several at once, killed, or failing.

They are started by torchrun: on a CPU `accelerate launch` starts one process, or needs MPI.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from reproduction import checkpoint

import opmask

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "tests" / "small_training.py")
COMMON = ["--size", "32", "--workers", "0", "--device", "cpu"]
FLAGS = [*COMMON, "--backbone", "attention-unet"]
GIVEN_FLAGS = [*COMMON, "--width", "4", "--layers", "1", "--critic-width", "4", "--steps", "3"]
FOLDERS = [str(ROOT), str(ROOT / "examples"), str(ROOT / "tests")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(FOLDERS), "OMP_NUM_THREADS": "1"}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]

pytestmark = pytest.mark.multiprocess


def start(out, *flags, case="plain", launcher=()) -> subprocess.Popen:
    given = GIVEN_FLAGS if case == "given" else FLAGS
    command = [sys.executable, *launcher, SCRIPT, case, *given, "--out", str(out), *flags]
    return subprocess.Popen(
        command,
        env=ENVIRONMENT,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run(out, *flags, case="plain", launcher=()) -> tuple[int, str]:
    process = start(out, *flags, case=case, launcher=launcher)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output + errors


def weights(path) -> dict[str, torch.Tensor]:
    return opmask.load(path).state_dict()


def columns(out, model, *names):
    log = checkpoint.read_log(out / model / "log.csv")
    return torch.tensor([[row[name] for name in names] for row in log], dtype=torch.float64)


def test_two_processes_log_the_losses_of_one_with_twice_the_batch(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    flags = ["--model", "om", "rgb-residual", "--steps", "5", "--ema", "0.9"]
    assert run(one, *flags, "--batch-size", "8", case="steady")[0] == 0
    status, text = run(two, *flags, "--batch-size", "4", case="steady", launcher=TORCHRUN)
    assert status == 0, text
    for model in ("om", "rgb-residual"):
        assert len(columns(one, model, 0)) == 5
        torch.testing.assert_close(
            columns(two, model, 1, 2, 3), columns(one, model, 1, 2, 3), rtol=1e-4, atol=1e-4
        )


def test_networks_that_are_given_the_region_train_in_two_processes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    models = ["--model", "dovenet", "bargainnet", "ht"]
    assert run(one, *models, "--batch-size", "4", case="given")[0] == 0
    status, text = run(two, *models, "--batch-size", "2", case="given", launcher=TORCHRUN)
    assert status == 0, text
    assert len(columns(two, "dovenet", 0)) == len(columns(two, "bargainnet", 0)) == 3
    # The only one without dropout and without norms over a batch.
    torch.testing.assert_close(
        columns(two, "ht", 1, 2, 3), columns(one, "ht", 1, 2, 3), rtol=1e-4, atol=1e-4
    )


def test_accumulated_batches_are_those_of_as_many_processes(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    flags = ["--model", "om", "omgan", "--steps", "4", "--batch-size", "4"]
    assert run(one, *flags, "--accumulate", "2", case="steady")[0] == 0
    assert run(two, *flags, case="steady", launcher=TORCHRUN)[0] == 0
    for model in ("om", "omgan"):
        torch.testing.assert_close(
            columns(two, model, 1, 2, 3, -1), columns(one, model, 1, 2, 3, -1)
        )


def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    flags = ["--model", "om", "--steps", "6", "--save-every", "4"]
    status, text = run(tmp_path, *flags, "--batch-size", "2", case="steady", launcher=TORCHRUN)
    assert status == 0, text
    before = columns(tmp_path, "om", 1, 2, 3)
    (tmp_path / "om" / "model.safetensors").unlink()
    state = tmp_path / "om" / "checkpoint" / "state.pt"
    assert torch.load(state, weights_only=True)["step"] == 4
    status, text = run(tmp_path, *flags, "--batch-size", "4", "--resume", case="steady")
    assert status == 0, text
    assert "Resuming although processes was 2, is 1." in text
    after = columns(tmp_path, "om", 1, 2, 3)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


def test_a_run_killed_in_the_middle_resumes_to_the_same_weights(tmp_path):
    flags = ["--model", "om", "omgan", "--steps", "12", "--batch-size", "2", "--accumulate", "2"]
    flags += ["--ema", "0.9", "--save-every", "5"]
    assert run(tmp_path / "whole", *flags)[0] == 0
    process = start(tmp_path / "parts", *flags)
    wait_for(tmp_path / "parts" / "omgan" / "checkpoint" / "state.pt", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "parts" / "omgan" / "model.safetensors").exists()
    status, text = run(tmp_path / "parts", *flags, "--resume")
    assert status == 0, text
    for file in ("om/model", "om/raw", "omgan/model", "omgan/raw"):
        file = f"{file}.safetensors"
        whole, parts = weights(tmp_path / "whole" / file), weights(tmp_path / "parts" / file)
        torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    assert torch.equal(
        columns(tmp_path / "parts", "omgan", 1), columns(tmp_path / "whole", "omgan", 1)
    )


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_when_a_process_fails_all_stop_and_the_cause_is_told(tmp_path):
    flags = ["--model", "om", "--steps", "500", "--batch-size", "2", "--save-every", "1"]
    status, text = run(tmp_path, *flags, case="dies", launcher=TORCHRUN)
    assert status != 0
    assert "RuntimeError: the disk of process 1 is gone" in text
    state = torch.load(tmp_path / "om" / "checkpoint" / "state.pt", weights_only=True)
    assert state["step"] == 2
