import os
import signal

import pytest

from opmask import launching

INTERRUPT = "import signal; signal.raise_signal(signal.SIGINT)"


@pytest.fixture
def handled():
    """Ctrl-C as the command has it."""
    before = signal.signal(signal.SIGINT, launching.interrupt_or_leave)
    yield
    signal.signal(signal.SIGINT, before)


def test_threads_wait_as_the_user_says_and_else_sleep_soon(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    launching.let_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    launching.let_threads_sleep()
    assert "GOMP_SPINCOUNT" not in os.environ
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that it is put back afterwards
    del os.environ["GOMP_SPINCOUNT"]
    launching.let_threads_sleep()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


def test_an_interrupt_of_work_can_be_caught(handled):
    with pytest.raises(KeyboardInterrupt):
        exec(INTERRUPT)


def test_an_interrupt_of_an_import_ends_the_process(handled, tmp_path, monkeypatch, capsys):
    def end(status):
        raise SystemExit(status)

    (tmp_path / "interrupted_import.py").write_text(INTERRUPT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(SystemExit) as ended:
        import interrupted_import  # noqa: F401
    assert (ended.value.code, capsys.readouterr().err) == (130, "Interrupted.\n")


def test_a_process_that_was_started_to_help_ends_with_its_parent(handled, monkeypatch):
    monkeypatch.setattr(launching, "_PROCESS", os.getpid() + 1)
    exec(INTERRUPT)
