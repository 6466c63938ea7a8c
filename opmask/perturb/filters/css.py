r"""The filters of CSS as look-up pipelines.

Name, amount -> ``css_pipeline`` -> pipeline, for :func:`opmask.perturb.apply_filter`.

References:
    | Filter Effects Module Level 1 (W3C, 2018), https://www.w3.org/TR/filter-effects-1/
    | pilgram (Akazawa, 2019), https://github.com/akiomik/pilgram
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from opmask.perturb.filters.lookup import LookupPipeline

_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])


def css_pipeline(name: str, amount: float) -> LookupPipeline:
    r"""The look-up pipeline of a filter of CSS.

    Args:
        name: One of :data:`opmask.perturb.CSS_FILTERS`.
        amount: Its amount, see :func:`opmask.perturb.apply_filter`.
    """
    match name:
        case "brightness":
            return _from_line(amount, 0.0)
        case "contrast":
            return _from_line(amount, 127.5)
        case "hue_rotate":
            return LookupPipeline.from_matrix(_hue_rotation(math.radians(amount)))
        case "saturate":
            return LookupPipeline.from_matrix(_towards(np.array([0.213, 0.715, 0.072]), amount))
        case "grayscale":
            return LookupPipeline.from_matrix(
                _towards(np.array([0.2126, 0.7152, 0.0722]), 1 - min(amount, 1))
            )
    return LookupPipeline.from_matrix(_towards(_SEPIA, 1 - min(amount, 1)))


def _from_line(slope: float, pivot: float) -> LookupPipeline:
    levels = np.rint(np.arange(256) * slope + -pivot * slope + pivot)
    return LookupPipeline.from_table(np.clip(levels, 0, 255).astype(np.uint8))


def _towards(start: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """A share of the way from a matrix, or one of equal rows, to the identity."""
    # Rounded, since W3C gives the differences in decimals: 0.2848, which 1 - 0.7152 is not.
    return start + np.round(np.eye(3) - start, 4) * share


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    light = np.array([0.213, 0.715, 0.072])
    turned = np.array([[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]])
    return _towards(light, math.cos(angle)) + math.sin(angle) * turned
