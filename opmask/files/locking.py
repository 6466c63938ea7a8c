r"""A folder for one writer at a time, so that two builds into one folder do not mix.

The operating system holds the lock, and lets go of it when the process ends, however it ends.

Folder -> :func:`locked` -> whoever writes several files there.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from opmask.files.reading import LONGEST_NAME, shorten

logger = logging.getLogger("opmask")

LOCK = ".lock"
"""The name of the file in the folder that is locked."""

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # as on some network file systems


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    r"""Keeps other processes and threads from writing to a folder.

    Args:
        folder: The folder. It is made if need be.

    Raises:
        ValueError: If another process or thread holds it.
        OSError: If it cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with locked(folder):
        ...     [path.name for path in folder.iterdir()]
        ['.lock']
        >>> list(folder.iterdir())
        []
    """
    from filelock import FileLock, Timeout  # which takes a tenth of a second

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"'out' must be a folder that nobody else is writing to, got {folder}. "
            f"Wait until the other build has ended, or choose another folder."
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _unwritable(folder, error) from error
        logger.warning(
            "%s cannot be locked, so nothing keeps a second build away: %s", folder, error
        )
    try:
        yield
    finally:
        # While it is held: who opened it before sees that it is gone, and does not lock it.
        # Windows removes no open file; there filelock does it.
        with suppress(OSError):
            (folder / LOCK).unlink()
        lock.release()


def _unwritable(folder: Path, error: OSError) -> OSError:
    return OSError(
        error.errno,
        f"'out' must be a folder that can be written to, got {shorten(folder, LONGEST_NAME)} "
        f"({error.strerror}). Choose another folder.",
    )
