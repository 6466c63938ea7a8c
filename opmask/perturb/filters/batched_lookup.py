r"""Several filters in one pass: each pixel goes through the pipelines of its own region.

All pipelines are brought to one form, a row of a common list of first tables and as many stages
as the longest has, so that a pixel's region picks its numbers by an index. What it costs depends
on how many pixels there are, and hardly on how many pipelines.

Pipelines -> ``BatchedLookup``; pixels and their regions -> ``BatchedLookup.run`` -> pixels, for
:mod:`opmask.perturb.engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from opmask.perturb.filters.cssgram import CSSGRAM_FILTERS, cssgram_pipeline
from opmask.perturb.filters.gradients import key_map
from opmask.perturb.filters.lookup import Bytes, LookupPipeline, Pipelines, Stage, identity_table

NO_CHANGE: Pipelines = (LookupPipeline.from_table(identity_table()),)
"""Pipelines that do nothing."""

_NO_MATRIX = np.eye(3, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class BatchedLookup:
    r"""The pipelines of several regions, for the pixels of images of one size.

    Args:
        pipelines: The pipelines of each region.
        height: The height of the images.
        width: Their width.
        device: Where it runs.
    """

    pipelines: Sequence[Pipelines]
    height: int
    width: int
    device: torch.device

    def run(self, pixels: Tensor, regions: Tensor, places: Tensor, *, compile: bool) -> Tensor:
        r"""Sends each pixel through the pipelines of its region.

        Args:
            pixels: The RGB levels, ``uint8``, with shape :math:`(3, N)`, in 0-255.
            regions: The place in `pipelines` that each pixel goes by, ``int32``, with shape
                :math:`(N)`.
            places: Where in its image each pixel is, ``int32``, with shape :math:`(N)`: row times
                width plus column.
            compile: Whether to use a compiled kernel, which gives the same bits.

        Returns:
            The new levels, with the type and shape of `pixels`.
        """
        run = _compiled() if compile else run_batched
        return run(self._after_color_keys(pixels, regions), regions, places, *self._tensors())

    def _after_color_keys(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """The levels after those first tables whose keys depend on colours, which few have."""
        firsts = [first for first, *_ in self.pipelines]
        by_color = [n for n, first in enumerate(firsts) if first.color_keys is not None]
        if not by_color:
            return pixels
        first = firsts[by_color[0]]  # only one filter is so
        here = torch.isin(regions, torch.tensor(by_color, dtype=torch.int32, device=self.device))
        changed = LookupPipeline(first.first_tables, color_keys=first.color_keys).run(pixels, None)
        return torch.where(here, changed, pixels)

    def _tensors(self) -> tuple[Tensor, ...]:
        """The pipelines as the last arguments of :func:`run_batched`."""
        # One more than there are: a compiler takes a single row for a case of its own.
        packed = [_pack(each) for each in (*self.pipelines, NO_CHANGE)]
        length = max(len(stages) for _, stages in packed)
        numbers = [_numbers(stages, length) for _, stages in packed]
        matrices, tables = (np.stack(part, 1) for part in zip(*numbers, strict=True))
        keys, starts = self._keys()
        rows = np.array([row for row, _ in packed], np.int32)
        arrays = (rows, starts, matrices, tables)
        tensors = (torch.from_numpy(array).to(self.device) for array in arrays)
        return _first_tables(self.device), keys, *tensors

    def _keys(self) -> tuple[Tensor, np.ndarray]:
        """The maps of keys, one after the other, and where that of each region starts.

        A region without keys has the number -1 there.
        """
        gradients = [first.gradients for first, *_ in (*self.pipelines, NO_CHANGE)]
        kinds = sorted(set(gradients) - {()}, key=repr)
        maps = [key_map(kind, self.height, self.width, self.device) for kind in kinds]
        size = self.height * self.width
        starts = [kinds.index(kind) * size if kind else -1 for kind in gradients]
        none = torch.zeros(2, dtype=torch.int16, device=self.device)
        return torch.cat(maps) if maps else none, np.array(starts, np.int32)


def run_batched(
    pixels: Tensor,
    regions: Tensor,
    places: Tensor,
    first_tables: Tensor,
    keys: Tensor,
    rows: Tensor,
    starts: Tensor,
    matrices: Tensor,
    tables: Tensor,
) -> Tensor:
    r"""What :meth:`BatchedLookup.run` does, with tensors alone, so that it can be compiled.

    Args:
        pixels: The RGB levels, ``uint8``, with shape :math:`(3, N)`, in 0-255.
        regions: The region :math:`r` of each pixel, ``int32``, with shape :math:`(N)`.
        places: Where in its image each pixel is, ``int32``, with shape :math:`(N)`.
        first_tables: The first tables of all filters of CSSgram, ``uint8``, with shape
            :math:`(768 K)`.
        keys: Maps of keys, ``int16``, one after the other.
        rows: The row of `first_tables` for key 0 of each region, ``int32``, with shape
            :math:`(R)`.
        starts: Where in `keys` the map of each region starts, or -1, ``int32``, with shape
            :math:`(R)`.
        matrices: The matrix of each stage, ``float32``, with shape :math:`(S, R, 9)`.
        tables: The table of each stage, ``uint8``, with shape :math:`(S, R, 768)`.

    Returns:
        The new levels, with the type and shape of `pixels`.
    """
    start = starts.index_select(0, regions)
    key = keys.index_select(0, torch.where(start < 0, 0, start + places)).int()
    row = (rows.index_select(0, regions) + torch.where(start < 0, 0, key)) * 768
    levels = [first_tables.index_select(0, row + (256 * c + pixels[c].int())) for c in range(3)]
    for matrix, table in zip(matrices.unbind(), tables.unbind(), strict=True):
        values, flat = [level.double() for level in levels], matrix.flatten()
        for i in range(3):
            weights = [flat.index_select(0, regions * 9 + (3 * i + j)) for j in range(3)]
            # In float64 a product is exact, so that it is rounded once, to float32. A compiler
            # that fused it with the sum would skip that rounding.
            red, green, blue = (
                (weight.double() * value).float()
                for weight, value in zip(weights, values, strict=True)
            )
            level = (red + green + blue + 0.5).clamp(0, 255).int()
            levels[i] = table.flatten().index_select(0, regions * 768 + (256 * i + level))
    return torch.stack(levels)


@cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(run_batched, dynamic=True)


@lru_cache(maxsize=1024)
def _pack(pipelines: Pipelines) -> tuple[int, tuple[Stage, ...]]:
    """The row of the first tables of pipelines, and the stages that follow."""
    first, *others = pipelines
    row, stages = _rows().get(id(first.first_tables)), first.stages
    if first.color_keys is not None:
        row = 0  # its first tables come before
    if row is None:  # a filter of CSS: its first table is one like any other
        row, stages = 0, (Stage(_NO_MATRIX, first.first_tables[0]), *stages)
    elif others and not stages:
        stages = (Stage(_NO_MATRIX, identity_table()),)
    joined = LookupPipeline(identity_table()[None], stages)
    for other in others:
        joined = joined.then(other)
    return row, joined.stages


@lru_cache(maxsize=1024)
def _numbers(stages: tuple[Stage, ...], length: int) -> tuple[np.ndarray, Bytes]:
    """The matrices, (S, 9), and tables, (S, 768), of so many stages."""
    spare = (Stage(_NO_MATRIX, identity_table()),) * (length - len(stages))
    all_stages = (*stages, *spare)
    matrices = np.array([stage.matrix.ravel() for stage in all_stages], np.float32)
    tables = np.array([stage.table.ravel() for stage in all_stages], np.uint8)
    return matrices.reshape(length, 9), tables.reshape(length, 768)


@cache
def _all_first_tables() -> tuple[list[Bytes], dict[int, int]]:
    """The first tables of CSSgram's filters after one that does nothing, and their rows by id."""
    every = [identity_table()[None]]
    rows: dict[int, int] = {}
    count = 1
    for name in CSSGRAM_FILTERS:
        tables = cssgram_pipeline(name).first_tables
        rows[id(tables)] = count
        every.append(tables)
        count += len(tables)
    return every, rows


def _rows() -> dict[int, int]:
    return _all_first_tables()[1]


@cache
def _first_tables(device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(_all_first_tables()[0]).ravel()).to(device)
