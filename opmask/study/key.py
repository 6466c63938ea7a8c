r"""The key of a study: which method is behind each choice. The experimenter keeps it.

The page of a study holds opaque names only, so that nobody who looks at its source can tell which
images belong together. The key turns the names in the answers back into methods and images.

:func:`opmask.study.build_study` -> key file -> :func:`opmask.study.score_study`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FORMAT = 1
"""The version of the format of keys and answers that is written, and the only one that is read."""


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

    key: str
    name: str
    choices: dict[str, str]


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

    Example:
        >>> trial = Trial("8f1c", "barn", {"02d7": "dovenet", "b7e0": "omgan"})
        >>> key = StudyKey("0.1.0", "5b0a", "Barns", "Which?", 0, ("dovenet", "omgan"), (trial,))
        >>> StudyKey.from_json(key.to_json()) == key
        True
    """

    version: str
    checksum: str
    title: str
    question: str
    seed: int
    methods: tuple[str, ...]
    trials: tuple[Trial, ...]

    def to_json(self) -> str:
        """The key as JSON."""
        return json.dumps({"opmask_study": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> StudyKey:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is something else, or of another version of the format.
        """
        try:
            record = json.loads(text)
            if (found := record.pop("opmask_study")) != FORMAT:
                raise ValueError(f"'opmask_study', its version, must be {FORMAT}, got {found!r}")
            methods = tuple(record.pop("methods"))
            trials = tuple(Trial(**trial) for trial in record.pop("trials"))
            return cls(**record, methods=methods, trials=trials)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"the key must be the JSON that was written beside the page, got {error}."
            ) from error

    @classmethod
    def read(cls, path: str | Path) -> StudyKey:
        """Reads a key file.

        Raises:
            OSError: If there is none.
            ValueError: If it is something else.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
