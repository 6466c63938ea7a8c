r"""Writing files so that a reader, a crash or another writer never meets half of one.

What a command writes is checked before its work by :func:`check_outputs`, and written by way of
:func:`replacing`.

Data flow: `bytes -> temporary file beside the target -> rename -> target`.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

__all__ = [
    "check_outputs",
    "explaining",
    "is_leftover",
    "remove_leftovers",
    "replacing",
]

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
        mode = _mode(target, "path")
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_old_leftovers(target.parent)
        # What others may not read in the old file they may not read in the new one either.
        temporary = _create(target.parent, path, 0o666 if mode is None else 0o600)
        mode = stat.S_IMODE(temporary.stat().st_mode) if mode is None else mode
    except OSError as error:
        raise _explained(error, path) from error
    try:
        yield temporary
        # Which the old file had, or the umask allows; safetensors would hide the new one.
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        temporary.replace(target)
    except Exception as error:
        if (said := _said_within(error)) is not None:
            if str(temporary) not in said:  # of a file that is written beside this one
                raise
            said = said.replace(str(temporary), str(path))
            if isinstance(error, OSError):
                raise OSError(error.errno, said) from error
            raise ValueError(said) from error
        if (reason := _reason(error, temporary)) is not None:
            raise _explained(reason, path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_outputs(
    outputs: Mapping[str, str | Path | None],
    *,
    inputs: Iterable[str | Path | None] = (),
    overwrite: bool = False,
) -> None:
    r"""Refuses, before any work, files that a command could not or should not write.

    Args:
        outputs: All files that it writes, by what an error calls them, such as `--out`. None
            stands for one that is not wanted.
        inputs: All files that it reads, likewise.
        overwrite: Whether outputs may be there already. An input is never overwritten.

    Raises:
        ValueError: If an output is there already, is an input (by another name, too) or another
            output, is no file, or lies in a folder that is missing or cannot be written to.
        OSError: If its name is too long.

    Example:
        >>> check_outputs({"--out": "a.md", "--chart": "./a.md"})
        Traceback (most recent call last):
        ...
        ValueError: '--chart' must be another file than '--out', got a.md.
    """
    wanted = {name: Path(path) for name, path in outputs.items() if path is not None}
    names: dict[str, str] = {}
    for name, path in wanted.items():
        _check_place(name, path)
        # Without regard to case, because some file systems have none.
        other = names.setdefault(os.path.realpath(path).casefold(), name)
        if other != name:
            raise ValueError(f"{name!r} must be another file than {other!r}, got {path}.")
    there = {name: path for name, path in wanted.items() if path.exists()}
    # Of inputs there may be very many, and what is not there is none of them.
    read = [Path(path) for path in inputs if path and Path(path).exists()] if there else []
    # Whose outputs are options is a command.
    how = "--overwrite" if any(name[:2] == "--" for name in wanted) else "overwrite=True"
    for name, path in there.items():
        if any(path.samefile(source) for source in read):
            raise ValueError(
                f"{name!r} must not be a file that is read, got {path}. Choose another name."
            )
        if not overwrite:
            raise ValueError(f"{name!r} must be a new file, got {path}. {how} replaces it.")


def _check_place(name: str, path: Path) -> None:
    target = Path(os.path.realpath(path))
    try:
        found = _mode(target, name)
    except OSError as error:
        raise _explained(error, path) from error
    if not target.parent.is_dir():
        raise ValueError(f"{name!r} must lie in a folder that is there, got {path}.")
    if not os.access(target.parent, os.W_OK):
        raise ValueError(f"{name!r} must lie in a folder that can be written to, got {path}.")
    if found is not None and not os.access(target, os.W_OK):
        raise ValueError(f"{name!r} must be a file that can be written to, got {path}.")


@contextmanager
def explaining(path: str | Path) -> Iterator[None]:
    r"""Says what to do if a file cannot be written.

    Args:
        path: The file. Errors that name another file stay as they are.

    Raises:
        OSError: In place of one that says less, such as of a full disk.

    Example:
        >>> with explaining("a.txt"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        ...
        OSError: [Errno 28] 'a.txt' cannot be written: No space left on device. Free some space
        there, or choose another folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _ADVICE and error.filename in (None, str(path)):
            raise _explained(error, path) from error
        raise


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


def _mode(target: Path, name: str) -> int | None:
    """The permissions of a file, if there is one; `name` is what an error calls it."""
    try:
        found = target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found):
        kind = "the folder" if stat.S_ISDIR(found) else "the pipe, device or loop of links"
        raise ValueError(f"{name!r} must be a file, got {kind} {target}. Choose another name.")
    return stat.S_IMODE(found)


def _create(folder: Path, path: Path, mode: int) -> Path:
    """Makes an empty file that no other writer has."""
    stem = os.fsencode(path.stem)[:_LONGEST].decode("utf-8", "ignore")
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST else ""
    while True:
        temporary = folder / f".{stem}.opmask-{secrets.token_hex(4)}{suffix}"
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
            return temporary
        except FileExistsError:
            continue
        except KeyboardInterrupt:
            temporary.unlink(missing_ok=True)
            raise


def _reason(error: Exception, temporary: Path) -> OSError | None:
    """Why the file cannot be written, if that is what `error` comes from."""
    if isinstance(error, OSError) and error.errno in _ADVICE:
        mine = error.filename is None or Path(error.filename) == temporary
        return error if mine else None
    # safetensors names the reason in text only, and has removed its file.
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(found[1]), os.strerror(int(found[1])))
    # torch and numpy name none at all. Is the disk full?
    try:
        with temporary.open("ab") as file:
            file.write(bytes(2**20))
    except OSError as reason:
        return reason
    return None


def _said_within(error: Exception) -> str | None:
    """What another writer has said already, that writes to the temporary file or beside it."""
    said = str(error.strerror if isinstance(error, OSError) else error)
    known = isinstance(error, OSError | ValueError) and "cannot be written" in said
    return said if known else None


def _explained(error: OSError, path: str | Path) -> OSError:
    advice = _ADVICE.get(error.errno or 0, "Choose another folder.")
    return OSError(error.errno, f"'{path}' cannot be written: {error.strerror}. {advice}")
