r"""The score of a study as a picture.

``StudyScore`` -> :func:`save_chart` -> PNG.
"""

from __future__ import annotations

from pathlib import Path

from opmask.study.scoring import StudyScore
from opmask.visualize.figures import new_figure, write_figure


def save_chart(score: StudyScore, path: str | Path) -> None:
    r"""Draws a bar for each method, the % of votes, with its 95 % interval.

    The dashed line is at equal shares.

    Args:
        score: What :func:`opmask.study.score_study` returned.
        path: The picture to write, `.png` or what else matplotlib writes.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    figure = new_figure(760, 130 + 46 * len(score.methods))
    axes = figure.add_subplot()
    percents = [share.percent for share in score.methods]
    ends = [
        [s.percent - s.low for s in score.methods],
        [s.high - s.percent for s in score.methods],
    ]
    names = [share.method for share in score.methods]
    axes.barh(names, percents, height=0.62, color="#5b7f9e", xerr=ends, capsize=4)
    for place, share in enumerate(score.methods):
        axes.text(
            share.high + 1.2, place, f"{share.percent:.1f} %", va="center", backgroundcolor="white"
        )
    axes.axvline(100 / len(names), color="0.35", linewidth=0.9, linestyle="--")
    axes.set(
        xlim=(0, 1.12 * max(share.high for share in score.methods)),
        xlabel=f"% of votes, {score.participants} participants, 95 % interval; "
        "dashed: equal shares",
        title=score.question,
    )
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    write_figure(figure, Path(path))
