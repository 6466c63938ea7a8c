import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import filelock
import pytest

from opmask.files.locking import LOCK, locked

HOLD = """
import os, sys, time
from filelock import FileLock  # as `locked` does, but faster than with opmask
lock = FileLock(sys.argv[1])
lock.acquire()
if not int(sys.argv[2]) or not os.fork():
    print("held", flush=True)  # from the worker, which by then has closed what it inherited
time.sleep(60)
"""

REFUSED = r"'out' must be a folder that nobody else is writing to, got \S+\. Wait until"


@pytest.fixture
def hold(tmp_path):
    """Starts another process that holds the folder, with a forked worker or without."""
    started = []

    def start(workers=0):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / LOCK), str(workers)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def take(folder):
    with locked(folder):
        pass


def test_nothing_of_it_stays(tmp_path):
    for _ in range(2):
        take(tmp_path / "new/folder")
    assert list((tmp_path / "new/folder").iterdir()) == []


def test_an_error_lets_go_of_it(tmp_path):
    with suppress(KeyError), locked(tmp_path):
        raise KeyError
    take(tmp_path)


def test_the_folder_of_another_process_is_refused(tmp_path, hold):
    hold()
    with pytest.raises(ValueError, match=REFUSED):
        take(tmp_path)


def test_the_folder_of_another_thread_is_refused(tmp_path):
    refused = []

    def try_to_take():
        with pytest.raises(ValueError, match=REFUSED):
            take(tmp_path)
        refused.append(True)

    with locked(tmp_path):
        thread = threading.Thread(target=try_to_take)
        thread.start()
        thread.join()
    assert refused
    take(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_killed_process_holds_nothing_even_if_its_workers_live_on(tmp_path, hold, workers):
    if workers and not hasattr(os, "fork"):
        pytest.skip("needs fork")
    process = hold(workers)
    process.kill()
    process.wait()
    take(tmp_path)


def test_where_there_are_no_locks_it_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", fail)
    take(tmp_path)
    assert "cannot be locked, so nothing keeps a second build away: [Errno" in caplog.text


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    message = r"'out' must be a folder that can be written to, got \S+/file/folder \(Not a dir"
    with pytest.raises(NotADirectoryError, match=message):
        take(tmp_path / "file/folder")
