r"""Writing files so that a reader, a crash or another writer never meets half of one.

Data flow: `bytes -> temporary file beside the target -> rename -> target`.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

__all__ = ["is_leftover", "remove_leftovers", "replacing"]

_LEFTOVER = re.compile(r"\..*\.opmask-[0-9a-f]{8}(\.[^.]*)?", re.DOTALL)

_LONGEST = 100  # bytes of stem and of suffix, so that the name stays below the usual limit of 255

_DAY = 24 * 60 * 60

_ADVICE = {
    errno.ENOSPC: "Free some space there, or choose another folder.",
    errno.EDQUOT: "Free some space there, or choose another folder.",
    errno.EFBIG: "Choose a folder that takes files of that size.",
    errno.EROFS: "Choose a folder that can be written to.",
    errno.EACCES: "Choose a folder that can be written to.",
    errno.EPERM: "Choose a folder that can be written to.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    r"""A temporary path to write to, which takes the place of `path` if nothing goes wrong.

    If the body raises (a full disk, Ctrl-C), the temporary file is removed and what `path` held
    stays. Threads and processes may write to one path at the same time: each reader finds what
    one of them wrote, whole. A file that is replaced keeps its permissions, and a symbolic link
    its place: what it points to is written.

    Args:
        path: The file to write. Its folder is made if need be.

    Yields:
        A path with the same suffix, in the folder of the file that is written. An empty file is
        there already.

    Raises:
        ValueError: If `path` is a folder, a pipe, a device or a loop of links.
        OSError: If it cannot be written to; the message says what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = Path(folder) / "notes.txt"
        ...     with replacing(target) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     target.read_text()
        'whole'
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    try:
        mode = _mode(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_old_leftovers(target.parent)
        # What others may not read in the old file they may not read in the new one either.
        temporary = _create(target.parent, path, 0o666 if mode is None else 0o600)
    except OSError as error:
        raise _explained(error, path) from error
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(target)
    except Exception as error:
        if (reason := _reason(error, temporary)) is not None:
            raise _explained(reason, path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_leftover(path: str | Path) -> bool:
    r"""Whether a file is one that :func:`replacing` is writing to, or was when it was killed.

    Whoever reads a folder passes over them.

    Args:
        path: The file, of which only the name counts.

    Returns:
        Whether it is temporary.

    Example:
        >>> is_leftover("photos/.barn.opmask-0123abcd.png"), is_leftover("photos/barn.png")
        (True, False)
    """
    return _LEFTOVER.fullmatch(Path(path).name) is not None


def remove_leftovers(folder: str | Path, *, age: float = 0) -> None:
    r"""Removes the temporary files that killed processes have left in a folder.

    Args:
        folder: The folder, not those in it. It need not be there.
        age: How many seconds ago a file must have been changed last. With 0 nobody else may be
            writing to the folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".barn.opmask-0123abcd.png").touch()
        >>> remove_leftovers(folder)
        >>> list(folder.iterdir())
        []
    """
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        found = [entry.path for entry in entries if is_leftover(entry.name)]
        for path in found:
            with suppress(OSError):  # another process has removed it, or it is not ours
                if time.time() - os.lstat(path).st_mtime >= age:
                    os.unlink(path)


@lru_cache(maxsize=1024)  # once by process: to list a folder for each of its files takes long
def _remove_old_leftovers(folder: Path) -> None:
    # No number of a process, no lock and no clock of a writer says on all file systems, and
    # across containers, that it is dead. But none goes for a day without writing a byte.
    with suppress(PermissionError):  # of a folder that may be written to, but not be listed
        remove_leftovers(folder, age=_DAY)


def _mode(target: Path) -> int | None:
    """The permissions of a file, if there is one."""
    try:
        found = target.lstat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):
        raise ValueError(
            f"'path' must be a file, got {target}, which is a folder, a pipe, a device or a loop "
            f"of links. Choose another name."
        )
    return stat.S_IMODE(found)


def _create(folder: Path, path: Path, mode: int) -> Path:
    """Makes an empty file with a name that no other writer has."""
    stem = os.fsencode(path.stem)[:_LONGEST].decode("utf-8", "ignore")
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST else ""
    while True:
        temporary = folder / f".{stem}.opmask-{secrets.token_hex(4)}{suffix}"
        with suppress(FileExistsError):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            return temporary


def _reason(error: Exception, temporary: Path) -> OSError | None:
    """Why the file cannot be written, if that is what `error` comes from."""
    if isinstance(error, OSError) and error.errno in _ADVICE:
        mine = error.filename is None or Path(error.filename) == temporary
        return error if mine else None
    # Pillow, torch and safetensors each report a full disk in their own way. Is it full?
    try:
        with temporary.open("ab") as file:
            file.write(bytes(2**20))
    except OSError as reason:
        return reason
    return None


def _explained(error: OSError, path: Path) -> OSError:
    advice = _ADVICE.get(error.errno or 0, "Choose another folder.")
    return OSError(error.errno, f"'{path}' cannot be written: {error.strerror}. {advice}")
