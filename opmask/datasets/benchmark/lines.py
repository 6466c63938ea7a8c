r"""The lines of a benchmark's manifest, as objects and as JSON.

`JSON -> typed line, shape and bounds checked -> Header or Entry -> JSON`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, TypedDict

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from opmask.datasets.benchmark.config import LARGEST_SIZE, BenchmarkConfig
from opmask.datasets.benchmark.recompression import Recompression
from opmask.datasets.pairs import PhotoCounts
from opmask.files.typed_json import Int64, parse_json
from opmask.perturb import PerturbationRecord

__all__ = ["Entry", "Header"]

FORMAT = 1
"""The version of the format that is written, and the only one that is read."""

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
