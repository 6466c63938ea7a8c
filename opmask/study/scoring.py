r"""Scoring a study: the table of votes, by method and by image, and what speaks against it.

Files of answers + key -> :func:`score_study` -> ``StudyScore`` -> Markdown, JSON, chart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opmask.markdown import markdown_table
from opmask.study.answers import Answers, read_all
from opmask.study.key import StudyKey
from opmask.study.statistics import uniformity_test, vote_shares

TABLE_B = {"dovenet": 20.6, "bargainnet": 24.2, "rainnet": 18.5, "omgan": 36.7}
"""The paper's Table 3, in percent of the votes of 60 subjects on 11 real composites, one choice of
four. The three rivals were given the mask."""


@dataclass(frozen=True)
class Share:
    r"""The votes of one method.

    Args:
        method: Its name.
        votes: How many it got.
        percent: Their share in all votes, in %.
        low: The lower end of the 95 % interval of `percent`, over participants.
        high: The upper end.

    Example:
        >>> Share("omgan", 3, 75.0, 50.0, 100.0).percent
        75.0
    """

    method: str
    votes: int
    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class StudyScore:
    r"""What came of a study.

    Args:
        title: The title of the page.
        question: What participants were asked.
        participants: How many are counted here.
        answers: How many choices they made.
        unfinished: How many participants did not answer all images.
        partial: Whether those are counted, too.
        seconds: The median time for a choice.
        methods: The votes of each method.
        images: For each image that was answered the votes of each method.
        positions: The votes for what was shown first, second and so on.
        chi_square: That of `positions` against equal chances.
        p: The probability of one at least so large if chances are equal.
        preferred: How many participants chose the method of the row more often than that of the
            column.
    """

    title: str
    question: str
    participants: int
    answers: int
    unfinished: int
    partial: bool
    seconds: float
    methods: tuple[Share, ...]
    images: dict[str, tuple[Share, ...]]
    positions: tuple[int, ...]
    chi_square: float
    p: float
    preferred: tuple[tuple[int, ...], ...]


def score_study(
    paths: Iterable[str | Path], key: StudyKey, *, partial: bool = False
) -> StudyScore:
    r"""Counts the votes of a study.

    Args:
        paths: The files that participants sent.
        key: The key of the page.
        partial: Whether to count participants who did not finish.

    Returns:
        The score.

    Raises:
        OSError: If a file is missing.
        ValueError: If a file holds something else or answers to another page, two are of one
            participant, or nobody is left to be counted.
    """
    everyone = read_all(paths, key)
    finished = [one for one in everyone if len(one.answers) == len(key.trials)]
    counted = [one for one in everyone if one.answers] if partial else finished
    if not counted:
        raise ValueError(
            f"'answers' must hold those of a participant who "
            f"{'answered' if partial else 'finished'}, got {len(everyone)} files without."
            f"{'' if partial else ' partial=True counts unfinished ones, too.'}"
        )
    votes = _votes(counted, key)
    choices = [answer for one in counted for answer in one.answers]
    positions = np.bincount([a.position for a in choices], minlength=len(key.methods))
    chi_square, p = uniformity_test(positions)
    by_person = votes.sum(1)
    more = by_person[:, :, None] > by_person[:, None, :]
    return StudyScore(
        title=key.title,
        question=key.question,
        participants=len(counted),
        answers=len(choices),
        unfinished=len(everyone) - len(finished),
        partial=partial,
        seconds=float(np.median([answer.seconds for answer in choices])),
        methods=_shares(by_person, key.methods),
        images={
            trial.name: _shares(votes[:, place], key.methods)
            for place, trial in enumerate(key.trials)
            if votes[:, place].any()
        },
        positions=tuple(positions.tolist()),
        chi_square=chi_square,
        p=p,
        preferred=tuple(map(tuple, more.sum(0).tolist())),
    )


def _votes(counted: Sequence[Answers], key: StudyKey) -> np.ndarray:
    """1 where a participant chose a method for an image: (participants, images, methods)."""
    votes = np.zeros((len(counted), len(key.trials), len(key.methods)), int)
    for person, one in enumerate(counted):
        for answer in one.answers:
            votes[person, answer.image, answer.method] = 1
    return votes


def _shares(votes: np.ndarray, methods: Sequence[str]) -> tuple[Share, ...]:
    ends = vote_shares(votes[votes.any(1)]).T.tolist()
    totals = votes.sum(0).tolist()
    return tuple(Share(*row, *end) for *row, end in zip(methods, totals, ends, strict=True))


def to_markdown(score: StudyScore) -> str:
    r"""Writes a score as Markdown, beside the paper's Table B where methods are named as there.

    Args:
        score: What :func:`score_study` returned.

    Returns:
        The text, ending in a line break.
    """
    names = [share.method for share in score.methods]
    places = [str(1 + place) for place in range(len(names))]
    by_image = [
        [image, str(sum(share.votes for share in shares)), *map(_interval, shares)]
        for image, shares in score.images.items()
    ]
    pairs = [[name, *map(str, row)] for name, row in zip(names, score.preferred, strict=True)]
    parts = [
        f"# {score.title}",
        f"{score.question} Participants: {score.participants}. Answers: {score.answers}. "
        f"Median time of a choice: {score.seconds:.1f} s. Participants who did not finish: "
        f"{score.unfinished}, {'counted' if score.partial else 'left out'}. "
        "Intervals: bootstrap over participants.",
        *_main_table(score.methods),
        "## By image, % of votes",
        _table(["image", "answers", *names], by_image),
        "## Positions",
        _table(["position", *places], [["votes", *map(str, score.positions)]]),
        f"Chi-square against equal chances: {score.chi_square:.2f} with {len(names) - 1} degrees "
        f"of freedom, p = {score.p:.3f}. A small p, say below 0.05, means that where an image "
        "stood mattered.",
        "## Pairs",
        "How many participants chose the method of the row more often than that of the column:",
        _table(["method", *names], pairs),
    ]
    return "\n\n".join(parts) + "\n"


def _main_table(shares: Sequence[Share]) -> list[str]:
    papers = [TABLE_B.get(re.sub("[^a-z]", "", share.method.lower())) for share in shares]
    head = ["method", "votes", "% of votes", "95 % interval"]
    rows = [
        [s.method, str(s.votes), f"{s.percent:.1f}", f"{s.low:.1f} to {s.high:.1f}"]
        for s in shares
    ]
    if not any(papers):
        return [_table(head, rows)]
    for row, paper in zip(rows, papers, strict=True):
        row.append("" if paper is None else str(paper))
    return [
        _table([*head, "paper"], rows),
        "Paper: Table 3, with 11 real composites and 60 subjects, who chose one of four methods; "
        "DoveNet, BargainNet and RainNet were given the mask.",
    ]


def _interval(share: Share) -> str:
    return f"{share.percent:.1f} ({share.low:.1f} to {share.high:.1f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(head, rows, rules=[" --- ", *[" ---: "] * (len(head) - 1)])
