r"""Writing files so that a reader, or a crash, never meets half of one.

Data flow: `bytes -> temporary file beside the target -> rename -> target`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_regular", "replacing"]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    r"""A temporary path to write to, which takes the place of `path` if nothing goes wrong.

    If the body raises (a full disk, Ctrl-C), the temporary file is removed and what `path` held
    stays.

    Args:
        path: The file to write. Its folder is made if need be.

    Yields:
        A path in the same folder, with the same suffix.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_regular(path: Path, largest: int) -> None:
    r"""Raises unless a path is that of a regular file of a bounded size.

    Args:
        path: The path.
        largest: The largest size, in bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, or larger.

    Example:
        >>> check_regular(Path("/dev/zero"), 100)
        Traceback (most recent call last):
        ...
        ValueError: '/dev/zero' must be a file.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}.")
    if not path.is_file():  # a pipe would block, and a device may never end
        raise ValueError(f"{str(path)!r} must be a file.")
    if (size := path.stat().st_size) > largest:
        raise ValueError(f"{str(path)!r} must be at most {largest} bytes, got {size}.")
