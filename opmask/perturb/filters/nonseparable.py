r"""The two blend modes that mix channels, "hue" and "color", as look-up pipelines.

Blending with a constant colour leaves little to compute: the result depends on the lightness of a
pixel, or on its lightness and saturation. Both are 8-bit, so that tables hold all results.

Colour -> ``color_blend_pipeline``, ``hue_blend_pipeline`` -> pipeline, for
:mod:`opmask.perturb.filters.cssgram`.

References:
    | Compositing and Blending Level 1 (W3C, 2015), https://www.w3.org/TR/compositing-1/
    | pilgram (Akazawa, 2019), https://github.com/akiomik/pilgram
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opmask.perturb.filters.blends import multiply, rgb
from opmask.perturb.filters.lookup import LUMA, LookupPipeline, Stage, identity_table

Color = tuple[int, int, int]
Planes = NDArray[np.float32]  # red, green and blue, with shape (3, *)


def color_blend_pipeline(source: Color) -> LookupPipeline:
    """Keeps the lightness of pixels and gives them hue and saturation of a colour."""
    planes = rgb(*source).astype(np.float32)
    lightness = np.rint(LUMA[0] @ planes)  # no colour of a filter lies between two
    table = _into_gamut(planes + (np.arange(256, dtype=np.float32) - lightness))
    return LookupPipeline(identity_table()[None], (Stage(LUMA, table.astype(np.uint8)),))


def hue_blend_pipeline(source: Color, alpha: float) -> LookupPipeline:
    """Keeps lightness and saturation of pixels and gives them the hue of a colour, in part."""
    low, middle, high = (np.float32(level) for level in sorted(source))
    saturation, lightness = np.indices((256, 256), dtype=np.float32)
    of_channel = {
        low: np.zeros_like(saturation),
        middle: (middle - low) * saturation / (high - low),
        high: saturation,
    }
    planes = np.stack([of_channel[np.float32(level)] for level in source])
    planes += lightness - _lightness(planes)
    opaque = round(255 * alpha)
    # What the blend adds to a pixel is its key: there are few such levels.
    keys = multiply(opaque, _into_gamut(planes).astype(np.int64))
    levels = multiply(255 - opaque, np.arange(256))
    tables = np.minimum(np.arange(opaque + 1)[:, None, None] + levels, 255)
    tables = np.broadcast_to(tables, (opaque + 1, 3, 256))
    return LookupPipeline(tables.astype(np.uint8), color_keys=keys.astype(np.uint8))


def _lightness(planes: Planes) -> Planes:
    red, green, blue = planes
    return red * np.float32(0.3) + green * np.float32(0.59) + blue * np.float32(0.11)


def _into_gamut(planes: Planes) -> Planes:
    """Moves colours out of 0-255 towards the grey of their lightness, first up and then down."""
    grey, low, high = _lightness(planes), planes.min(0), planes.max(0)
    up = grey * (planes - low) / np.where(grey == low, np.float32(1), grey - low)
    planes = np.where(low < 0, up, planes)
    down = (planes - grey) * (255 - grey) / np.where(high == grey, np.float32(1), high - grey)
    return np.clip(np.where(high > 255, grey + down, planes), 0, 255)
