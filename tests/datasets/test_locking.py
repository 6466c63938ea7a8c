import errno
import subprocess
import sys
from contextlib import suppress

import pytest

from opmask.datasets.locking import held

fcntl = pytest.importorskip("fcntl")

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "ab")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the file `notes`, as `held` does."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "notes")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_what_is_written_stays_and_is_added_to(tmp_path):
    for text in (b"one ", b"two"):
        with held(tmp_path / "new/notes") as file:
            file.seek(0)
            file.write(text)
    assert (tmp_path / "new/notes").read_bytes() == b"one two"
    with held(str(tmp_path / "new/notes")) as file:
        file.seek(0)
        assert file.read() == b"one two"


def test_a_file_left_empty_is_removed(tmp_path):
    (tmp_path / "notes").write_bytes(b"old")
    with held(tmp_path / "notes") as file:
        file.truncate(0)
        assert (tmp_path / "notes").exists()
    assert not (tmp_path / "notes").exists()


def test_an_error_closes_the_file_and_keeps_what_it_holds(tmp_path):
    with suppress(KeyError), held(tmp_path / "notes") as file:
        file.write(b"some")
        raise KeyError
    assert file.closed
    assert (tmp_path / "notes").read_bytes() == b"some"


def test_the_file_of_another_process_is_refused_and_stays(tmp_path, holder):
    message = r"'out' must be a folder that no other process is writing to, got \S+\. Wait until"
    with pytest.raises(ValueError, match=message), held(tmp_path / "notes"):
        pass
    assert (tmp_path / "notes").exists()


def test_a_killed_process_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    with held(tmp_path / "notes") as file:
        file.write(b"mine")
    assert (tmp_path / "notes").read_bytes() == b"mine"


def test_other_processes_are_kept_away_while_it_is_held(tmp_path):
    code = HOLD.replace("LOCK_EX", "LOCK_EX | fcntl.LOCK_NB")
    with held(tmp_path / "notes"):
        command = [sys.executable, "-c", code, str(tmp_path / "notes")]
        ended = subprocess.run(command, capture_output=True, text=True)
    assert "BlockingIOError" in ended.stderr


def test_where_there_are_no_locks_it_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", fail)
    with held(tmp_path / "notes") as file:
        file.write(b"mine")
    assert "notes cannot be locked, so nothing keeps a second build away: [Errno" in caplog.text
