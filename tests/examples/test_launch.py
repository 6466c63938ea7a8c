"""Scripts that end before their time, as processes of their own."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
FOLDERS = [str(ROOT), str(ROOT / "examples"), str(ROOT / "tests")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(FOLDERS), "OMP_NUM_THREADS": "1"}
SMALL = ["--steps", "20", "--size", "32", "--batch-size", "2", "--device", "cpu"]


def run(code, *flags):
    command = [sys.executable, *flags, "-c", f"from reproduction import launch\n{code}"]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, cwd=ROOT)


# As a DataLoader raises again what one of its processes has raised.
CAUGHT = """Caught {0} in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 3, in fetch
    data = self.dataset[0]
  File "photos.py", line 7, in read
    raise {0}(
    ^^^^^
photos.{0}: a.png: bad
  inside
"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (f"ValueError({CAUGHT.format('BrokenPhotoError')!r})", "a.png: bad inside"),
        (
            f"RuntimeError({CAUGHT.format('RuntimeError')!r})",
            "a.png: bad (`python -X dev` shows where.)",
        ),
        ("OSError(28, 'No space left on device', 'x')", "[Errno 28] No space left on device: 'x'"),
        ("ValueError('many\\n lines')", "many lines"),
        ("ImportError('no accelerate')", "no accelerate"),
        ("RuntimeError('cause\\nC++ frames')", "cause (`python -X dev` shows where.)"),
        ("MemoryError()", "out of memory."),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(error, line):
    done = run(f"def main(): raise {error}\nlaunch.run(main)")
    assert (done.returncode, done.stderr) == (1, f"-c: {line}\n")


def test_what_is_missing_is_told_in_one_line_with_its_extra_also_at_an_import():
    line = "-c: skimage is not installed. Run: pip install 'opmask[train]'\n"
    missing = "ModuleNotFoundError('No module named skimage', name='skimage')"
    done = run(f"raise {missing}")
    assert (done.returncode, done.stderr) == (1, line)
    done = run(f"def main(): raise {missing}\nlaunch.run(main)")
    assert (done.returncode, done.stderr) == (1, line)
    assert "Traceback" in run("import reproduction.nowhere").stderr  # a mistake of ours


def test_errors_have_their_traceback_where_it_is_asked_for_and_mistakes_of_ours_always():
    for error, flags in (("RuntimeError('cause')", ["-X", "dev"]), ("TypeError('cause')", [])):
        done = run(f"def main(): raise {error}\nlaunch.run(main)", *flags)
        assert done.returncode == 1
        assert done.stderr.startswith("Traceback")


def test_an_interrupt_says_where_and_how_to_go_on():
    done = run("def main(): raise KeyboardInterrupt('at step 4')\nlaunch.run(main)")
    assert (done.returncode, done.stderr) == (130, "Interrupted at step 4.\n")


def test_an_interrupt_that_python_turns_into_another_error_is_one():
    made = """
def main():
    class Name:
        def __set_name__(self, owner, name): raise KeyboardInterrupt
    class Owner: name = Name()
launch.run(main)"""
    plain = "def main(): raise RuntimeError('cause') from KeyboardInterrupt()\nlaunch.run(main)"
    for code in made, plain:
        done = run(code)
        assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_an_interrupt_before_main_ends_at_once_and_after_it_with_all_that_is_open_closed():
    raised = "signal.raise_signal(signal.SIGINT)"
    code = f"""
import signal, sys
def main():
    try: {raised}
    finally: print("closed")
if sys.argv[1:]: {raised}
launch.run(main)"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "closed\n", "Interrupted.\n")
    done = run(code.replace("sys.argv[1:]", "True"))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_an_interrupt_after_the_work_is_done_changes_nothing():
    code = """
import atexit, os, signal
class Last:
    def __del__(self, kill=os.kill, number=signal.SIGINT, process=os.getpid()):
        kill(process, number)
last = Last()  # goes when Python closes its modules
atexit.register(signal.raise_signal, signal.SIGINT)
launch.run(lambda: print("done"))"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_threads_wait_as_the_user_says_and_else_sleep_soon():
    code = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
            patch.delitem(ENVIRONMENT, name, raising=False)
        assert run(code).stdout == "1000\n"
        patch.setitem(ENVIRONMENT, "OMP_WAIT_POLICY", "active")
        assert run(code).stdout == "None\n"


def start(script, *flags):
    """A script that a terminal's Ctrl-C reaches with all of its processes."""
    return subprocess.Popen(
        [sys.executable, script, *flags],
        env=ENVIRONMENT,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupted(process):
    """What a process writes that is interrupted, without the progress bars; its exit status."""
    os.killpg(process.pid, signal.SIGINT)
    _, text = process.communicate(timeout=120)
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines()]
    bar = re.compile(r"[\w ]*:? *\d+%\||.*(it/s|s/it)[],]")
    return process.returncode, [x for x in lines if x and not bar.match(x)]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1, 2, 4, 6, 8, 11, 14, 18])
def test_ctrl_c_ends_training_at_any_time_in_one_line(tmp_path, seconds):
    flags = ["plain", *SMALL, "--workers", "1", "--model", "rgb", "om", "--out", tmp_path]
    process = start(ROOT / "tests" / "small_training.py", *flags)
    time.sleep(seconds)
    if process.poll() is None:
        status, lines = interrupted(process)
        if (tmp_path / "loss.png").exists() and status == 0:
            return  # it had just written its last file
        assert (status, [line[:11] for line in lines]) == (130, ["Interrupted"]), lines
    else:  # a fast machine is done by then
        process.communicate()
        assert process.returncode == 0
    assert not [path for path in tmp_path.rglob(".*")]
    for state in tmp_path.glob("*/checkpoint/state.pt"):
        assert torch.load(state, weights_only=True)["step"] > 0
