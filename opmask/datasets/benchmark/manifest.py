r"""The manifest of a benchmark: a text file from which each of its samples can be rebuilt.

JSON lines. The first says what the benchmark is made of, :class:`Header`; each other one is a
sample, :class:`Entry`: which files, with their checksums, and what was done to them.

:func:`opmask.datasets.build_benchmark` -> manifest -> :class:`opmask.datasets.Benchmark`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any

from opmask.datasets._fields import parse, read_line, take
from opmask.datasets.benchmark.config import Recipe
from opmask.datasets.benchmark.recompression import Cleaning
from opmask.datasets.pairs import Counts
from opmask.files import replacing
from opmask.perturb import Applied

FORMAT = 1
"""The version of the format that is written, and the only one that is read."""

_TEXTS = ("photo", "label_map", "photo_sha256", "label_map_sha256")


@dataclass(frozen=True)
class Header:
    r"""The first line of a manifest.

    Args:
        recipe: What decides the samples.
        version: The opmask that wrote it.
        photos: How many photos the data set had.
        kept: How many of them became samples.
        unlabelled: The photographs left out because no pixel is labelled.
        broken: Those left out because a file cannot be used.
        table_1: The paper's counts for that split, if it has any.
        own_settings: In what the settings differed from those that the recipe names, if they did.

    Example:
        >>> header = Header(Recipe("LIP", "val"), "0.1.0", 3, 2, ("val_images/a.jpg",))
        >>> header.describe()
        '2 of 3 photos kept: 1 without a labelled pixel, 0 that cannot be used.'
        >>> Header.from_json(header.to_json()) == header
        True
    """

    recipe: Recipe
    version: str
    photos: int
    kept: int
    unlabelled: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    table_1: Counts | None = None
    own_settings: str = ""

    def describe(self) -> str:
        """The counts in a sentence, and those of the paper's Table 1."""
        found = (
            f"{self.kept} of {self.photos} photos kept: {len(self.unlabelled)} without a labelled "
            f"pixel, {len(self.broken)} that cannot be used."
        )
        if self.table_1 is None:
            return found
        photos, labelled = self.table_1
        equal = ", too" if (photos, labelled) == (self.photos, self.kept) else ""
        return f"{found} In the paper (Table 1) it is {labelled} of {photos}{equal}."

    def to_json(self) -> str:
        """The header as one line of JSON."""
        record = {"opmask_benchmark": FORMAT, "opmask": self.version, **asdict(self.recipe)}
        record |= {"photos": self.photos, "kept": self.kept}
        record |= {"unlabelled": self.unlabelled, "broken": self.broken}
        record["table_1"] = None if self.table_1 is None else self.table_1._asdict()
        if self.own_settings:
            record["own_settings"] = self.own_settings
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str | bytes) -> Header:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is something else, or of another version of the format.
        """
        record = parse(text)
        version = take(record, "opmask", str)
        if (found := take(record, "opmask_benchmark", int)) != FORMAT:
            raise ValueError(
                f"'opmask_benchmark', the version of the format, must be {FORMAT}, got {found}. "
                f"It was written by opmask {version}."
            )
        recipe = Recipe(
            take(record, "data", str),
            take(record, "split", str),
            seed=take(record, "seed", int),
            settings=take(record, "settings", str),
            size=take(record, "size", int, NoneType),
            clean=take(record, "clean", int, NoneType),
        )
        photos, kept = (take(record, name, int) for name in ("photos", "kept"))
        unlabelled, broken = (tuple(take(record, name, list)) for name in ("unlabelled", "broken"))
        table = take(record, "table_1", dict, NoneType)
        if table is not None:
            table = Counts(take(table, "photos", int), take(table, "labelled", int))
        own = take(record, "own_settings", str) if "own_settings" in record else ""
        return cls(recipe, version, photos, kept, unlabelled, broken, table, own)


@dataclass(frozen=True)
class Entry:
    r"""A line of a manifest: one sample.

    Args:
        index: The place of the photo in its data set.
        photo: The photograph, relative to the root of the data set, with forward slashes.
        label_map: Its label map, likewise.
        photo_sha256: The SHA-256 of the photograph's file, in hexadecimal digits.
        label_map_sha256: That of the label map's file.
        applied: What was done, the seed included.
        clean: How the composite was cleaned, if it was.

    Example:
        >>> entry = Entry(41, "images/a.jpg", "annotations/a.png", "00", "11", Applied(7, ()))
        >>> entry.image_name
        '000041-a.png'
        >>> Entry.from_json(entry.to_json()) == entry
        True
    """

    index: int
    photo: str
    label_map: str
    photo_sha256: str
    label_map_sha256: str
    applied: Applied
    clean: Cleaning | None = None

    @property
    def image_name(self) -> str:
        """The name of the sample's picture; sorted by name they are in the manifest's order."""
        return f"{self.index:06d}-{PurePosixPath(self.photo).stem}.png"

    def to_json(self) -> str:
        """The entry as one line of JSON."""
        record = {name: getattr(self, name) for name in ("index", *_TEXTS)}
        record["applied"] = json.loads(self.applied.to_json())
        if self.clean is not None:
            record["clean"] = asdict(self.clean)
        return json.dumps(record)

    @classmethod
    def from_json(
        cls, text: str | bytes, perturbations: Sequence[Callable[..., Any]] = ()
    ) -> Entry:
        """Reads what :meth:`to_json` wrote.

        Args:
            text: The line.
            perturbations: The perturbations of your own that may occur in it, see
                :meth:`opmask.perturb.Applied.from_json`.

        Raises:
            ValueError: If the text is something else, or names another perturbation.
            FileNotFoundError: If it names a ``.cube`` file that is not there.
        """
        record = parse(text)
        applied = _applied(take(record, "applied", dict), perturbations)
        clean = None
        if "clean" in record:
            clean = take(record, "clean", dict)
            clean = Cleaning(take(clean, "scale", float, int), take(clean, "quality", int))
        texts = {name: take(record, name, str) for name in _TEXTS}
        return cls(take(record, "index", int), **texts, applied=applied, clean=clean)


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
            another version; or if lines are missing.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "manifest.jsonl")
        >>> write_manifest(path, Header(Recipe("LIP", "val"), "0.1.0", 1, 0, ("a.jpg",)), [])
        >>> header, entries = read_manifest(path)
        >>> header.recipe.data, entries
        ('LIP', [])
    """
    first, *others = Path(path).read_bytes().splitlines() or [b""]
    header = read_line(Header.from_json, path, 1, first)
    read = partial(Entry.from_json, perturbations=perturbations)
    entries = [read_line(read, path, n, line) for n, line in enumerate(others, 2)]
    if len(entries) != header.kept:
        raise ValueError(
            f"{path} must hold as many samples as 'kept' in its first line says, {header.kept}, "
            f"got {len(entries)}."
        )
    return header, entries


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


def _applied(record: dict[str, Any], perturbations: Sequence[Callable[..., Any]]) -> Applied:
    try:
        return Applied.from_json(json.dumps(record), perturbations)
    except ValueError as error:
        raise ValueError(f"in the field 'applied', {error}") from error
