r"""Tables of results: every image's scores, means with intervals, and who won by how much.

A mean over a test set says nothing about whether another sample of photos would have shown
otherwise. Intervals here are percentile bootstraps over images, seeded, so that the same scores
always give the same table::

    rows of evaluate, one per image -> write_scores (CSV), results_table (Markdown)
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from opmask.files import replacing
from opmask.markdown import markdown_table
from opmask.metrics.definitions import PROTOCOLS

Scores = Mapping[str, Sequence[Mapping[str, str | float]]]
"""For each model its rows, one per image: `name`, `foreground`, any `subset`, and the metrics."""

COLUMNS = {
    "mse": ("MSE", 2),
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "lpips_vgg": ("LPIPS (VGG)", 4),
    "lpips_alex": ("LPIPS (Alex)", 4),
    "fmse": ("fMSE", 2),
    "fpsnr": ("fPSNR", 2),
    "iou": ("IoU", 3),
    "add_iou": ("IoU (add masks)", 3),
}
"""What tables show: the heading and the number of decimals of each metric."""

BINS = ((0.0, 0.05), (0.05, 0.15), (0.15, 1.0))
"""The shares of the image that the foreground takes, by which papers break tables down, above the
first number and up to the second. Images without a foreground are in none."""

RESAMPLES = 2000


class Interval(NamedTuple):
    r"""A mean over images and where it lies with 95 % confidence.

    Formatted, all three numbers are: `f"{interval(values):.2f}"` is `"2.50 [1.50, 3.50]"`.

    Attributes:
        mean: The mean, or another statistic of the images.
        low: The lower end.
        high: The upper end.

    Example:
        >>> f"{Interval(2.5, 1.5, 3.5):.2f}"
        '2.50 [1.50, 3.50]'
    """

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        mean, low, high = (format(value, spec) for value in self)
        return f"{mean} [{low}, {high}]"


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], images: int, *, seed: int = 0
) -> tuple[float, float]:
    r"""The 95 % interval of a statistic of images, by percentile bootstrap.

    Images are drawn with replacement 2,000 times; the ends are the 2.5th and 97.5th percentiles of
    what the statistic then is. It covers the choice of images, not of the training seed.

    Args:
        statistic: Maps the numbers of the images drawn, from 0 and with shape
            :math:`(R, N)`, to the statistic of each draw, with shape :math:`(R)`.
        images: The number of images :math:`N`.
        seed: The seed of the drawing.

    Returns:
        The lower and the upper end.

    References:
        | An Introduction to the Bootstrap (Efron and Tibshirani, 1993)

    Example:
        >>> before, after = np.array([100.0, 300.0]), np.array([50.0, 30.0])
        >>> bootstrap(lambda drawn: after[drawn].sum(1) / before[drawn].sum(1), 2)
        (0.1, 0.5)
    """
    rng = np.random.default_rng(seed)
    # In parts: all at once would be 240 MB for the 7,404 images of iHarmony4.
    drawn = (rng.integers(0, images, (RESAMPLES // 20, images)) for _ in range(20))
    low, high = np.percentile([statistic(places) for places in drawn], [2.5, 97.5])
    return float(low), float(high)


def interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    r"""The mean of some values with its 95 % interval, by :func:`bootstrap`.

    Args:
        values: The value of each image.
        seed: The seed of the drawing.

    Returns:
        The mean and the ends.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> mean, low, high = interval([1.0, 2.0, 3.0, 4.0])
        >>> mean, low, high
        (2.5, 1.5, 3.5)
    """
    if len(values) == 0:
        raise ValueError("'values' must hold the value of at least one image, got none.")
    array = np.asarray(values, dtype=np.float64)
    ends = bootstrap(lambda drawn: array[drawn].mean(1), len(array), seed=seed)
    return Interval(float(array.mean()), *ends)


def paired_difference(
    rows: Sequence[Mapping[str, str | float]],
    others: Sequence[Mapping[str, str | float]],
    metric: str,
    *,
    seed: int = 0,
) -> Interval:
    r"""By how much one model's mean exceeds another's on the same images, with its interval.

    Photos differ much more than models do, so the intervals of two models may overlap widely while
    the interval of their difference is far from 0.

    Args:
        rows: The rows of one model, each with `name` and `metric`.
        others: The rows of the other model, of the same images in any order.
        metric: The metric, such as `"mse"`.
        seed: As in :func:`interval`.

    Returns:
        The mean of the differences and its ends.

    Raises:
        ValueError: If the images differ.

    Example:
        >>> rows = [{"name": "a", "mse": 5.0}, {"name": "b", "mse": 90.0}]
        >>> others = [{"name": "b", "mse": 94.0}, {"name": "a", "mse": 9.0}]
        >>> paired_difference(rows, others, "mse")
        Interval(mean=-4.0, low=-4.0, high=-4.0)
    """
    mine, theirs = (
        {row["name"]: float(row[metric]) for row in some if metric in row}
        for some in (rows, others)
    )
    if mine.keys() != theirs.keys():
        alone = sorted(map(str, mine.keys() ^ theirs.keys()))
        raise ValueError(
            f"'others' must hold {metric!r} of the same images as 'rows', but {len(alone)} are in "
            f"one of them only: {', '.join(alone[:3])}."
        )
    return interval([value - theirs[name] for name, value in mine.items()], seed=seed)


def write_scores(path: str | Path, scores: Scores, *, protocol: str) -> None:
    r"""Writes the scores of every image as CSV, as a whole or not at all.

    Args:
        path: The file.
        scores: For each model its rows. A value that a row does not have is left empty.
        protocol: The protocol by which they were made, which every line names.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "scores.csv")
        >>> write_scores(path, {"om": [{"name": "barn", "mse": 2.0}]}, protocol="opmask")
        >>> path.read_text().split()
        ['model,protocol,name,mse', 'om,opmask,barn,2.0']
    """
    lines = [
        {"model": model, "protocol": protocol, **row}
        for model, rows in scores.items()
        for row in rows
    ]
    columns = dict.fromkeys(name for line in lines for name in line)
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(lines)


def results_table(
    scores: Scores,
    *,
    protocol: str,
    pairs: Sequence[tuple[str, str]] = (),
    seed: int = 0,
) -> str:
    r"""Writes the means with their intervals as a Markdown table.

    Below it stand the differences of pairs of models; the same means for each `subset` that rows
    name, and for images by the share of their foreground, see :data:`BINS`; and what the protocol
    does. The first table is over all images, and never the mean of subsets' means. An image
    without a value, such as fMSE where there is no foreground, does not count for it.

    Args:
        scores: For each model its rows.
        protocol: One of :data:`opmask.metrics.PROTOCOLS`.
        pairs: The models to compare, the one that is to be better first. Both were scored on the
            same images.
        seed: As in :func:`interval`.

    Returns:
        The text, ending in a line break.

    Raises:
        ValueError: If the protocol is unknown or there are no scores.

    Example:
        >>> row = {"name": "a", "foreground": 0.1, "mse": 4.0}
        >>> text = results_table({"composite": [row]}, protocol="opmask")
        >>> print("\n".join(text.splitlines()[:3]))
        | model | images | MSE |
        |---|---:|---:|
        | composite | 1 | 4.00 [4.00, 4.00] |
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"'protocol' must be one of {tuple(PROTOCOLS)}, got {protocol!r}.")
    if not any(scores.values()):
        raise ValueError("'scores' must hold the scores of at least one image, got none.")
    parts = [
        _table(scores, seed),
        "".join(_difference(scores, *pair, seed) for pair in pairs),
        *_subsets(scores, seed),
        *(_bin(scores, low, high, seed) for low, high in BINS),
        f"Protocol {PROTOCOLS[protocol].description}\n",
        "Means over images; in brackets 95 % bootstrap intervals.\n",
    ]
    return "\n".join(part for part in parts if part)


