r"""What is checked of a file before it is opened, whatever it is read as; and what was cut off.

A pipe would block, a device may never end, and a name may be longer than any file's.

Data flow: `path -> check_regular -> reader`; `what a file says -> shorten -> error`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["LONGEST_NAME", "check_regular", "shorten", "whole_lines", "why_unreadable"]

LONGEST_NAME = 255
"""The longest name that a file can have, in bytes; errors show it whole."""

_MISSING = "there is no such file"

_REASONS = {
    errno.ELOOP: "its links lead in a circle",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EACCES: "it may not be read by this user",
}


def check_regular(path: str | Path, largest: int) -> None:
    r"""Raises unless a path is that of a regular file of a bounded size.

    Args:
        path: The path.
        largest: The largest size, in bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        ValueError: If it is something else, or larger.

    Example:
        >>> check_regular("/dev/zero", 100)
        Traceback (most recent call last):
        ...
        ValueError: '/dev/zero' must be a file, not a directory, a pipe or a device.
    """
    name = repr(shorten(path, LONGEST_NAME))
    why = why_unreadable(path)
    if why == _MISSING:
        raise FileNotFoundError(f"there is no file {name}.")
    if why in _REASONS.values():
        kind = PermissionError if why == _REASONS[errno.EACCES] else FileNotFoundError
        raise kind(f"there is no file {name} to be read: {why}.")
    if why:
        raise ValueError(f"{name} must be a file, not a directory, a pipe or a device.")
    if (size := os.stat(path).st_size) > largest:
        raise ValueError(f"{name} must be at most {largest} bytes, got {size}.")


def why_unreadable(path: str | Path) -> str:
    r"""Why a path is not that of a regular file that can be opened.

    Args:
        path: The path.

    Returns:
        The reason, as part of a sentence; "" if there is none.

    Example:
        >>> why_unreadable("/dev/zero")
        'it is no regular file, but a directory, a pipe or a device'
        >>> why_unreadable("nowhere.png")
        'there is no such file'
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return _REASONS.get(error.errno or 0, _MISSING)
    except ValueError:  # a name with a null byte, or one that cannot be encoded
        return _MISSING
    if not stat.S_ISREG(mode):
        return "it is no regular file, but a directory, a pipe or a device"
    return "" if os.access(path, os.R_OK) else _REASONS[errno.EACCES]


def whole_lines(file: BinaryIO) -> list[bytes]:
    r"""Reads the lines of a file that lines are added to; one that was cut off is removed.

    Args:
        file: The file, open for reading and appending.

    Returns:
        The lines, each with its end.

    Example:
        >>> import io
        >>> file = io.BytesIO(b"one\ntwo\nthr")
        >>> whole_lines(file), file.getvalue()
        ([b'one\n', b'two\n'], b'one\ntwo\n')
    """
    file.seek(0)
    lines = [line for line in file if line.endswith(b"\n")]
    file.truncate(sum(map(len, lines)))
    return lines


def shorten(text: object, longest: int = 60) -> str:
    r"""Shortens what an error is to show, so that it stays a line that can be read.

    Args:
        text: A path, a name or a message, of which any word may be very long.
        longest: How many characters of a word, or of a name in a path, are shown.

    Returns:
        The text, with three dots in the middle of longer words.

    Example:
        >>> shorten("photos/" + 1000 * "x" + ".png is missing", 20)
        'photos/xxxxxxxxx...xxxx.png is missing'
    """
    start, end = (longest - 2) // 2, (longest - 3) // 2
    too_long = rf"([^\s/]{{{start}}})[^\s/]{{4,}}([^\s/]{{{end}}})"
    return re.sub(too_long, r"\1...\2", str(text))
