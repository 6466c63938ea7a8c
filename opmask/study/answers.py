r"""Reading what participants sent: files of answers, checked against the key of the page.

Files of answers + key -> :func:`read_all` -> ``Answers`` -> :func:`opmask.study.score_study`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from opmask.study.key import MAX_METHODS, Images, StudyKey, Text, Trial, read_study


@dataclass(frozen=True)
class Answer:
    r"""One choice.

    Args:
        image: The place of the image in the key.
        method: The place of the chosen method in the key.
        position: Where it was shown, from 0.
        seconds: How long the participant took.

    Example:
        >>> Answer(0, 3, 1, 4.2).method
        3
    """

    image: int
    method: int
    position: int
    seconds: float


@dataclass(frozen=True)
class Answers:
    r"""Those of one participant.

    Args:
        path: The file that they come from.
        participant: The ID that was entered or drawn.
        answers: One for each image, fewer if the participant did not finish.

    Example:
        >>> Answers(Path("answers-7.json"), "7", (Answer(0, 3, 1, 4.2),)).participant
        '7'
    """

    path: Path
    participant: str
    answers: tuple[Answer, ...]


Seconds = Annotated[float, Meta(ge=0, le=1e9)]


@dataclass(frozen=True)
class _Choice:
    """An answer as the page exports it."""

    trial: Text
    order: Annotated[tuple[Text, ...], Meta(max_length=MAX_METHODS)]
    choice: Text
    seconds: Seconds


@dataclass(frozen=True)
class _Export:
    """What the page exports; it holds more, which is not read."""

    checksum: Text
    participant: Text
    answers: Annotated[tuple[_Choice, ...], Images]


def read_answers(path: str | Path, key: StudyKey) -> Answers:
    r"""Reads the answers of one participant.

    Args:
        path: The file that the page exported.
        key: The key of the page.

    Returns:
        The answers.

    Raises:
        OSError: If there is no such file.
        ValueError: If it holds something else, or answers to another page.
    """
    rule = f"{path} must be answers that the page exported"
    export = read_study(path, _Export, rule)
    try:
        if export.checksum != key.checksum:
            raise ValueError(
                f"'checksum' must be that of the key's page, {key.checksum[:12]}..., got "
                f"{export.checksum[:12]}..., so they are answers to another page."
            )
        places = {trial.key: (place, trial) for place, trial in enumerate(key.trials)}
        answers = tuple(_answer(choice, places, key.methods) for choice in export.answers)
        if len({answer.image for answer in answers}) < len(answers):
            raise ValueError("an image is answered twice.")
    except ValueError as error:
        raise ValueError(f"{rule}: {error}") from error
    return Answers(Path(path), export.participant, answers)


def read_all(paths: Iterable[str | Path], key: StudyKey) -> list[Answers]:
    r"""Reads the answers of all participants.

    Args:
        paths: The files.
        key: The key of the page.

    Returns:
        The answers, in the order of the files.

    Raises:
        OSError: If a file is missing.
        ValueError: If a file holds something else, or two are of one participant.
    """
    read: dict[str, Answers] = {}
    for path in paths:
        answers = read_answers(path, key)
        if other := read.get(answers.participant):
            raise ValueError(
                f"a participant must answer once, but {other.path} and {path} are both of "
                f"{answers.participant!r}. Leave one of them out."
            )
        read[answers.participant] = answers
    return list(read.values())


def _answer(
    entry: _Choice, places: Mapping[str, tuple[int, Trial]], methods: tuple[str, ...]
) -> Answer:
    if entry.trial not in places:
        raise ValueError(f"'trial' must be one of the key's, got {entry.trial!r}.")
    place, trial = places[entry.trial]
    if sorted(entry.order) != sorted(trial.choices):
        raise ValueError(
            f"'order' of {trial.name!r} must hold its choices, got {list(entry.order)}."
        )
    if entry.choice not in trial.choices:
        raise ValueError(f"'choice' of {trial.name!r} must be in its order, got {entry.choice!r}.")
    method = methods.index(trial.choices[entry.choice])
    return Answer(place, method, entry.order.index(entry.choice), entry.seconds)
