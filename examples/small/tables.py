"""Tables of what a model does, with 95 % intervals (bootstrap over images).

rows of `scoring.score` -> :func:`tables` -> Markdown: by what was told, by source, by change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from opmask.metrics import interval
from small.scoring import Row, psnr

RESAMPLES = 2000
WORSE = -0.5  # dB; what loses more counts as made worse


def share_interval(rows: Sequence[Row]) -> tuple[float, float, float]:
    """What is left of the composites' MSE, with its 95 % interval (bootstrap over images)."""
    before, after = (
        np.array([getattr(row, name) for row in rows]) for name in ("before", "after")
    )
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(rows), (RESAMPLES, len(rows)))
    low, high = np.percentile(after[drawn].sum(1) / before[drawn].sum(1), [2.5, 97.5])
    return after.sum() / before.sum(), low, high


def line(title: str, rows: Sequence[Row]) -> str:
    """A row of a table: images, MSE before, share, the gain in PSNR, and for how many."""
    if "untouched" in rows[0].hint:
        harm = interval([row.after for row in rows])
        near = interval([psnr(row.after) for row in rows])
        return f"| {title} | {len(rows)} | | {show(harm, 2)} (MSE) | {show(near, 2)} (PSNR) | |"
    gains = np.array([row.decibels for row in rows])
    numbers = (
        f"{np.mean([row.before for row in rows]):.1f}",
        show(share_interval(rows), 3),
        show(interval(gains), 2, "+"),
        f"{(gains > 0).mean():.0%} / {(gains < WORSE).mean():.0%}",
    )
    return f"| {title} | {len(rows)} | {' | '.join(numbers)} |"


def show(values: tuple[float, float, float], digits: int, sign: str = "") -> str:
    mean, low, high = (f"{value:{sign}.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def table(first: str, rows: Sequence[Row], key: Callable[[Row], str]) -> str:
    """The rows in groups, in the order in which they come."""
    titles = first, "images", "MSE before", "share of MSE left", "PSNR, dB", "better / worse"
    head = f"| {' | '.join(titles)} |\n|---{'|---:' * (len(titles) - 1)}|"
    groups = dict.fromkeys(map(key, rows))
    return "\n".join([head, *(line(g, [row for row in rows if key(row) == g]) for g in groups)])


def source(row: Row) -> str:
    """The folder that a photo comes from."""
    parts = row.name.split("/")
    return parts[1] if parts[0] == "photos" else parts[0]


def tables(rows: dict[str, list[Row]]) -> str:
    parts = []
    for split, some in rows.items():
        parts += [f"### {split}", table("told", some, lambda row: row.hint)]
    everything = [row for some in rows.values() for row in some]
    for hint in ("exact", "auto"):
        chosen = [row for row in everything if row.hint == hint]
        parts += [f"### By source: {hint}", table("source", sorted(chosen, key=source), source)]
        by_kind = sorted(chosen, key=lambda row: row.changed)
        parts += [f"### By change: {hint}", table("change", by_kind, lambda row: row.changed)]
    return "\n\n".join(parts)
