"""Tables of what a model does, with 95 % intervals (bootstrap over photos).

rows of `scoring.score` and `rivals.score_rivals` -> Markdown:

* :func:`glance`: for each split the kinds and sizes of the change below, the hints beside each
  other, and rivals in the last columns;
* :func:`tables`: for each split and kind all hints and rivals, in full;
* :func:`sources`: by source and by change, which is long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from opmask.markdown import markdown_row, markdown_table
from opmask.metrics import Interval, bootstrap
from opmask.metrics.results import BINS
from reproduction.small.kinds import KINDS
from reproduction.small.scoring import Row, gain, psnr

WORSE = -0.5  # dB; what loses more counts as made worse
BANDS = (0.0, 26.0, 32.0, 38.0, 100.0)  # dB; the PSNR of composites
SMALL = 32.0  # dB; a composite that is nearer to its photo is a small change
DARK = 25.0  # L*; what is darker is in low light

COLUMNS = {
    "exact": ("model", "exact"),
    "boxes": ("model", "boxes"),
    "scribbles": ("model", "scribbles"),
    "told nothing": ("model", "auto"),
    "Reinhard, exact": ("Reinhard", "exact"),
    "Reinhard / 4, exact": ("Reinhard, a quarter", "exact"),
    "histogram, exact": ("histogram", "exact"),
}
"""The columns of `glance`: who made the outputs, and what was given."""


def ratio(names: Sequence[str], top: Sequence[float], bottom: Sequence[float]) -> Interval:
    """The ratio of two sums, with its 95 % interval.

    Photos are drawn with all of their rows, since composites of one photo are much alike.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    places = [numbers[name] for name in names]
    above, below = (np.bincount(places, values) for values in (top, bottom))
    ends = bootstrap(lambda drawn: above[drawn].sum(1) / below[drawn].sum(1), len(numbers))
    return Interval(float(above.sum() / below.sum()), *ends)


def mean(names: Sequence[str], values: Sequence[float]) -> Interval:
    """The mean with its 95 % interval."""
    return ratio(names, values, np.ones(len(values)).tolist())


def share_interval(rows: Sequence[Row]) -> Interval:
    """What is left of the composites' MSE."""
    return ratio(*zip(*((row.name, row.after, row.before) for row in rows), strict=True))


def decibels(rows: Sequence[Row]) -> Interval:
    """By how much PSNR rises."""
    return mean([row.name for row in rows], [row.decibels for row in rows])


# --- all of it, for one split and kind ---


def line(title: str, rows: Sequence[Row]) -> str:
    """A row of a table: images, MSE before, share, the gain in PSNR, and for how many."""
    names = [row.name for row in rows]
    if "untouched" in rows[0].prompt:
        harm = mean(names, [row.after for row in rows])
        near = mean(names, [psnr(row.after) for row in rows])
        numbers = ["", f"{harm:.2f} (MSE)", f"{near:.2f} (PSNR)", "", ""]
        return markdown_row([title, len(rows), *numbers])
    gains = np.array([row.decibels for row in rows])
    small = [row for row in rows if psnr(row.before) >= SMALL]
    numbers = [
        f"{np.mean([row.before for row in rows]):.1f}",
        f"{share_interval(rows):.3f}",
        f"{decibels(rows):+.2f}",
        f"{decibels(small):+.2f} ({len(small)})" if small else "–",
        f"{(gains > 0).mean():.0%} / {(gains < WORSE).mean():.0%}",
    ]
    return markdown_row([title, len(rows), *numbers])


def table(first: str, rows: Sequence[Row], key: Callable[[Row], str]) -> str:
    """The rows in groups, in the order in which they come."""
    titles = (
        *(first, "images", "MSE before", "share of MSE left", "PSNR, dB"),
        *(f"dB of small changes, from {SMALL:.0f} dB (images)", "better / worse"),
    )
    groups = dict.fromkeys(map(key, rows))
    lines = (line(group, [row for row in rows if key(row) == group]) for group in groups)
    return "\n".join([markdown_table(titles), *lines])


def given(row: Row) -> str:
    """What was given to the model; or the rival, and what it was given."""
    if row.by == "model":
        return row.prompt
    return "doing nothing" if row.by == "nothing" else f"{row.by}: {row.prompt}"


def tables(rows: Mapping[str, Sequence[Row]]) -> str:
    """For each split and kind of change, by what was given."""
    parts = []
    for split, some in rows.items():
        for kind in ("mixed", *KINDS):
            of_kind = [row for row in some if row.kind == kind]
            title = f"### {split}" if kind == "mixed" else f"### {split}, {kind}"
            parts += [title, table("given", of_kind, given)] if of_kind else []
    return "\n\n".join(parts)


# --- what matters, beside each other ---


class Group(NamedTuple):
    """Some of the composites, by what was done to them."""

    title: str
    holds: Callable[[Row], bool]


def groups() -> Iterator[Group]:
    """The rows of `glance`: the kinds; and of all kinds the sizes of the change, and low light."""
    for kind in ("mixed", *KINDS):
        yield Group(kind, lambda row, kind=kind: row.kind == kind)
    for low, high in pairwise(BANDS):
        title = f"from {low:.0f} dB" if high == BANDS[-1] else f"{low:.0f} to {high:.0f} dB"
        yield Group(title, lambda row, low=low, high=high: low <= psnr(row.before) < high)
    for low, high in BINS:
        title = f"{low:.0%} to {high:.0%} of the area"
        yield Group(title, lambda row, low=low, high=high: low < row.foreground <= high)
    yield Group(f"darker than L* {DARK:.0f}", lambda row: row.lightness < DARK)


def glance(rows: Sequence[Row]) -> str:
    """For each group of one split's composites the share of MSE left, and dB, by column."""
    lines = []
    for group in groups():
        chosen = [row for row in rows if group.holds(row) and "untouched" not in row.prompt]
        cells = [glance_cell(chosen, *column) for column in COLUMNS.values()]
        composites = {(row.name, row.kind) for row in chosen}
        lines.append([group.title, len(composites), *cells])
    return markdown_table(["composites", "number", *COLUMNS], lines)


def glance_cell(rows: Sequence[Row], by: str, prompt: str) -> str:
    chosen = [row for row in rows if (row.by, row.prompt) == (by, prompt)]
    if not chosen:
        return "–"
    return f"{gain(chosen).share:.2f}, {decibels(chosen):+.2f}"


# --- by source ---


def source(row: Row) -> str:
    """The folder that a photo comes from."""
    parts = row.name.split("/")
    return parts[1] if parts[0] == "photos" else parts[0]


def change(row: Row) -> str:
    """The kind, and where it says less than that, with what the first region was changed."""
    return row.kind if row.kind == row.changed else f"{row.kind}: {row.changed}"


def sources(rows: Sequence[Row]) -> str:
    """Of all splits, given the region or nothing, by source and by what was done."""
    parts = []
    for prompt in ("exact", "auto"):
        chosen = [row for row in rows if (row.by, row.prompt) == ("model", prompt)]
        parts += [f"### By source: {prompt}", table("source", sorted(chosen, key=source), source)]
        by_change = sorted(chosen, key=change)
        parts += [f"### By change: {prompt}", table("change", by_change, change)]
    return "\n\n".join(parts)
