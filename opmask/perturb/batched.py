r"""Changes the regions of a whole batch at once, for devices that like few large calls.

The changed pixels of all photos are one list, which goes through the first step of every region,
then through the second: as many calls for a hundred regions as for one. On a CPU, where calls cost
little and indices much, :mod:`opmask.perturb.engine` goes region by region.

Photos, label maps, changes -> ``change_regions_batched`` -> changed pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opmask.perturb.filters import Cube
from opmask.perturb.filters.batched_lookup import NO_CHANGE, BatchedLookup
from opmask.perturb.filters.lookup import Pipelines
from opmask.perturb.lab import LabScaling, LabScaling8
from opmask.perturb.light import Light
from opmask.perturb.records import RegionChange
from opmask.perturb.steps import (
    ChangedPixels,
    change_whole_image,
    gather_pixels,
    missing_label_error,
    regionwise_steps,
    true_indices,
)
from opmask.perturb.transfer import ColorTransfer

Changes = Sequence[tuple[int, RegionChange]]
"""What is done, and to which photo of a batch."""


def change_regions_batched(
    images: Tensor, label_maps: Tensor, changes: Changes, *, compile: bool = False
) -> ChangedPixels:
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
    owners, (height, width) = _region_of_pixels(label_maps, changes), label_maps.shape[1:]
    found, size = true_indices(owners > 0), height * width
    regions, index = owners.index_select(0, found) - 1, found + found // size * (2 * size)
    for (_, change), count in zip(changes, _counts(regions, len(changes)), strict=True):
        if not count:
            raise missing_label_error(change.label)
    levels = torch.stack([images.flatten().index_select(0, index + c * size) for c in range(3)])
    pixels = _PixelList(levels, regions, (found % size).int(), (height, width))
    steps = [regionwise_steps(change) for _, change in changes]
    for turn in range(max((len(some or ()) for some in steps), default=0)):
        now = {n: some[turn] for n, some in enumerate(steps) if some and turn < len(some)}
        pixels = _apply_steps(pixels, now, len(changes), compile)
    for number, (photo, change) in enumerate(changes):
        if steps[number] is None:
            own = pixels.indices_of([number])
            pixels = pixels.scatter(
                own, change_whole_image(change, images[photo], pixels.places[own])
            )
    return ChangedPixels(pixels.levels, index, (owners > 0).view(label_maps.shape))


@dataclass(frozen=True, eq=False)
class _PixelList:
    """Some pixels of a batch, in one list."""

    levels: Tensor  # (3, N), uint8
    regions: Tensor  # (N), int32, the number of the region of each
    places: Tensor  # (N), int32, row times width plus column
    size: tuple[int, int]  # height and width of the images

    def indices_of(self, regions: Iterable[int]) -> Tensor:
        """The indices of the pixels of some regions."""
        numbers = torch.tensor([*regions], dtype=torch.int32, device=self.regions.device)
        return true_indices(torch.isin(self.regions, numbers))

    def gather(self, indices: Tensor) -> _PixelList:
        """The pixels at some indices."""
        regions, places = (x.index_select(0, indices) for x in (self.regions, self.places))
        return _PixelList(gather_pixels(self.levels, indices), regions, places, self.size)

    def scatter(self, indices: Tensor, levels: Tensor) -> _PixelList:
        """All pixels, with new levels at some indices."""
        return replace(self, levels=self.levels.index_copy(1, indices, levels))


def _region_of_pixels(label_maps: Tensor, changes: Changes) -> Tensor:
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


def _apply_steps(
    pixels: _PixelList, steps: Mapping[int, Any], count: int, compile: bool
) -> _PixelList:
    """One step of each of some regions, out of so many."""
    kinds: dict[type, dict[int, Any]] = {}
    for region, step in steps.items():
        kinds.setdefault(type(step), {})[region] = step
    for kind, alike in kinds.items():
        if len(alike) == count:
            return replace(pixels, levels=_APPLY_KIND[kind](pixels, alike, compile))
        own = pixels.indices_of(alike)
        pixels = pixels.scatter(own, _APPLY_KIND[kind](pixels.gather(own), alike, compile))
    return pixels


def _apply_pipelines(
    pixels: _PixelList, pipelines: Mapping[int, Pipelines], compile: bool
) -> Tensor:
    """The levels after look-up pipelines."""
    every = [pipelines.get(region, NO_CHANGE) for region in range(max(pipelines) + 1)]
    lookup = BatchedLookup(every, *pixels.size, pixels.levels.device)
    return lookup.run(pixels.levels, pixels.regions, pixels.places, compile=compile)


def _apply_scalings(
    pixels: _PixelList, scalings: Mapping[int, LabScaling], compile: bool
) -> Tensor:
    """The levels after scalings of one kind."""
    factors = torch.ones(max(scalings) + 1, 3, dtype=torch.float64)
    for region, scaling in scalings.items():
        factors[region] = torch.tensor(scaling.factors, dtype=torch.float64)
    each = factors.to(pixels.regions.device).index_select(0, pixels.regions).T
    scale = next(iter(scalings.values())).scale
    return scale(pixels.levels[:, None], each[:, None])[:, 0]


def _apply_each(
    pixels: _PixelList, steps: Mapping[int, Cube | Light | ColorTransfer], compile: bool
) -> Tensor:
    """The levels after steps that are taken one region after the other."""
    for region, step in steps.items():
        own = pixels.indices_of([region])
        pixels = pixels.scatter(own, step(pixels.gather(own).levels[:, None])[:, 0])
    return pixels.levels


_APPLY_KIND: dict[type, Callable[[_PixelList, Mapping[int, Any], bool], Tensor]] = {
    tuple: _apply_pipelines,
    LabScaling: _apply_scalings,
    LabScaling8: _apply_scalings,
    Cube: _apply_each,
    Light: _apply_each,
    ColorTransfer: _apply_each,
}
