r"""The file in which the building of a set in iHarmony4's format is noted.

JSON lines. The first says what the set is made of; each other one is a photo: the composites made
of it, and what was done to each.

``MakingConfig`` + ``Made`` -> ``Journal`` -> `made.jsonl`, for
:func:`opmask.datasets.make_iharmony4`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from opmask.files import explaining
from opmask.files.reading import whole_lines
from opmask.files.typed_json import parse_json

JOURNAL = "made.jsonl"
"""The name of the journal in the folder of a subset."""


@dataclass(frozen=True)
class Made:
    r"""What was made of a photo.

    Args:
        split: `"train"` or `"test"`.
        index: The place of the photo in its split.
        photo: The name of its real image, without ending.
        applied: For each composite, by its name without ending, what was done, as
            :meth:`opmask.perturb.PerturbationRecord.to_json` writes it.
    """

    split: str
    index: int
    photo: str
    applied: dict[str, str]


class Journal:
    r"""The journal of a set, which is read when it is opened and appended to.

    Args:
        path: The file. Its folder is made if need be.
        header: Its first line.

    Raises:
        ValueError: If the file has another first line, or a line that is none of a journal.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "made.jsonl")
        >>> for index in range(2):
        ...     with Journal(path, "{}") as journal:
        ...         journal.add(Made("test", index, f"barn{index}", {f"barn{index}_7_1": ""}))
        >>> journal.composites("test")
        ['barn0_7_1', 'barn1_7_1']
    """

    def __init__(self, path: Path, header: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        with explaining(path):
            self._file = open(path, "a+b")  # noqa: SIM115
        try:
            self._made = self._read(header.encode() + b"\n")
        except BaseException:
            self._file.close()
            raise
        self._photos = {made.photo.casefold(): (s, i) for (s, i), made in self._made.items()}

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def _read(self, first: bytes) -> dict[tuple[str, int], Made]:
        lines = whole_lines(self._file)
        if not lines:
            self._write(first)
        elif lines[0] != first:
            raise ValueError(
                f"'out' must be new or that of the same set, got {self.path.parent}, which was "
                f"made with {_difference(lines[0], first)}. Choose another folder or subset."
            )
        made = [
            parse_json(line, Made, f"{self.path}, line {number}")
            for number, line in enumerate(lines[1:], 2)
        ]
        return {(one.split, one.index): one for one in made}

    def _write(self, line: bytes) -> None:
        with explaining(self.path):
            self._file.write(line)
            self._file.flush()

    def made(self, split: str) -> list[Made]:
        """What was made of the photos of a split, in their order."""
        return [self._made[key] for key in sorted(self._made) if key[0] == split]

    def composites(self, split: str) -> list[str]:
        """The names of the composites of a split, without endings."""
        return [name for made in self.made(split) for name in made.applied]

    def add(self, made: Made) -> None:
        """Notes what was made of a photo.

        Raises:
            ValueError: If another photo has its name.
        """
        key = (made.split, made.index)
        other = self._photos.setdefault(made.photo.casefold(), key)
        if other != key:
            raise ValueError(
                f"'photos' must have names that differ, got {made.photo!r} twice: number "
                f"{other[1]} of {other[0]!r} and {key[1]} of {key[0]!r}."
            )
        if self._made.get(key) != made:
            self._made[key] = made
            self._write(json.dumps(asdict(made)).encode() + b"\n")


def _difference(there: bytes, wanted: bytes) -> str:
    """The first thing in which two headers differ, and as it is there."""
    try:
        old, new = json.loads(there), json.loads(wanted)
        name = next(name for name in new if old.get(name) != new[name])
    except (ValueError, AttributeError, StopIteration):
        return "something else"
    return f"{name!r} {old.get(name)!r}, not {new[name]!r}"
