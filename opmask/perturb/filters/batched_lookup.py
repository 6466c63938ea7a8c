r"""Several filters in one pass: each pixel goes through the program of its own region.

All programs are brought to one form, a row of a common table of heads and as many stages as the
longest has, so that a pixel's region picks its numbers by an index. What it costs depends on how
many pixels there are, and hardly on how many programs.

Programs -> ``Bundle``; pixels and their regions -> ``Bundle.run`` -> pixels, for
:mod:`opmask.perturb.engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from opmask.perturb.filters.cssgram import LOOKS, look
from opmask.perturb.filters.gradients import key_map
from opmask.perturb.filters.lookup import Bytes, Chain, Program, Stage, identity_table

NO_CHANGE: Chain = (Program(identity_table()[None]),)
"""A chain that does nothing."""

_NO_MATRIX = np.eye(3, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Bundle:
    r"""Chains of programs for the pixels of images of one size.

    Args:
        chains: The programs of each region.
        height: The height of the images.
        width: Their width.
        device: Where it runs.
    """

    chains: Sequence[Chain]
    height: int
    width: int
    device: torch.device

    def run(self, pixels: Tensor, regions: Tensor, places: Tensor, *, compile: bool) -> Tensor:
        r"""Sends each pixel through the programs of its region.

        Args:
            pixels: The RGB levels, ``uint8``, with shape :math:`(3, N)`, in 0-255.
            regions: The place in `chains` that each pixel goes by, ``int32``, with shape
                :math:`(N)`.
            places: Where in its image each pixel is, ``int32``, with shape :math:`(N)`: row times
                width plus column.
            compile: Whether to use a compiled kernel, which gives the same bits.

        Returns:
            The new levels, with the type and shape of `pixels`.
        """
        run = _compiled() if compile else run_bundle
        return run(self._tinted(pixels, regions), regions, places, *self._tensors())

    def _tinted(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """The levels after those heads whose keys depend on colours, which few have."""
        tinted = [n for n, (first, *_) in enumerate(self.chains) if first.tint is not None]
        if not tinted:
            return pixels
        first = self.chains[tinted[0]][0]  # only one look is so
        here = torch.isin(regions, torch.tensor(tinted, dtype=torch.int32, device=self.device))
        changed = Program(first.head, tint=first.tint).run(pixels, None)
        return torch.where(here, changed, pixels)

    def _tensors(self) -> tuple[Tensor, ...]:
        """The programs as the last arguments of :func:`run_bundle`."""
        # One more than there are: a compiler takes a single row for a case of its own.
        packed = [_pack(chain) for chain in (*self.chains, NO_CHANGE)]
        length = max(len(stages) for _, stages in packed)
        numbers = [_numbers(stages, length) for _, stages in packed]
        matrices, tables = (np.stack(part, 1) for part in zip(*numbers, strict=True))
        keys, starts = self._keys()
        rows = np.array([row for row, _ in packed], np.int32)
        arrays = (rows, starts, matrices, tables)
        return _heads(self.device), keys, *(torch.from_numpy(a).to(self.device) for a in arrays)

    def _keys(self) -> tuple[Tensor, np.ndarray]:
        """The maps of keys, one after the other, and where that of each region starts.

        A region without keys has the number -1 there.
        """
        gradients = [chain[0].gradients for chain in (*self.chains, NO_CHANGE)]
        kinds = sorted(set(gradients) - {()}, key=repr)
        maps = [key_map(kind, self.height, self.width, self.device) for kind in kinds]
        size = self.height * self.width
        starts = [kinds.index(kind) * size if kind else -1 for kind in gradients]
        none = torch.zeros(2, dtype=torch.int16, device=self.device)
        return torch.cat(maps) if maps else none, np.array(starts, np.int32)


def run_bundle(
    pixels: Tensor,
    regions: Tensor,
    places: Tensor,
    heads: Tensor,
    keys: Tensor,
    rows: Tensor,
    starts: Tensor,
    matrices: Tensor,
    tables: Tensor,
) -> Tensor:
    r"""What :meth:`Bundle.run` does, with tensors alone, so that it can be compiled.

    Args:
        pixels: The RGB levels, ``uint8``, with shape :math:`(3, N)`, in 0-255.
        regions: The region :math:`r` of each pixel, ``int32``, with shape :math:`(N)`.
        places: Where in its image each pixel is, ``int32``, with shape :math:`(N)`.
        heads: The heads of all looks, ``uint8``, with shape :math:`(768 K)`.
        keys: Maps of keys, ``int16``, one after the other.
        rows: The row of `heads` for key 0 of each region, ``int32``, with shape :math:`(R)`.
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
    levels = [heads.index_select(0, row + (256 * c + pixels[c].int())) for c in range(3)]
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
    return torch.compile(run_bundle, dynamic=True)


@lru_cache(maxsize=1024)
def _pack(chain: Chain) -> tuple[int, tuple[Stage, ...]]:
    """The row of the chain's head, and its stages."""
    first, *others = chain
    row, stages = _rows().get(id(first.head)), first.stages
    if first.tint is not None:
        row = 0  # its head comes before
    if row is None:  # a filter of CSS: its head is a table like any other
        row, stages = 0, (Stage(_NO_MATRIX, first.head[0]), *stages)
    elif others and not stages:
        stages = (Stage(_NO_MATRIX, identity_table()),)
    program = Program(identity_table()[None], stages)
    for other in others:
        program = program.then(other)
    return row, program.stages


@lru_cache(maxsize=1024)
def _numbers(stages: tuple[Stage, ...], length: int) -> tuple[np.ndarray, Bytes]:
    """The matrices, (S, 9), and tables, (S, 768), of so many stages."""
    spare = (Stage(_NO_MATRIX, identity_table()),) * (length - len(stages))
    all_stages = (*stages, *spare)
    matrices = np.array([stage.matrix.ravel() for stage in all_stages], np.float32)
    tables = np.array([stage.table.ravel() for stage in all_stages], np.uint8)
    return matrices.reshape(length, 9), tables.reshape(length, 768)


@cache
def _library() -> tuple[list[Bytes], dict[int, int]]:
    """The heads of all looks, after that of no change, and the row of each by its identity."""
    heads = [identity_table()[None]]
    rows: dict[int, int] = {}
    count = 1
    for name in LOOKS:
        head = look(name).head
        rows[id(head)] = count
        heads.append(head)
        count += len(head)
    return heads, rows


def _rows() -> dict[int, int]:
    return _library()[1]


@cache
def _heads(device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(_library()[0]).ravel()).to(device)
