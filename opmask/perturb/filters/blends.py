r"""The blend modes of CSS on 8-bit levels, rounded as pilgram and Pillow round them.

Every function takes and gives arrays of integers in 0-255, which are broadcast. They are called
with all 256 levels at once, to make tables: :mod:`opmask.perturb.filters.cssgram` says which.

Levels -> ``overlay`` and others -> levels, for the tables of :mod:`opmask.perturb.filters.lookup`.

References:
    | Compositing and Blending Level 1 (W3C, 2015), https://www.w3.org/TR/compositing-1/
    | pilgram (Akazawa, 2019), https://github.com/akiomik/pilgram
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.int64]
Blend = Callable[[Levels, Levels], Levels]


def multiply(below: Levels | int, above: Levels) -> Levels:
    r""":math:`\lfloor x y / 255 \rfloor`."""
    return below * above // 255


def screen(below: Levels, above: Levels) -> Levels:
    """The complement of the product of complements."""
    return 255 - multiply(255 - below, 255 - above)


def darken(below: Levels, above: Levels) -> Levels:
    """The smaller."""
    return np.minimum(below, above)


def lighten(below: Levels, above: Levels) -> Levels:
    """The larger."""
    return np.maximum(below, above)


def exclusion(below: Levels, above: Levels) -> Levels:
    """The sum less twice the product."""
    return screen(below, above) - multiply(below, above)


def overlay(below: Levels, above: Levels) -> Levels:
    """Multiplies where the level below is dark and screens where it is bright."""
    dark = multiply(above, np.minimum(2 * below, 255))
    bright = screen(above, np.maximum(2 * below - 255, 0))
    return np.where(below < 128, dark, bright)


def soft_light(below: Levels, above: Levels) -> Levels:
    """Darkens where the level above is dark and lightens where it is bright, softly."""
    share = below / 255
    cubic = ((16 * share - 12) * share + 4) * share
    gain = _rounded((np.where(share <= 0.25, cubic, np.sqrt(share)) - share) * 255)
    loss = _rounded(below * (1 - share))
    dark = below - multiply(np.maximum(255 - 2 * above, 0), loss)
    bright = below + multiply(np.maximum(2 * above - 255, 0), gain)
    return _clipped(np.where(above <= 128, dark, bright))


def color_dodge(below: Levels, above: Levels) -> Levels:
    """The level below over the complement of that above, in ``float32``; nothing here is 255."""
    inverse = (255 - above).astype(np.float32)
    dodged: NDArray[np.float32] = below.astype(np.float32) / inverse * np.float32(255)
    return _clipped(dodged)


def color_burn(below: Levels, above: Levels) -> Levels:
    """The complement of the complement below over the level above; white stays white."""
    burnt = 255 - (255 - below) * 255 // np.maximum(above, 1)
    return np.where(below == 255, 255, np.where(above == 0, 0, _clipped(burnt)))


def paint(blend: Blend, below: Levels, color: tuple[int, int, int], alpha: float) -> Levels:
    """Blends with a colour of which `alpha` is opaque; two products are cut off, not one sum."""
    opaque = round(255 * alpha)
    above = multiply(opaque, blend(below, rgb(*color)))
    return np.minimum(above + multiply(255 - opaque, below), 255)


def fade(start: Levels, end: Levels, share: float) -> Levels:
    """From `start` towards `end`, in ``float32``, with the fraction cut off."""
    step = np.float32(share) * (end - start).astype(np.float32)
    faded: Levels = (start.astype(np.float32) + step).astype(np.int64)
    return faded


def mix(inside: Levels, outside: Levels, weight: Levels) -> Levels:
    """The mean of two, by the 8-bit weight of the first, rounded to the nearest."""
    total = inside * weight + outside * (255 - weight) + 128
    return ((total >> 8) + total) >> 8


def rgb(red: int, green: int, blue: int) -> Levels:
    """A colour as an array that broadcasts over levels, with shape (3, 1)."""
    return np.array([[red], [green], [blue]])


def _rounded(values: NDArray[np.float64]) -> Levels:
    return np.rint(values).astype(np.int64)


def _clipped(values: NDArray[np.float32] | Levels) -> Levels:
    return np.clip(values, 0, 255).astype(np.int64)
