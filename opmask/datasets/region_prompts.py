r"""Region prompts: what a model is given of the region, from all of it to nothing.

A model that takes a region is trained with what people give: masks that are too large, boxes,
scribbles. Which pixels belong to which changed region -> :func:`region_prompt` -> the region input
of a model (:class:`opmask.OperatorMaskWrapper` with `region=True`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ["REGION_PROMPTS", "region_prompt"]

GROWTH = (0.01, 0.06)
"""By how much a dilated region grows on each side, in heights of the image."""

BOX_ERROR = 0.02
"""The standard deviation of where an edge of a box is drawn, in heights of the image."""

STROKES = 3
"""How many scribbles there are at most, in the region and in its surroundings each."""

STROKE_LENGTH = (0.1, 0.6)
"""How far a scribble goes, as a share of the way to another place of the same kind."""

STROKE_RADIUS = 0.015
"""Half the width of a scribble, in heights of the image."""


def region_prompt(
    regions: Tensor, kinds: Sequence[str], *, generator: Generator | None = None
) -> Tensor:
    r"""Draws region prompts, what models are given of the regions that were changed.

    * `unknown`: nothing, -1 everywhere.
    * `exact`: 1 inside and 0 outside.
    * `dilated`: the same of a region that is grown by 1 to 6 % of the height.
    * `boxes`: a box around each region, with edges that are off by 2 % of the height or so.
    * `scribbles`: a few strokes inside, of 1, and outside, of 0; -1 elsewhere.

    Args:
        regions: Which changed region each pixel belongs to, integers, with shape
            :math:`(B, H, W)`, 0 where nothing was changed, see
            :meth:`opmask.perturb.PerturbationRecord.region_map`.
        kinds: One of :data:`opmask.datasets.region_prompts.REGION_PROMPTS` for each image.
        generator: Where the random numbers come from, on the CPU. Default: torch's own.

    Returns:
        The region input of a model, ``float32``, with shape :math:`(B, 1, H, W)`: 1 inside, 0
        outside, -1 unknown.

    Raises:
        ValueError: If a kind is unknown, or there is not one for each image.

    Example:
        >>> regions = torch.tensor([[[0, 0, 2, 2]]])
        >>> region_prompt(regions, ["exact"])
        tensor([[[[0., 0., 1., 1.]]]])
        >>> region_prompt(regions, ["unknown"])
        tensor([[[[-1., -1., -1., -1.]]]])
    """
    if len(kinds) != len(regions):
        raise ValueError(f"'kinds' must hold one for each of {len(regions)}, got {len(kinds)}.")
    if unknown := sorted(set(kinds) - set(REGION_PROMPTS)):
        raise ValueError(f"'kinds' must be among {', '.join(REGION_PROMPTS)}, got {unknown}.")
    prompt = regions.new_empty((len(regions), 1, *regions.shape[1:]), dtype=torch.float32)
    for kind in REGION_PROMPTS:
        places = [place for place, wanted in enumerate(kinds) if wanted == kind]
        if places:
            prompt[places] = _DRAW[kind](regions[places], generator)[:, None]
    return prompt


def _unknown(regions: Tensor, generator: Generator | None) -> Tensor:
    return torch.full_like(regions, -1, dtype=torch.float32)


def _exact(regions: Tensor, generator: Generator | None) -> Tensor:
    return (regions > 0).float()


def _dilated(regions: Tensor, generator: Generator | None) -> Tensor:
    changed, height = _exact(regions, None), regions.shape[1]
    low, high = GROWTH
    shares = low + (high - low) * torch.rand(len(regions), generator=generator)
    reach = (shares * height).ceil().int().tolist()
    pairs = zip(changed[:, None], reach, strict=True)
    return torch.cat([F.max_pool2d(x, 2 * r + 1, 1, r) for x, r in pairs])


def _boxes(regions: Tensor, generator: Generator | None) -> Tensor:
    count, height, width = regions.shape
    labels = int(regions.max()) + 1
    # Each region of each image has a place of its own in a table.
    place = regions + labels * torch.arange(count, device=regions.device)[:, None, None]
    rows, columns = _coordinates(regions)
    edges = torch.stack(
        [
            _extreme(place, rows, count * labels, "amin"),
            _extreme(place, rows + 1, count * labels, "amax"),
            _extreme(place, columns, count * labels, "amin"),
            _extreme(place, columns + 1, count * labels, "amax"),
        ],
        1,
    )
    there = (edges[:, 1] > 0).view(count, labels).index_fill(1, place.new_zeros(1), False)
    found = there.flatten().nonzero()[:, 0]
    error = BOX_ERROR * height * torch.randn(len(found), 4, generator=generator)
    top, bottom, left, right = (edges[found] + error.to(edges)).round()[..., None, None].unbind(1)
    filled = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    image = found // labels
    covered = regions.new_zeros(count, height, width, dtype=torch.float32)
    return covered.index_add(0, image, filled.float()).clamp_max(1)


def _extreme(place: Tensor, coordinate: Tensor, size: int, kind: str) -> Tensor:
    """The smallest or largest coordinate of the pixels of each place; 0 where there are none."""
    values = coordinate.expand_as(place).flatten()
    table = values.new_zeros(size)
    return table.scatter_reduce(0, place.flatten().long(), values, kind, include_self=False)


def _scribbles(regions: Tensor, generator: Generator | None) -> Tensor:
    prompt = _unknown(regions, None)
    for value, area in ((1.0, regions > 0), (0.0, regions == 0)):
        prompt = torch.where(_strokes(area, generator), value, prompt)
    return prompt


def _strokes(area: Tensor, generator: Generator | None) -> Tensor:
    """Where strokes from one place of an area towards another cover it."""
    rows, columns = _coordinates(area)
    ends = _places(area, 2 * STROKES, generator).unflatten(1, (STROKES, 2))
    low, high = STROKE_LENGTH
    share = low + (high - low) * torch.rand(len(area), STROKES, 1, generator=generator)
    start = ends[:, :, 0]
    way = (ends[:, :, 1] - start) * share.to(area.device)
    y, x, dy, dx = (v[..., None, None] for v in (*start.unbind(-1), *way.unbind(-1)))
    along = ((rows - y) * dy + (columns - x) * dx) / (dy**2 + dx**2).clamp_min(1e-6)
    along = along.clamp(0, 1)
    distance = (rows - y - along * dy) ** 2 + (columns - x - along * dx) ** 2
    drawn = distance <= max(1.0, STROKE_RADIUS * area.shape[1]) ** 2
    number = torch.randint(1, STROKES + 1, (len(area), 1), generator=generator)
    used = torch.arange(STROKES) < number
    return (drawn & used.to(area.device)[..., None, None]).any(1) & area


def _places(area: Tensor, count: int, generator: Generator | None) -> Tensor:
    """Random places of an area, as rows and columns; anywhere if it is empty."""
    # The n-th pixel of the area, without multinomial, which is slow for so many.
    pixels = area.flatten(1).cumsum(1)
    total = pixels[:, -1:].clamp_min(1)
    nth = (torch.rand(len(area), count, generator=generator).to(area.device) * total).floor() + 1
    flat = torch.searchsorted(pixels, nth.to(pixels.dtype)).clamp_max(pixels.shape[1] - 1)
    width = area.shape[2]
    return torch.stack([flat // width, flat % width], -1).float()


def _coordinates(regions: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each pixel, with shapes (H, 1) and (1, W)."""
    height, width = regions.shape[1:]
    rows = torch.arange(height, device=regions.device, dtype=torch.float32)
    columns = torch.arange(width, device=regions.device, dtype=torch.float32)
    return rows[:, None], columns[None]


_DRAW: dict[str, Callable[[Tensor, Generator | None], Tensor]] = {
    "unknown": _unknown,
    "exact": _exact,
    "dilated": _dilated,
    "boxes": _boxes,
    "scribbles": _scribbles,
}

REGION_PROMPTS = tuple(_DRAW)
"""The kinds of region prompts, see :func:`region_prompt`."""
