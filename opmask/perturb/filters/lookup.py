r"""Filters as data: tables of 256 levels and 3x3 matrices.

The levels of a pixel go through a table, which may be another at another place, and then through
stages of a matrix and a table each, rounded to 8 bits after every step. That is all that pilgram's
filters do to a photo, so that a pipeline of them gives the same bits.

8-bit image -> ``LookupPipeline.run`` -> 8-bit image, for :func:`opmask.perturb.apply_filter`.

References:
    | pilgram (Akazawa, 2019), https://github.com/akiomik/pilgram
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opmask.perturb.filters.cpu_lookup import run_on_cpu
from opmask.perturb.filters.gradients import Gradients, key_map

Bytes = NDArray[np.uint8]

LUMA = np.array([[19595, 38470, 7471]] * 3, np.float32) / np.float32(65536)
"""Pillow's weights of red, green and blue in grey, in each row. They are exact in ``float32``, and
so are the sums of their products with 8-bit levels."""


_IDENTITY = bytes(range(256)) * 3  # a table that changes nothing
_NO_MATRIX = np.eye(3, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Stage:
    """A matrix, rounding, and a table.

    Args:
        matrix: What channels are multiplied with, ``float32``, with shape (3, 3).
        table: What becomes of each level of each channel, ``uint8``, with shape (3, 256).
    """

    matrix: NDArray[np.float32]
    table: Bytes

    @cached_property
    def columns(self) -> NDArray[np.float32]:
        """The columns of the matrix, with shape (3, 3, 1), or (3, 1, 1) if its rows are equal."""
        rows = self.matrix[:1] if (self.matrix == self.matrix[0]).all() else self.matrix
        return np.ascontiguousarray(rows.T)[..., None]

    @cached_property
    def is_identity(self) -> bool:
        """Whether the table changes nothing."""
        return self.table.tobytes() == _IDENTITY


@dataclass(frozen=True, eq=False)
class LookupPipeline:
    r"""What a filter does to the levels of each pixel.

    Args:
        first_tables: What becomes of each level of each channel first, a table for each key,
            ``uint8``, with shape :math:`(K, 3, 256)`.
        stages: What follows.
        gradients: What the keys tell apart; none if there is but one key.
        color_keys: For keys that depend on the pixel's colour instead, the keys of the three
            channels for each saturation and lightness, ``uint8``, with shape
            :math:`(3, 256, 256)`.
    """

    first_tables: Bytes
    stages: tuple[Stage, ...] = ()
    gradients: Gradients = ()
    color_keys: Bytes | None = None

    @classmethod
    def from_table(cls, table: NDArray[np.integer]) -> LookupPipeline:
        """The pipeline of one table, with shape (256) for all channels or (3, 256)."""
        return cls(np.broadcast_to(table, (1, 3, 256)).astype(np.uint8))

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.floating]) -> LookupPipeline:
        """The pipeline of one matrix, with shape (3, 3); that of the identity does nothing."""
        single = matrix.astype(np.float32)
        stages = () if (single == _NO_MATRIX).all() else (Stage(single, identity_table()),)
        return cls(identity_table()[None], stages)

    @property
    def has_keys(self) -> bool:
        """Whether it does not do the same to all pixels of a colour, in tables alone."""
        return len(self.first_tables) > 1

    @cached_property
    def channel_tables(self) -> Bytes:
        r"""The first tables channel by channel, with shape :math:`(3, 256 K)`."""
        return np.ascontiguousarray(self.first_tables.swapaxes(0, 1)).reshape(3, -1)

    def then(self, other: LookupPipeline) -> LookupPipeline:
        """This pipeline, followed by one that has no keys."""
        if not self.stages:
            tables, stages = _through(other.first_tables[0], self.first_tables), other.stages
        else:
            *before, last = self.stages
            joined = Stage(last.matrix, _through(other.first_tables[0], last.table))
            tables, stages = self.first_tables, (*before, joined, *other.stages)
        return LookupPipeline(tables, stages, self.gradients, self.color_keys)

    def run(self, pixels: Tensor, keys: Tensor | None) -> Tensor:
        r"""Runs the pipeline on pixels.

        Args:
            pixels: The RGB levels, ``uint8``, with shape :math:`(*, 3, N)`, in 0-255.
            keys: The keys of the pixels with shape :math:`(N)`, see :meth:`keys`.

        Returns:
            The new levels, with the type and shape of `pixels`.
        """
        if pixels.device.type != "cpu":
            return self.run_tensors(pixels, keys)
        images = pixels[None].flatten(0, -3).numpy()
        by_place = None if keys is None else keys.numpy()
        made = np.empty(images.shape, np.uint8)
        for number, image in enumerate(images):
            made[number] = run_on_cpu(self, image, by_place)
        return torch.from_numpy(made).view(pixels.shape)

    def run_tensors(self, pixels: Tensor, keys: Tensor | None) -> Tensor:
        r"""What :meth:`run` does, with PyTorch alone, on any device."""
        if self.color_keys is not None:
            keys = keys_of_colors(pixels, torch.from_numpy(self.color_keys).to(pixels.device))
        pixels = look_up(self.first_tables, pixels, keys)
        for stage in self.stages:
            pixels = look_up(stage.table, multiply(stage.matrix, pixels), None)
        return pixels

    def keys(self, height: int, width: int, device: torch.device) -> Tensor | None:
        r"""The keys of an image's pixels with shape :math:`(H W)`, if places differ."""
        return key_map(self.gradients, height, width, device) if self.gradients else None


