import errno
import os
import stat
import subprocess
import sys
import threading
import time

import pytest

from opmask.files import check_outputs, is_leftover, remove_leftovers, replacing, writing

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions and pipes")


def write(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_appears_when_the_body_is_done(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert (temporary.parent, temporary.suffix) == (path.parent, path.suffix)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error("mine")

    with pytest.raises(error, match=r"^mine$"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_two_writers_share_a_temporary_file(tmp_path):
    path = tmp_path / "file.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        assert first.exists()
        assert second.exists()


@posix
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    path = tmp_path / "secret.txt"
    path.touch(0o640)
    path.chmod(0o640)
    with replacing(path) as temporary:
        assert mode(temporary) == 0o600
    assert mode(path) == 0o640


@posix
@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_a_new_file_has_the_permissions_that_the_umask_allows(tmp_path, umask):
    before = os.umask(umask)
    try:
        write(tmp_path / "file.txt", "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "file.txt") == 0o666 & ~umask


@posix
def test_a_writer_that_makes_a_file_of_its_own_does_not_change_the_permissions(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        allowed = mode(temporary)
        temporary.unlink()
        temporary.touch(0o600)
    assert mode(tmp_path / "a") == allowed


def test_what_a_symbolic_link_points_to_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "link.txt", tmp_path / "disk" / "file.dat"
    link.symlink_to(target)
    for text in ("new", "newer"):
        with replacing(link) as temporary:
            assert (temporary.parent, temporary.suffix) == (target.parent, ".txt")
            temporary.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text


@pytest.mark.parametrize("name", ["a" * 251 + ".txt", "ä" * 125 + ".txt", "a." + "b" * 253])
def test_long_names_can_be_written(tmp_path, name):
    write(tmp_path / name, "new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_too_long_is_refused_at_once(tmp_path):
    with pytest.raises(OSError, match=r"cannot be written: File name too long\. Choose a shorter"):
        write(tmp_path / ("a" * 256), "new")


def special(kind, path):
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a device":
        path.symlink_to(os.devnull)
    else:
        path.symlink_to(path)


@posix
@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a device", "loop of links"])
def test_what_is_no_file_is_refused(tmp_path, kind):
    special(kind, tmp_path / "out")
    with pytest.raises(ValueError, match=rf"'path' must be a file, got the .*{kind[-6:]}"):
        write(tmp_path / "out", "new")


def test_leftovers_are_known_by_their_name(tmp_path):
    for name in ("a.png", "a", ".hidden", "a.tar.gz", "line\nbreak.png", "ä" * 120):
        with replacing(tmp_path / name) as temporary:
            assert is_leftover(temporary)
            assert not is_leftover(tmp_path / name)


def test_leftovers_of_over_a_day_ago_are_removed_and_others_are_not(tmp_path):
    old, new, mine = (tmp_path / f".{n}.opmask-00000000.png" for n in ("old", "new", "mine"))
    for path in (old, new, tmp_path / ".mine.png"):
        path.touch()
    os.utime(old, (0, time.time() - 90_000))
    mine.mkdir()  # no file at all
    write(tmp_path / "file.txt", "new")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {new.name, mine.name, ".mine.png", "file.txt"}


def test_all_leftovers_can_be_removed(tmp_path):
    for name in (".a.opmask-0123abcd.png", ".b.opmask-0123abcd", "c.png"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]
    remove_leftovers(tmp_path / "missing")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space there, or choose another folder."),
        (errno.EDQUOT, "Free some space there, or choose another folder."),
        (errno.EROFS, "Choose a folder that can be written to."),
        (errno.EACCES, "Choose a folder that can be written to."),
    ],
)
def test_errors_of_writing_say_what_to_do(tmp_path, number, advice):
    path = tmp_path / "file.txt"
    path.write_text("old")
    message = rf"file.txt' cannot be written: .*\. {advice}$"
    with pytest.raises(OSError, match=message) as caught, replacing(path):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    assert path.read_text() == "old"


def test_a_writer_that_replaces_files_itself_names_the_file_that_was_asked_for(tmp_path):
    def write_within():
        with replacing(tmp_path / "a") as outer, replacing(outer):
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match=r"^\[Errno 28\] '[^']*/a' cannot be written: full\. Free"):
        write_within()


def test_of_files_that_are_written_together_the_one_that_fails_is_named(tmp_path):
    def write_both():
        with replacing(tmp_path / "a"), replacing(tmp_path / "b"):
            raise OSError(errno.ENOSPC, "full")

    message = r"^\[Errno 28\] '[^']*/b' cannot be written: full\. Free [^']*$"
    with pytest.raises(OSError, match=message):
        write_both()
    assert not [*tmp_path.iterdir()]


def test_what_a_writer_refuses_itself_names_the_file_that_was_asked_for(tmp_path):
    def write_within():
        with replacing(tmp_path / "a.png") as temporary:
            raise ValueError(f"{temporary} cannot be written: too wide.")

    with pytest.raises(ValueError, match=r"^[^']*/a\.png cannot be written: too wide\.$"):
        write_within()


def test_errors_of_reading_another_file_stay(tmp_path):
    def read_within():
        with replacing(tmp_path / "file.txt"):
            raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "input"))

    with pytest.raises(PermissionError, match=r"^\[Errno 13\] Permission denied: '.*input'$"):
        read_within()


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file.out' cannot be written: .*Choose another folder"):
        write(tmp_path / "file" / "out", "new")


@posix
def test_a_full_disk_is_told_from_whatever_the_writer_makes_of_it(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    message = r"cannot be written: File too large\."
    try:
        with pytest.raises(OSError, match=message) as caught, replacing(tmp_path / "file.txt"):
            raise RuntimeError("encoder error -2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_meets_half_a_file_of_many_threads(tmp_path):
    path, done, seen = tmp_path / "file.txt", threading.Event(), set()
    texts = [str(number) * 50_000 for number in range(4)]
    write(path, texts[0])

    def keep_writing(text):
        while not done.is_set():
            write(path, text)

    threads = [threading.Thread(target=keep_writing, args=[text]) for text in texts]
    for thread in threads:
        thread.start()
    for _ in range(500):
        seen.add(path.read_text())
    done.set()
    for thread in threads:
        thread.join()
    assert seen <= set(texts)
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_files_in_a_folder_that_is_there_are_accepted(here):
    (here / "in.png").touch()
    (here / "link.png").symlink_to(here / "new.png")
    outputs = {"--out": "a.png", "--chart": here / "b.png", "--panel": None, "--x": "link.png"}
    check_outputs(outputs, inputs=["in.png", None, "missing.png"])


@pytest.mark.parametrize("name", ["in.png", "./in.png", "link.png", "hard.png", "sub/../in.png"])
def test_an_input_is_no_output_by_any_name(here, name):
    (here / "in.png").touch()
    (here / "sub").mkdir()
    (here / "link.png").symlink_to("in.png")
    os.link("in.png", "hard.png")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="'--out' must not be a file that is read, got "):
            check_outputs({"--out": name}, inputs=["in.png"], overwrite=overwrite)


@pytest.mark.parametrize("name", ["a.png", "./a.png", "A.PNG", "link.png"])
def test_two_outputs_are_two_files(here, name):
    (here / "link.png").symlink_to("a.png")
    with pytest.raises(ValueError, match=r"'--chart' must be another file than '--out', got "):
        check_outputs({"--out": "a.png", "--chart": name}, overwrite=True)


def test_an_existing_file_is_replaced_only_on_request(here):
    (here / "a.png").touch()
    (here / "link.png").symlink_to("a.png")
    for name in ("a.png", "link.png"):
        check_outputs({"--out": name}, overwrite=True)
        with pytest.raises(ValueError, match=r"'--out' must be a new file, .*--overwrite rep"):
            check_outputs({"--out": name})


@posix
@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a device", "loop of links"])
def test_an_output_is_a_file(here, kind):
    special(kind, here / "out")
    with pytest.raises(ValueError, match=rf"'--out' must be a file, got the .*{kind[-6:]}"):
        check_outputs({"--out": "out"}, overwrite=True)


@pytest.mark.parametrize("name", ["sub/a.png", "link.png"])
def test_a_folder_that_is_missing_is_refused(here, name):
    (here / "link.png").symlink_to("sub/a.png")
    with pytest.raises(ValueError, match="'--out' must lie in a folder that is there, got "):
        check_outputs({"--out": name})


def test_names_that_no_file_can_have_are_refused_early(here):
    with pytest.raises(OSError, match=r"cannot be written: File name too long\."):
        check_outputs({"--out": "a" * 256})


@pytest.mark.parametrize(
    ("closed", "message"), [(".", "lie in a folder that can"), ("a.png", "be a file that can")]
)
def test_what_cannot_be_written_to_is_refused(here, monkeypatch, closed, message):
    (here / "a.png").touch()
    closed = os.path.realpath(closed)  # root may write to all, so it is not asked
    monkeypatch.setattr(os, "access", lambda path, _: os.path.realpath(path) != closed)
    with pytest.raises(ValueError, match=f"'--out' must {message} be written to, got a.png"):
        check_outputs({"--out": "a.png"}, overwrite=True)


def test_a_full_disk_is_told_from_the_words_of_safetensors(tmp_path):
    message = r"cannot be written: No space left on device\. Free"
    with pytest.raises(OSError, match=message), replacing(tmp_path / "file"):
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")


WRITER = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from writing import replacing  # without the rest of opmask, which takes long to import
path, letters, end = sys.argv[1], sys.argv[2], time.monotonic() + float(sys.argv[3])

def keep_writing(letter):
    while time.monotonic() < end:
        with replacing(path) as temporary, open(temporary, "w") as file:
            for _ in range(20):
                file.write(letter * 5000)
                file.flush()

print("ready", flush=True)
with ThreadPoolExecutor(len(letters)) as pool:
    list(pool.map(keep_writing, letters))  # which raises what they raise
"""


@pytest.mark.multiprocess
def test_a_reader_never_meets_half_a_file_of_many_processes(tmp_path):
    path = tmp_path / "file.txt"
    write(path, "z" * 100_000)
    env = {**os.environ, "PYTHONPATH": os.path.dirname(writing.__file__)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), letters, "3"],
            stdout=subprocess.PIPE,
            env=env,
        )
        for letters in ("abc", "def", "ghi")
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"ready\n"
    seen = set()
    while any(writer.poll() is None for writer in writers):
        text = path.read_text()
        assert text == text[0] * 100_000
        seen.add(text[0])
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(seen) > 3
    assert list(tmp_path.iterdir()) == [path]
    for writer in writers:
        writer.stdout.close()


def test_what_replaces_a_file_is_an_option_of_a_command_or_an_argument_of_a_function(here):
    (here / "a").touch()
    with pytest.raises(ValueError, match=r"'path' must be a new file, .* overwrite=True replaces"):
        check_outputs({"path": "a"})
    with pytest.raises(ValueError, match=r"'the key' must be a new file, .* --overwrite replaces"):
        check_outputs({"--out": "b", "the key": "a"})
