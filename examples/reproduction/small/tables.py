"""Tables of what a model does, with 95 % intervals (bootstrap over images).

rows of `scoring.score` -> :func:`tables` -> Markdown: by region prompt, by source, by change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from opmask.markdown import markdown_row, markdown_table
from opmask.metrics import Interval, bootstrap, interval
from reproduction.small.scoring import Row, psnr

WORSE = -0.5  # dB; what loses more counts as made worse


def share_interval(rows: Sequence[Row]) -> Interval:
    """What is left of the composites' MSE, with its 95 % interval (bootstrap over images)."""
    before, after = (
        np.array([getattr(row, name) for row in rows]) for name in ("before", "after")
    )
    ends = bootstrap(lambda drawn: after[drawn].sum(1) / before[drawn].sum(1), len(rows))
    return Interval(after.sum() / before.sum(), *ends)


def line(title: str, rows: Sequence[Row]) -> str:
    """A row of a table: images, MSE before, share, the gain in PSNR, and for how many."""
    if "untouched" in rows[0].prompt:
        harm = interval([row.after for row in rows])
        near = interval([psnr(row.after) for row in rows])
        numbers = ["", f"{harm:.2f} (MSE)", f"{near:.2f} (PSNR)", ""]
        return markdown_row([title, len(rows), *numbers])
    gains = np.array([row.decibels for row in rows])
    numbers = [
        f"{np.mean([row.before for row in rows]):.1f}",
        f"{share_interval(rows):.3f}",
        f"{interval(gains):+.2f}",
        f"{(gains > 0).mean():.0%} / {(gains < WORSE).mean():.0%}",
    ]
    return markdown_row([title, len(rows), *numbers])


def table(first: str, rows: Sequence[Row], key: Callable[[Row], str]) -> str:
    """The rows in groups, in the order in which they come."""
    titles = first, "images", "MSE before", "share of MSE left", "PSNR, dB", "better / worse"
    groups = dict.fromkeys(map(key, rows))
    lines = (line(group, [row for row in rows if key(row) == group]) for group in groups)
    return "\n".join([markdown_table(titles), *lines])


def source(row: Row) -> str:
    """The folder that a photo comes from."""
    parts = row.name.split("/")
    return parts[1] if parts[0] == "photos" else parts[0]


def tables(rows: dict[str, list[Row]]) -> str:
    parts = []
    for split, some in rows.items():
        parts += [f"### {split}", table("given", some, lambda row: row.prompt)]
    everything = [row for some in rows.values() for row in some]
    for prompt in ("exact", "auto"):
        chosen = [row for row in everything if row.prompt == prompt]
        parts += [f"### By source: {prompt}", table("source", sorted(chosen, key=source), source)]
        by_kind = sorted(chosen, key=lambda row: row.changed)
        parts += [f"### By change: {prompt}", table("change", by_kind, lambda row: row.changed)]
    return "\n\n".join(parts)