Pipelines = tuple[LookupPipeline, ...]
"""Pipelines that follow one another, of which only the first has keys."""


def identity_table() -> Bytes:
    """The table that changes nothing, with shape (3, 256)."""
    return np.tile(np.arange(256, dtype=np.uint8), (3, 1))


def look_up(table: Bytes, pixels: Tensor, keys: Tensor | None) -> Tensor:
    r"""Looks levels up in a table.

    Args:
        table: The new levels, with shape :math:`(3, 256)` or, for each key, :math:`(K, 3, 256)`.
        pixels: The levels, ``uint8``, with shape :math:`(*, 3, N)`.
        keys: The keys, with shape :math:`(N)` or that of `pixels`.

    Returns:
        The new levels, with the type and shape of `pixels`.
    """
    # Flat 32-bit indices: index_select is three times as fast as indexing.
    channel = torch.arange(0, 768, 256, dtype=torch.int32, device=pixels.device)
    index = pixels + channel[:, None]
    if keys is not None:
        index += keys.int() * 768
    flat = torch.from_numpy(table).to(pixels.device).flatten()
    return flat.index_select(0, index.flatten()).view(pixels.shape)


def multiply(matrix: NDArray[np.float32], pixels: Tensor) -> Tensor:
    r"""Multiplies the channels of 8-bit levels with a matrix, as Pillow does.

    Products and sums are rounded to ``float32`` one by one, and the result to the nearest level.

    Args:
        matrix: The matrix, with shape (3, 3).
        pixels: The levels, ``uint8``, with shape :math:`(*, 3, N)`.

    Returns:
        The new levels, with the type and shape of `pixels`.
    """
    columns = torch.from_numpy(matrix).to(pixels.device).unsqueeze(-1).unbind(1)
    red, green, blue = pixels.float().split(1, dim=-2)
    # One kernel each, so that no product and sum are fused, which would not round the product.
    total = (columns[0] * red).add_(columns[1] * green).add_(columns[2] * blue)
    return total.add_(0.5).clamp_(0, 255).to(torch.uint8)


def keys_of_colors(pixels: Tensor, color_keys: Tensor) -> Tensor:
    r"""Keys that depend on a pixel's colour.

    Args:
        pixels: The levels, ``uint8``, with shape :math:`(*, 3, N)`.
        color_keys: The keys by saturation and lightness, see :class:`LookupPipeline`.

    Returns:
        The keys, with the type and shape of `pixels`.
    """
    low, high = pixels.aminmax(dim=-2, keepdim=True)
    red, green, blue = pixels.int().split(1, dim=-2)
    lightness = (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16
    index = (high - low).int() * 256 + lightness
    table = color_keys.flatten(1)
    keys = [channel.index_select(0, index.flatten()).view(index.shape) for channel in table]
    return torch.cat(keys, dim=-2)


def _through(table: Bytes, levels: Bytes) -> Bytes:
    """Sends levels, with shape (*, 3, 256), through a table of shape (3, 256)."""
    if table.tobytes() == _IDENTITY:
        return levels
    return np.stack([table[c][levels[..., c, :]] for c in range(3)], axis=-2)
