import subprocess
import sys

import pytest
import torch

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
