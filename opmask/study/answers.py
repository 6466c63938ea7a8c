r"""Reading what participants sent: files of answers, checked against the key of the page.

Files of answers + key -> :func:`read_all` -> ``Answers`` -> :func:`opmask.study.score_study`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opmask.study.key import FORMAT, StudyKey, Trial


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
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _check_page(record, key)
        places = {trial.key: (place, trial) for place, trial in enumerate(key.trials)}
        answers = [_answer(entry, places, key.methods) for entry in record["answers"]]
        if len({answer.image for answer in answers}) < len(answers):
            raise ValueError("an image is answered twice")
        return Answers(path, str(record["participant"]), tuple(answers))
    except KeyError as error:
        raise ValueError(f"{path} must be answers that the page exported: no {error}.") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must be answers that the page exported: {error}.") from error


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


def _check_page(record: Mapping[str, Any], key: StudyKey) -> None:
    if (found := record["opmask_study"]) != FORMAT:
        raise ValueError(
            f"'opmask_study', the version of the format, must be {FORMAT}, got {found!r}"
        )
    if (found := record["checksum"]) != key.checksum:
        raise ValueError(
            f"'checksum' must be that of the key's page, {key.checksum[:12]}..., got "
            f"{found[:12]}..., so they are answers to another page"
        )


def _answer(
    entry: Mapping[str, Any], places: Mapping[str, tuple[int, Trial]], methods: tuple[str, ...]
) -> Answer:
    place, trial = places[entry["trial"]]
    order, choice = entry["order"], entry["choice"]
    if sorted(order) != sorted(trial.choices):
        raise ValueError(f"'order' of {trial.name!r} must hold its choices, got {order}")
    method = methods.index(trial.choices[choice])
    return Answer(place, method, order.index(choice), float(entry["seconds"]))
