r"""The manifest of a benchmark: a text file from which each of its samples can be rebuilt.

JSON lines. The first says what the benchmark is made of, :class:`Header`; each other one is a
sample, :class:`Entry`: which files, with their checksums, and what was done to them.

:func:`opmask.datasets.build_benchmark` -> manifest -> :class:`opmask.datasets.Benchmark`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from opmask.datasets.benchmark.lines import Entry, Header
from opmask.files import check_regular, replacing

__all__ = ["read_line", "read_manifest", "sha256", "write_manifest"]

LARGEST, LONGEST_LINE = 2**31, 2**24
"""The largest manifest and its longest line, in bytes."""

T = TypeVar("T")


def write_manifest(path: str | Path, header: Header, entries: Iterable[Entry]) -> None:
    r"""Writes a manifest, whole or not at all.

    Args:
        path: The file to write.
        header: Its first line.
        entries: The other lines.

    Example:
        See :func:`read_manifest`.
    """
    lines = [header.to_json(), *(entry.to_json() for entry in entries)]
    # In bytes: as text the lines would end in another way on Windows.
    with replacing(path) as temporary:
        temporary.write_bytes("".join(f"{line}\n" for line in lines).encode())


def read_manifest(
    path: str | Path, perturbations: Sequence[Callable[..., Any]] = ()
) -> tuple[Header, list[Entry]]:
    r"""Reads a manifest.

    Args:
        path: The file that :func:`write_manifest` wrote.
        perturbations: The perturbations of your own that may occur in it, each as the function or
            class itself.

    Returns:
        The first line and the others.

    Raises:
        FileNotFoundError: If there is no such file, or no ``.cube`` file that it names.
        ValueError: If a line is not what it must be, naming line and field; if the format is of
            another version; or if there are fewer lines or more than its first one says.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "manifest.jsonl")
        >>> from opmask.datasets.benchmark.config import BenchmarkConfig
        >>> config = BenchmarkConfig("LIP", "val")
        >>> write_manifest(path, Header(config, "0.1.0", 1, 0, ("a.jpg",)), [])
        >>> header, entries = read_manifest(path)
        >>> header.config.data, entries
        ('LIP', [])
    """
    path = Path(path)
    check_regular(path, LARGEST)
    read = partial(Entry.from_json, perturbations=perturbations)
    with path.open("rb") as file:
        lines = iter(partial(file.readline, LONGEST_LINE), b"")
        header = read_line(Header.from_json, path, 1, next(lines, b""))
        # One more than there must be, so that a longer file is noticed and not read.
        some = enumerate(islice(lines, header.kept + 1), 2)
        entries = [read_line(read, path, number, line) for number, line in some]
    if len(entries) != header.kept:
        more = " or more" if len(entries) > header.kept else ""
        raise ValueError(
            f"{path} must hold as many samples as 'kept' in its first line says, {header.kept}, "
            f"got {len(entries)}{more}."
        )
    return header, entries


def read_line(read: Callable[[bytes], T], path: str | Path, number: int, line: bytes) -> T:
    """What a function makes of a line, whose place errors name."""
    try:
        if len(line) == LONGEST_LINE:
            raise ValueError(f"it must be shorter than {LONGEST_LINE} bytes.")
        return read(line)
    except FileNotFoundError as error:  # a .cube file that the line names
        raise FileNotFoundError(f"{path}, line {number}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: {error}") from error


def sha256(path: str | Path) -> str:
    r"""The SHA-256 of a file, in hexadecimal digits, as `sha256sum` prints it.

    Args:
        path: The file to read.

    Returns:
        64 digits.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "empty")
        >>> path.touch()
        >>> sha256(path)[:16]
        'e3b0c44298fc1c14'
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
