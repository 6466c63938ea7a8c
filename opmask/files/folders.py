r"""Folders of files that belong together: a reader finds all of them, or no folder.

A folder that is replaced loses what it holds. So it must be one that was written here: it has an
index, a JSON file that lists its files, and nothing else.

Data flow: `files -> temporary folder beside the target -> rename -> target`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from opmask.files.typed_json import read_json
from opmask.files.writing import explaining

__all__ = ["check_folder", "replacing_folder"]


class _Index(Struct):
    files: list[str]


def check_folder(path: str | Path, index: str, *, overwrite: bool = False) -> None:
    r"""Refuses, before any work, a folder that could not or should not be written.

    Args:
        path: The folder to write.
        index: The name of its file that lists the others, under the key `files`.
        overwrite: Whether the folder may be there already, with the files of its index alone. An
            empty one may be there in any case.

    Raises:
        ValueError: If there is a file in its place or a folder that must not be replaced, or it
            lies in a folder that is missing or cannot be written to.

    Example:
        >>> check_folder(".", "masks.json")
        Traceback (most recent call last):
        ...
        ValueError: 'path' must be a new folder, got . with other files in it. Choose another name.
    """
    above = Path(os.path.realpath(path)).parent
    if not above.is_dir():
        raise ValueError(f"'path' must lie in a folder that is there, got {path}.")
    if not os.access(above, os.W_OK):
        raise ValueError(f"'path' must lie in a folder that can be written to, got {path}.")
    _check_replaceable(path, index, overwrite)


def _check_replaceable(path: str | Path, index: str, overwrite: bool) -> None:
    target = Path(os.path.realpath(path))
    if not target.exists():
        return
    if not target.is_dir():
        raise ValueError(f"'path' must be a folder, got the file {path}. Choose another name.")
    held = set(os.listdir(target))
    if held and not held <= _listed(target / index):
        raise ValueError(
            f"'path' must be a new folder, got {path} with other files in it. Choose another name."
        )
    if held and not overwrite:
        raise ValueError(f"'path' must be a new folder, got {path}. overwrite=True replaces it.")


def _listed(index: Path) -> set[str]:
    """The files of a folder that its index knows; none if there is no index."""
    try:
        return {index.name, *read_json(index, _Index).files}
    except (OSError, ValueError):
        return set()


@contextmanager
def replacing_folder(path: str | Path, index: str, *, overwrite: bool = False) -> Iterator[Path]:
    r"""A temporary folder to fill, which takes the place of `path` if nothing goes wrong.

    If the body raises (a full disk, Ctrl-C), the temporary folder is removed and what was there
    stays.

    Args:
        path: As for :func:`check_folder`. The folders above it are made if need be.
        index: As for :func:`check_folder`.
        overwrite: As for :func:`check_folder`.

    Yields:
        The temporary folder, beside the folder that is written.

    Raises:
        ValueError: If there is a file in its place, or a folder that must not be replaced.
        OSError: If it cannot be written; the message says what to do.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp(), "two")
        >>> with replacing_folder(target, "two.json") as folder:
        ...     for name in "one.txt", "two.json":
        ...         _ = (folder / name).write_text('{"files": ["one.txt"]}')
        ...     target.exists()
        False
        >>> sorted(path.name for path in target.iterdir())
        ['one.txt', 'two.json']
    """
    _check_replaceable(path, index, overwrite)
    target = Path(os.path.realpath(path))
    new, old = (
        target.with_name(f".{target.name[:100]}.opmask-{secrets.token_hex(4)}") for _ in range(2)
    )
    with explaining(path):
        try:
            new.mkdir(parents=True)
            yield new
            if target.exists():
                target.rename(old)
            try:
                new.rename(target)
            except OSError:
                if old.exists():
                    old.rename(target)
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
