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
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, TypedDict, TypeVar

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from opmask.datasets.benchmark.config import LARGEST_SIZE, BenchmarkConfig
from opmask.datasets.benchmark.recompression import Recompression
from opmask.datasets.pairs import PhotoCounts
from opmask.files import check_regular, replacing
from opmask.files.typed_json import Int64, parse_json
from opmask.perturb import PerturbationRecord

FORMAT = 1
"""The version of the format that is written, and the only one that is read."""

LARGEST, LONGEST_LINE = 2**31, 2**24
"""The largest manifest and its longest line, in bytes."""

T = TypeVar("T")

_TEXTS = ("photo", "label_map", "photo_sha256", "label_map_sha256")


@dataclass(frozen=True)
class Header:
    r"""The first line of a manifest.

    Args:
        config: What decides the samples.
        version: The opmask that wrote it.
        photos: How many photos the data set had.
        kept: How many of them became samples.
        unlabelled: The photographs left out because no pixel is labelled.
        broken: Those left out because a file cannot be used.
        table_1: The paper's counts for that split, if it has any.
        own_settings: In what the settings differed from those that `config` names, if they did.

    Example:
        >>> header = Header(BenchmarkConfig("LIP", "val"), "0.1.0", 3, 2, ("val_images/a.jpg",))
        >>> header.describe()
        '2 of 3 photos kept: 1 without a labelled pixel, 0 that cannot be used.'
        >>> Header.from_json(header.to_json()) == header
        True
    """

    config: BenchmarkConfig
    version: str
    photos: int
    kept: int
    unlabelled: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    table_1: PhotoCounts | None = None
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
        record = {"opmask_benchmark": FORMAT, "opmask": self.version, **asdict(self.config)}
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
        line = parse_json(text, _HeaderLine, "the header")
        if line.opmask_benchmark != FORMAT:
            raise ValueError(
                f"'opmask_benchmark', the version of the format, must be {FORMAT}, got "
                f"{line.opmask_benchmark}. It was written by opmask {line.opmask}."
            )
        config = BenchmarkConfig(
            line.data, line.split, line.seed, line.settings, line.size, line.quality
        )
        counts, left_out = (line.photos, line.kept), (tuple(line.unlabelled), tuple(line.broken))
        table = None if line.table_1 is None else PhotoCounts(**line.table_1)
        return cls(config, line.opmask, *counts, *left_out, table, line.own_settings)


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
        recompression: How the composite was resampled and compressed, if it was.

    Example:
        >>> files = "images/a.jpg", "annotations/a.png", "0" * 64, "1" * 64
        >>> entry = Entry(41, *files, PerturbationRecord(7, ()))
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
    applied: PerturbationRecord
    recompression: Recompression | None = None

    @property
    def image_name(self) -> str:
        """The name of the sample's picture; sorted by name they are in the manifest's order."""
        return f"{self.index:06d}-{PurePosixPath(self.photo).stem}.png"

    def to_json(self) -> str:
        """The entry as one line of JSON."""
        record = {name: getattr(self, name) for name in ("index", *_TEXTS)}
        record["applied"] = json.loads(self.applied.to_json())
        if self.recompression is not None:
            record["recompression"] = asdict(self.recompression)
        return json.dumps(record)

    @classmethod
    def from_json(
        cls, text: str | bytes, perturbations: Sequence[Callable[..., Any]] = ()
    ) -> Entry:
        """Reads what :meth:`to_json` wrote.

        Args:
            text: The line.
            perturbations: The perturbations of your own that may occur in it, see
                :meth:`opmask.perturb.PerturbationRecord.from_json`.

        Raises:
            ValueError: If the text is something else, or names another perturbation.
            FileNotFoundError: If it names a ``.cube`` file that is not there.
        """
        line = parse_json(text, _EntryLine, "the sample")
        files = line.photo, line.label_map, line.photo_sha256, line.label_map_sha256
        found = line.recompression or line.clean
        recompression = None if found is None else Recompression(found.scale, found.quality)
        try:
            applied = PerturbationRecord.from_json(bytes(line.applied).decode(), perturbations)
        except ValueError as error:
            raise ValueError(f"in the field 'applied', {error}") from error
        return cls(line.index, *files, applied, recompression)


Text = Annotated[str, Meta(max_length=4096)]
Count = Annotated[int, Meta(ge=0, le=10**9)]
Quality = Annotated[int, Meta(ge=1, le=100)]
Checksum = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class _HeaderLine(Struct):
    """The first line of a manifest as it stands there."""

    opmask_benchmark: Count
    opmask: Text
    data: Text
    split: Text
    seed: Int64
    settings: Text
    size: Annotated[int, Meta(ge=1, le=LARGEST_SIZE)] | None
    photos: Count
    kept: Count
    unlabelled: list[Text]
    broken: list[Text]
    table_1: _Table1 | None
    own_settings: Text = ""
    recompression: Quality | UnsetType | None = UNSET
    clean: Quality | UnsetType | None = UNSET  # what it was called in earlier versions

    def __post_init__(self) -> None:
        """Refuses more samples than photos, and a header that says nothing of recompression."""
        if self.recompression is UNSET is self.clean:
            raise ValueError("Object missing required field `recompression`")
        if self.kept > self.photos:
            raise ValueError(f"'kept' must be at most 'photos', {self.photos}, got {self.kept}")

    @property
    def quality(self) -> int | None:
        """The JPEG quality of recompressed composites."""
        found = self.clean if self.recompression is UNSET else self.recompression
        return None if found is UNSET else found


class _Table1(TypedDict):
    photos: Count
    labelled: Count


class _RecompressionLine(Struct):
    scale: float
    quality: int


class _EntryLine(Struct):
    """Another line of a manifest as it stands there."""

    index: Count
    photo: Text
    label_map: Text
    photo_sha256: Checksum
    label_map_sha256: Checksum
    applied: Raw
    recompression: _RecompressionLine | None = None
    clean: _RecompressionLine | None = None  # what it was called in earlier versions

    def __post_init__(self) -> None:
        """Refuses paths that could lead out of the data set, on any system."""
        for field, name in ("photo", self.photo), ("label_map", self.label_map):
            windows = PureWindowsPath(name)
            outside = windows.anchor or ".." in windows.parts or "\0" in name
            if outside or not windows.parts:
                raise ValueError(
                    f"{field!r} must be the path of a file below the root of the data set, "
                    f"relative and without '..', got {name[:99]!r}"
                )


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
