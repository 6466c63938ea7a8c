r"""Changes the regions of a whole batch at once, for devices that like few large calls.

The changed pixels of all photos are one list, which goes through the first step of every region,
then through the second: as many calls for a hundred regions as for one. On a CPU, where calls cost
little and indices much, :mod:`opmask.perturb.engine` goes region by region.

Photos, label maps, changes -> ``change_together`` -> changed pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opmask.perturb.filters.batched_lookup import NO_CHANGE, BatchedLookup
from opmask.perturb.filters.cube import Cube
from opmask.perturb.filters.lookup import Pipelines
from opmask.perturb.lab import LabScaling, LabScaling8
from opmask.perturb.records import RegionChange
from opmask.perturb.steps import Changed, levels_after, levels_at, missing_label, steps_of, where

Changes = Sequence[tuple[int, RegionChange]]
"""What is done, and to which photo of a batch."""


def change_together(
    images: Tensor, label_maps: Tensor, changes: Changes, *, compile: bool = False
) -> Changed:
    r"""Changes regions of photos.

    Args:
        images: The RGB photos, ``uint8``, with shape :math:`(B, 3, H, W)`, in 0-255.
        label_maps: The class of each pixel, integers, with shape :math:`(B, H, W)`.
        changes: What is done, and to which photo.
        compile: Whether filters are compiled, which gives the same bits.

    Returns:
        The changed pixels.

    Raises:
        ValueError: If a change is for a label that the map does not have.
    """
    owners, (height, width) = _owners(label_maps, changes), label_maps.shape[1:]
    found, size = where(owners > 0), height * width
    regions, index = owners.index_select(0, found) - 1, found + found // size * (2 * size)
    for (_, change), count in zip(changes, _counts(regions, len(changes)), strict=True):
        if not count:
            raise missing_label(change.label)
    levels = torch.stack([images.flatten().index_select(0, index + c * size) for c in range(3)])
    pixels = _Pixels(levels, regions, (found % size).int(), (height, width))
    steps = [steps_of(change) for _, change in changes]
    for turn in range(max((len(some or ()) for some in steps), default=0)):
        now = {n: some[turn] for n, some in enumerate(steps) if some and turn < len(some)}
        pixels = _take(pixels, now, len(changes), compile)
    for number, (photo, change) in enumerate(changes):
        if steps[number] is None:
            own = pixels.of([number])
            pixels = pixels.put(own, levels_after(change, images[photo], pixels.places[own]))
    return Changed(pixels.levels, index, (owners > 0).view(label_maps.shape))


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Some pixels of a batch, in one list."""

    levels: Tensor  # (3, N), uint8
    regions: Tensor  # (N), int32, the number of the region of each
    places: Tensor  # (N), int32, row times width plus column
    size: tuple[int, int]  # height and width of the images

    def of(self, regions: Iterable[int]) -> Tensor:
        """Which of them belong to some regions."""
        numbers = torch.tensor([*regions], dtype=torch.int32, device=self.regions.device)
        return where(torch.isin(self.regions, numbers))

    def at(self, chosen: Tensor) -> _Pixels:
        """Some of them."""
        regions, places = (x.index_select(0, chosen) for x in (self.regions, self.places))
        return _Pixels(levels_at(chosen, self.levels), regions, places, self.size)

    def put(self, chosen: Tensor, levels: Tensor) -> _Pixels:
        """All of them, of which some have new levels."""
        return replace(self, levels=self.levels.index_copy(1, chosen, levels))


def _owners(label_maps: Tensor, changes: Changes) -> Tensor:
    """For each pixel of a batch the number of its region, from 1 on, or 0; ``int32``."""
    last = max((change.label for _, change in changes), default=0) + 1
    numbers = np.zeros((len(label_maps), last + 1), np.int32)
    for number, (photo, change) in enumerate(changes, 1):
        numbers[photo, change.label] = number
    table = torch.from_numpy(numbers).to(label_maps.device)
    labels = label_maps.flatten(1).clamp(max=last).long()  # what lies beyond is no region's
    starts = torch.arange(0, table.numel(), last + 1, device=labels.device)
    return table.flatten().index_select(0, (labels + starts[:, None]).flatten())


def _counts(regions: Tensor, count: int) -> list[int]:
    """How many pixels each region has."""
    return regions.bincount(minlength=count).tolist()


def _take(pixels: _Pixels, steps: Mapping[int, Any], count: int, compile: bool) -> _Pixels:
    """One step of each of some regions, out of so many."""
    kinds: dict[type, dict[int, Any]] = {}
    for region, step in steps.items():
        kinds.setdefault(type(step), {})[region] = step
    for kind, alike in kinds.items():
        if len(alike) == count:
            return replace(pixels, levels=_AFTER[kind](pixels, alike, compile))
        own = pixels.of(alike)
        pixels = pixels.put(own, _AFTER[kind](pixels.at(own), alike, compile))
    return pixels


def _run(pixels: _Pixels, pipelines: Mapping[int, Pipelines], compile: bool) -> Tensor:
    """The levels after look-up pipelines."""
    every = [pipelines.get(region, NO_CHANGE) for region in range(max(pipelines) + 1)]
    lookup = BatchedLookup(every, *pixels.size, pixels.levels.device)
    return lookup.run(pixels.levels, pixels.regions, pixels.places, compile=compile)


def _scale(pixels: _Pixels, scalings: Mapping[int, LabScaling], compile: bool) -> Tensor:
    """The levels after scalings of one kind."""
    factors = torch.ones(max(scalings) + 1, 3, dtype=torch.float64)
    for region, scaling in scalings.items():
        factors[region] = torch.tensor(scaling.factors, dtype=torch.float64)
    each = factors.to(pixels.regions.device).index_select(0, pixels.regions).T
    scale = next(iter(scalings.values())).scale
    return scale(pixels.levels[:, None], each[:, None])[:, 0]


def _look_up(pixels: _Pixels, cubes: Mapping[int, Cube], compile: bool) -> Tensor:
    """The levels after colour tables, one after the other."""
    for region, cube in cubes.items():
        own = pixels.of([region])
        pixels = pixels.put(own, cube(pixels.at(own).levels[:, None])[:, 0])
    return pixels.levels


_AFTER: dict[type, Callable[[_Pixels, Mapping[int, Any], bool], Tensor]] = {
    tuple: _run,
    LabScaling: _scale,
    LabScaling8: _scale,
    Cube: _look_up,
}
