import os

import pytest

from opmask.files import check_regular, shorten
from opmask.files.reading import why_unreadable


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "whole").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("whole")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone")
    return tmp_path


@pytest.mark.parametrize("name", ["whole", "link"])
def test_a_file_and_a_link_to_one_are_regular(folder, name):
    check_regular(folder / name, 5)
    assert why_unreadable(folder / name) == ""


def test_a_file_that_is_too_large_is_refused(folder):
    with pytest.raises(ValueError, match=r"whole' must be at most 4 bytes, got 5\.$"):
        check_regular(folder / "whole", 4)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("gone", FileNotFoundError, r"there is no file '\S+gone'\.$"),
        ("dangling", FileNotFoundError, r"there is no file '\S+dangling'\.$"),
        ("whole/inside", FileNotFoundError, r"there is no file '\S+inside'\.$"),
        ("a\0b", FileNotFoundError, r"there is no file '\S+'\.$"),
        ("loop", FileNotFoundError, r"'\S+loop' to be read: its links lead in a circle\.$"),
        (10**5 * "x", FileNotFoundError, r"'\S+' to be read: its name is too long\.$"),
        ("pipe", ValueError, r"pipe' must be a file, not a directory, a pipe or a device\.$"),
        ("", ValueError, "must be a file, not a directory"),
    ],
)
def test_what_cannot_be_read_is_a_short_sentence_that_says_why(folder, name, error, message):
    with pytest.raises(error, match=message) as caught:
        check_regular(folder / name, 100)
    assert len(str(caught.value)) < 1000


def test_long_words_keep_both_ends_and_short_ones_stay():
    text = f"photos/{30 * 'a'}{5000 * 'x'}.jpg is {60 * 'b'}"
    start, end = shorten(text).split("...")
    assert start == f"photos/{29 * 'a'}"
    assert end.endswith(f"xxx.jpg is {60 * 'b'}")
    assert len(shorten(61 * "y")) == len(shorten(10**5 * "y")) == 60


def test_names_that_files_can_have_are_shown_whole():
    assert shorten("a/" + 255 * "x", 255) == "a/" + 255 * "x"
    assert len(shorten(256 * "x", 255)) == 255