def _table(scores: Scores, seed: int, title: str = "model") -> str:
    found = {name for rows in scores.values() for row in rows for name in row}
    columns = [name for name in COLUMNS if name in found]
    headings = [title, "images", *(COLUMNS[name][0] for name in columns)]
    lines = (
        [model, len(rows), *(cell(rows, name, seed=seed) for name in columns)]
        for model, rows in scores.items()
    )
    return markdown_table(headings, lines) + "\n"


def cell(rows: Sequence[Mapping[str, str | float]], name: str, *, seed: int = 0) -> str:
    """A metric's mean with its interval, as tables show it; a dash if no row has it."""
    values = [float(row[name]) for row in rows if name in row]
    if not values:
        return "–"
    return f"{interval(values, seed=seed):.{COLUMNS[name][1]}f}"


def _difference(scores: Scores, model: str, other: str, seed: int) -> str:
    cells = []
    for name in ("mse", "psnr"):
        ends = paired_difference(scores[model], scores[other], name, seed=seed)
        cells.append(f"{COLUMNS[name][0]} {ends:+.2f}")
    return f"- {model} less {other}, on the same images: {', '.join(cells)}\n"


def _subsets(scores: Scores, seed: int) -> list[str]:
    """A table for each subset, in their order; none where there is one at most."""
    names = dict.fromkeys(row.get("subset") for rows in scores.values() for row in rows)
    if len(names) < 2:
        return []
    parts = {
        name: {
            model: [r for r in rows if r.get("subset") == name] for model, rows in scores.items()
        }
        for name in names
    }
    return [
        _table({model: rows for model, rows in part.items() if rows}, seed, str(name))
        for name, part in parts.items()
    ]


def _bin(scores: Scores, low: float, high: float, seed: int) -> str:
    # (low, high], as HDNet has them. iDIH's include both ends, so that some images count twice.
    inside = {
        model: [row for row in rows if low < float(row.get("foreground", 0)) <= high]
        for model, rows in scores.items()
    }
    inside = {model: rows for model, rows in inside.items() if rows}
    title = f"foreground {100 * low:.0f}–{100 * high:.0f} %"
    return _table(inside, seed, title) if inside else ""
