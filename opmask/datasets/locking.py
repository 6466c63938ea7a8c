r"""A file for one process at a time, so that two builds into one folder do not mix.

The operating system holds the lock, and lets go of it when the process ends, however it ends.

Path -> :func:`held` -> open file -> :func:`opmask.datasets.build_benchmark`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger("opmask")


@contextmanager
def held(path: str | Path) -> Iterator[BinaryIO]:
    r"""Opens a file that no other process can hold until this one is done with it.

    What is written goes to its end. If the file is left empty it is removed.

    Args:
        path: The file. It and its folder are made if need be.

    Yields:
        The file, open for reading and appending.

    Raises:
        ValueError: If another process holds it.
        OSError: If it cannot be written to.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "notes")
        >>> with held(path) as file:
        ...     path.exists()
        True
        >>> path.exists()
        False
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        _lock(file, path)
        try:
            yield file
        finally:
            empty = file.seek(0, os.SEEK_END) == 0
            file.close()  # Windows removes no open file
            if empty:
                path.unlink(missing_ok=True)


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)  # it locks from here
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # Not flock, which forked workers would go on holding after this process was killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise ValueError(
            f"'out' must be a folder that no other process is writing to, got {path.parent}. "
            f"Wait until that one has ended, or choose another folder."
        ) from error
    except OSError as error:  # as on some network file systems
        logger.warning(
            "%s cannot be locked, so nothing keeps a second build away: %s", path, error
        )
