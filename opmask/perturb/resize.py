r"""Resizing with the same result on every device: as OpenCV does it, and by the nearest pixel.

The reference code resizes its samples as OpenCV does by default, bilinearly and without
antialiasing, which aliases when a photo shrinks. Wherever its numbers need not be met,
``opmask.datasets.photos.resize_photo`` is the better choice. Regions and label maps take the
nearest pixel.

Values of any size -> ``resize_bilinear_opencv``, ``resize_nearest`` -> a training sample's.

References:
    | OpenCV, modules/imgproc/src/resize.cpp (OpenCV team, Apache License 2.0)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.color.opencv import opencv_if_equal

_WEIGHT = 2**11

_PROBE_SIZE = 32
"""The size at which OpenCV is tried, see :mod:`opmask.color.opencv`."""


def resize_bilinear_opencv(values: Tensor, size: int, *, compile: bool = False) -> Tensor:
    r"""Resizes to a square, without keeping the aspect ratio, as ``cv2.resize`` does.

    .. math:: y_i = (1 - t) x_{\lfloor p \rfloor} + t x_{\lfloor p \rfloor + 1}, \quad
        p = (i + \tfrac{1}{2}) \frac{n}{S} - \tfrac{1}{2}, \quad t = p - \lfloor p \rfloor

    along each row of :math:`n` values, then along each column; past the border its value is
    repeated. 8-bit values equal OpenCV's bit for bit, on any device: it rounds the weights to 11
    bits and cuts off in between, which can be 1 away from the rounded exact value. Floats are
    exact to the precision of their type; OpenCV's are too, or have positions :math:`p` rounded to
    ``float32``, which depends on its build.

    Args:
        values: The values, ``uint8``, ``float32`` or ``float64``, with shape :math:`(*, H, W)`.
        size: The new height and width :math:`S`, in pixels.
        compile: Whether the steps for 8-bit values are compiled into one, with the same result.

    Returns:
        The resized values, with the type of `values` and shape :math:`(*, S, S)`.

    Example:
        >>> resize_bilinear_opencv(torch.tensor([[0.0, 4.0], [8.0, 12.0]]), 4)
        tensor([[ 0.,  1.,  3.,  4.],
                [ 2.,  3.,  5.,  6.],
                [ 6.,  7.,  9., 10.],
                [ 8.,  9., 11., 12.]])
    """
    if values.dtype == torch.uint8:
        cv2 = _opencv(values, _eight_bit, _eight_bit_with_opencv)
        if cv2 is None:
            return _eight_bit(values, size, compile)
        return _eight_bit_with_opencv(cv2, values, size)
    *batch, height, width = values.shape
    planes = values.reshape(-1, 1, height, width)  # twice as fast as planes as channels
    return F.interpolate(planes, (size, size), mode="bilinear").reshape(*batch, size, size)


def resize_levels_opencv(levels: Tensor, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    r"""Resizes 8-bit levels as :func:`resize_bilinear_opencv` resizes floats: to fractions.

    Args:
        levels: The levels, ``uint8``, with shape :math:`(*, H, W)`.
        size: The new height and width :math:`S`, in pixels.
        dtype: In what it is computed, ``float32`` or ``float64``.

    Returns:
        The resized levels, ``float32``, with shape :math:`(*, S, S)`.

    Example:
        >>> resize_levels_opencv(torch.tensor([[0, 1]], dtype=torch.uint8), 4)[0]
        tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    # Places are multiples of 1 / 2S then, and all products exact: nobody rounds otherwise.
    is_exact = size & (size - 1) == 0 and 2 * size * max(levels.shape[-2:]) < 2**24
    is_exact &= dtype == torch.float64 or (size <= 2**10 and int(levels.max()) <= 1)
    cv2 = _opencv(levels, _fractions, _fractions_with_opencv) if is_exact else None
    if cv2 is None:
        return resize_bilinear_opencv(levels.to(dtype), size).float()
    return _fractions_with_opencv(cv2, levels, size)


