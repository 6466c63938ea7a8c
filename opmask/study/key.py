r"""The key of a study: which method is behind each choice. The experimenter keeps it.

The page of a study holds opaque names only, so that nobody who looks at its source can tell which
images belong together. The key turns the names in the answers back into methods and images.

:func:`opmask.study.build_study` -> key file -> :func:`opmask.study.score_study`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from opmask.files.typed_json import parse_json, read_json

T = TypeVar("T")

FORMAT = 1
"""The version of the format of keys and answers that is written, and the only one that is read."""

MAX_METHODS = 9  # each has a digit of the keyboard
MAX_TEXT = 10_000  # characters

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_A_KEY = "the key must be the JSON that was written beside the page"

Images = Meta(max_length=100_000)  # how many there may be


@dataclass(frozen=True)
class Trial:
    r"""One image of a study, and its versions.

    Args:
        key: Its name in the page.
        name: The name of its files, without the ending.
        choices: For each name in the page the method.

    Example:
        >>> Trial("8f1c", "barn", {"02d7": "dovenet", "b7e0": "omgan"}).choices["b7e0"]
        'omgan'
    """

    key: Text
    name: Text
    choices: Annotated[dict[Text, Text], Meta(max_length=MAX_METHODS)]


@dataclass(frozen=True)
class StudyKey:
    r"""What the experimenter knows about a page.

    Args:
        version: The opmask that wrote the page.
        checksum: That of the page: SHA-256, taken while 64 zeros stood in its place.
        title: The title of the page.
        question: What participants are asked.
        seed: The integer that decides the names in the page.
        methods: Their names.
        trials: The images.

    Raises:
        ValueError: If a trial does not have one choice for each method, or two have one name in
            the page.

    Example:
        >>> trial = Trial("8f1c", "barn", {"02d7": "dovenet", "b7e0": "omgan"})
        >>> key = StudyKey("0.1.0", "5b0a", "Barns", "Which?", 0, ("dovenet", "omgan"), (trial,))
        >>> StudyKey.from_json(key.to_json()) == key
        True
    """

    version: Text
    checksum: Text
    title: Text
    question: Text
    seed: int
    methods: Annotated[tuple[Text, ...], Meta(max_length=MAX_METHODS)]
    trials: Annotated[tuple[Trial, ...], Images]

    def __post_init__(self) -> None:
        for trial in self.trials:
            if sorted(trial.choices.values()) != sorted(self.methods):
                raise ValueError(
                    f"the choices of {trial.name!r} must be one for each of 'methods', "
                    f"{self.methods}, got {tuple(trial.choices.values())}."
                )
        if len({trial.key for trial in self.trials}) < len(self.trials):
            raise ValueError("'trials' must have different names in the page.")

    def to_json(self) -> str:
        """The key as JSON."""
        return json.dumps({"opmask_study": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> StudyKey:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is something else, or of another version of the format.
        """
        return _parse(text, cls, _A_KEY)

    @classmethod
    def read(cls, path: str | Path) -> StudyKey:
        """Reads a key file.

        Raises:
            OSError: If there is none.
            ValueError: If it is something else.
        """
        return read_study(path, cls, f"{path}: {_A_KEY}")


@dataclass(frozen=True)
class _Version:
    opmask_study: int


def read_study(path: str | Path, kind: type[T], name: str) -> T:
    r"""Reads a file that belongs to a study, and is of the version of the format that is read.

    Args:
        path: The file.
        kind: What it must hold.
        name: How an error begins.

    Returns:
        The checked object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "a.json")
        >>> _ = path.write_text('{"opmask_study": 1, "seed": 7}')
        >>> read_study(path, dict[str, int], "a.json")["seed"]
        7
    """
    return _parse(bytes(read_json(path, msgspec.Raw, name)), kind, name)


def _parse(text: str | bytes, kind: type[T], name: str) -> T:
    found = parse_json(text, _Version, name).opmask_study
    if found != FORMAT:
        raise ValueError(
            f"{name}: 'opmask_study', the version of the format, must be {FORMAT}, got {found}."
        )
    return parse_json(text, kind, name)
