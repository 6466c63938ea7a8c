import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

import opmask
from opmask import cli
from opmask.cli import app


def test_without_arguments_help_is_shown(capsys):
    with pytest.raises(SystemExit):
        cli.main([])
    output, errors = capsys.readouterr()
    assert "build-benchmark" in output + errors


def test_the_command_is_also_a_module():
    command = [sys.executable, "-m", "opmask", "build-benchmark", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "build-benchmark" in done.stdout


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("one\n two"), "one two"),
        (RuntimeError(), "RuntimeError"),
        (
            OSError(28, "'a.png' cannot be written: full. Free some."),
            "'a.png' cannot be written: full. Free some.",
        ),
        (OSError(21, "Is a directory", "a.png"), "'a.png' cannot be used: Is a directory."),
        (FileNotFoundError("there is no file 'a'."), "there is no file 'a'."),
        (MemoryError(), "there is not enough memory. Try a smaller photo or another --device."),
        (
            torch.OutOfMemoryError("CUDA out of memory.\nTried"),
            "there is not enough memory. Try a smaller photo or another --device. CUDA out of "
            "memory. Tried",
        ),
    ],
)
def test_what_goes_wrong_on_the_way_is_one_line_and_status_1(capsys, monkeypatch, error, line):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert (end.value.code, *capsys.readouterr()) == (1, "", f"opmask: {line}\n")


def test_memory_that_the_processor_does_not_have_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(app, "app", lambda *_, **__: torch.empty(2**60))
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("opmask: there is not enough memory. Try a smaller")


def fresh(code, *arguments):
    """A process of its own that runs some code."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "--version",
        "--help",
        "harmonize --help",
        "build-benchmark --help",
        "study build --help",
        "study score --help",
        "harmonize gone.png -o out.png",
        "harmonize",
    ],
)
def test_help_version_and_what_makes_no_sense_need_neither_torch_nor_numpy(arguments):
    code = """
import sys
from opmask.cli import main
try: main()
finally: print({"torch", "numpy", "PIL"} & set(sys.modules))"""
    assert fresh(code, *arguments.split()).stdout.endswith("set()\n")


def test_the_version_is_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert (end.value.code, *capsys.readouterr()) == (0, f"opmask {opmask.__version__}\n", "")


def test_an_interrupt_of_the_work_is_one_line_and_status_130(capsys, monkeypatch):
    def interrupt(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("opmask.datasets.LIP", interrupt)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as end:
        cli.main(["build-benchmark", "lip", ".", "out"])
    assert (end.value.code, *capsys.readouterr()) == (130, "", "Interrupted.\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_python_turns_into_another_error_is_one(capsys, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert (end.value.code, *capsys.readouterr()) == (130, "", "Interrupted.\n")


def test_an_interrupt_while_torch_is_imported_is_one_line_and_status_130(tmp_path):
    slow = "import signal\ntry: signal.raise_signal(signal.SIGINT)\nexcept BaseException: 1 / 0"
    (tmp_path / "torch.py").write_text(slow)
    (tmp_path / "photo.png").touch()
    code = "import sys; sys.path.insert(0, '.'); from opmask.cli import main; main()"
    done = fresh(
        f"import os; os.chdir({str(tmp_path)!r}); {code}",
        *["harmonize", "photo.png", "-o", "out.png"],
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_an_interrupt_after_the_work_is_done_changes_nothing():
    code = """
import atexit, signal
from opmask.cli import main
atexit.register(signal.raise_signal, signal.SIGINT)
main()"""
    done = fresh(code, "--version")
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_of_torch_sleep_soon():
    code = """
import os
from opmask.cli import main
try: main()
finally: print(os.environ["GOMP_SPINCOUNT"])"""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_WAIT_POLICY", raising=False)
        patch.delenv("GOMP_SPINCOUNT", raising=False)
        assert fresh(code, "--version").stdout.endswith("\n1000\n")


def test_the_command_runs_in_a_thread_too(capsys):
    ended = []

    def run():
        try:
            cli.main(["--version"])
        except SystemExit as end:
            ended.append(end.code)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended == [0]