def resize_nearest(values: Tensor, size: int | tuple[int, int]) -> Tensor:
    r"""Resizes a map by taking, for each new pixel, the one under its centre.

    Args:
        values: The map, of any type, with shape :math:`(*, H, W)`.
        size: The new height and width :math:`(S, T)`, in pixels; one number for a square.

    Returns:
        The map with shape :math:`(*, S, T)`; `values` itself if it has that shape.

    Example:
        >>> resize_nearest(torch.tensor([[1, 2, 3, 4]]), 2)
        tensor([[2, 4],
                [2, 4]])
    """
    sides = (size, size) if isinstance(size, int) else size
    if sides == tuple(values.shape[-2:]):
        return values
    rows, columns = (
        (2 * torch.arange(new, device=values.device) + 1) * old // (2 * new)
        for new, old in zip(sides, values.shape[-2:], strict=True)
    )
    return values[..., rows[:, None], columns]


def _opencv(values: Tensor, *forms: Callable[..., Tensor]) -> ModuleType | None:
    """OpenCV, if it resizes these values as a form of our own does."""
    return opencv_if_equal(*forms, _PROBE_SIZE) if values.device.type == "cpu" else None


def _eight_bit(values: Tensor, size: int, compile: bool = False) -> Tensor:
    vertical = _neighbours(values.shape[-2], size, values.device)
    horizontal = _neighbours(values.shape[-1], size, values.device)
    resize = _compiled() if compile else _resize_eight_bit
    return resize(values, *vertical, *horizontal)


def _eight_bit_with_opencv(cv2: ModuleType, values: Tensor, size: int) -> Tensor:
    result = torch.empty(*values.shape[:-2], size, size, dtype=torch.uint8)
    planes = values[None].flatten(0, -3).numpy()
    for plane, made in zip(planes, result[None].flatten(0, -3).numpy(), strict=True):
        cv2.resize(plane, (size, size), made)
    return result


def _fractions(levels: Tensor, size: int) -> Tensor:
    return resize_bilinear_opencv(levels.double(), size).float()


def _fractions_with_opencv(cv2: ModuleType, levels: Tensor, size: int) -> Tensor:
    result = torch.empty(*levels.shape[:-2], size, size)
    planes = levels[None].flatten(0, -3).numpy()
    for plane, made in zip(planes, result[None].flatten(0, -3).numpy(), strict=True):
        made[...] = cv2.resize(plane.astype("float64"), (size, size))
    return result


def _resize_eight_bit(
    values: Tensor, rows: Tensor, row_weights: Tensor, columns: Tensor, column_weights: Tensor
) -> Tensor:
    (left, right), halves = columns.unbind(), []
    for row, weight in zip(rows.unbind(), row_weights.unbind(), strict=True):
        line = values.index_select(-2, row)
        wide = _columns(line, left).int() * column_weights[0]
        wide += _columns(line, right).int() * column_weights[1]
        halves.append(((wide >> 4) * weight[:, None]) >> 16)
    return ((halves[0] + halves[1] + 2) >> 2).to(torch.uint8)


def _columns(values: Tensor, places: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        return values.index_select(-1, places)
    # Flat 32-bit places are twice as fast as those of a dimension, but for a compiler.
    starts = torch.arange(0, values.numel(), values.shape[-1], dtype=torch.int32)
    index = starts.to(values.device)[:, None] + places.int()
    return values.flatten().index_select(0, index.flatten()).view(*values.shape[:-1], -1)


@cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(_resize_eight_bit, dynamic=True)


def _neighbours(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The two old places that each new one lies between, and their weights: (2, new) each."""
    # On the CPU, so that every device gets the same ones; in float32, as OpenCV has them.
    place = ((torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5).float()
    before = place.floor()
    weight = place - before
    places = torch.stack([before, before + 1]).long().clamp_(0, old - 1)
    weights = (_WEIGHT * torch.stack([1 - weight, weight])).round().int()
    return places.to(device), weights.to(device)
