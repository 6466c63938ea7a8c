r"""The filters of CSSgram as look-up pipelines: what each does to a level, and what CSS follows.

The parameters are CSSgram's and the order of roundings is pilgram's.

Name -> ``cssgram_pipeline`` -> pipeline, for :func:`opmask.perturb.apply_filter`.

References:
    | CSSgram (Vergara, 2015), https://github.com/una/CSSgram
    | pilgram (Akazawa, 2019), https://github.com/akiomik/pilgram
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from opmask.perturb.filters.blends import (
    Levels,
    color_burn,
    color_dodge,
    darken,
    exclusion,
    fade,
    lighten,
    mix,
    multiply,
    overlay,
    paint,
    rgb,
    screen,
    soft_light,
)
from opmask.perturb.filters.css import css_pipeline
from opmask.perturb.filters.gradients import (
    Gradients,
    RadialGradient,
    RotatedGradient,
    VerticalGradient,
    weights_of_keys,
)
from opmask.perturb.filters.lookup import LookupPipeline
from opmask.perturb.filters.nonseparable import color_blend_pipeline, hue_blend_pipeline


@dataclass(frozen=True)
class CSSgramFilter:
    """A filter of CSSgram.

    Args:
        blend: What becomes of levels, with shape (256), given the weights of the gradients, each
            with shape :math:`(K, 1, 1)`; its result broadcasts to :math:`(K, 3, 256)`.
        filters: The filters of CSS that follow, with their amounts.
        gradients: The gradients that it depends on.
    """

    blend: Callable[..., Levels]
    filters: tuple[tuple[str, float], ...] = ()
    gradients: Gradients = ()


def _1977(x: Levels) -> Levels:
    return paint(screen, x, (243, 106, 188), 0.3)


def _aden(x: Levels, left: Levels) -> Levels:
    return mix(darken(x, rgb(66, 10, 14)), x, left)


def _brannan(x: Levels) -> Levels:
    return paint(lighten, x, (161, 44, 199), 0.31)


def _brooklyn(x: Levels, middle: Levels) -> Levels:
    inside = paint(overlay, x, (168, 223, 193), 0.4)
    return mix(inside, overlay(x, rgb(196, 183, 200)), middle)


def _clarendon(x: Levels) -> Levels:
    return paint(overlay, x, (127, 187, 227), 0.2)


def _earlybird(x: Levels, middle: Levels, corners: Levels) -> Levels:
    color = mix(rgb(208, 186, 142), rgb(54, 3, 9), middle)
    return overlay(x, mix(color, rgb(29, 2, 16), corners))


def _gingham(x: Levels) -> Levels:
    return soft_light(x, rgb(230, 230, 250))


def _hudson(x: Levels, middle: Levels) -> Levels:
    return fade(x, multiply(x, mix(rgb(166, 177, 255), rgb(52, 33, 52), middle)), 0.5)


def _kelvin(x: Levels) -> Levels:
    return overlay(color_dodge(x, rgb(56, 44, 52)), rgb(183, 125, 33))


def _lark(x: Levels) -> Levels:
    return paint(darken, color_dodge(x, rgb(34, 37, 63)), (242, 242, 242), 0.8)


def _lofi(x: Levels, middle: Levels) -> Levels:
    return mix(x, multiply(x, rgb(34, 34, 34)), middle)


def _mayfair(x: Levels, middle: Levels, ring: Levels) -> Levels:
    inside = paint(overlay, x, (255, 255, 255), 0.8)
    bright = mix(inside, paint(overlay, x, (255, 200, 200), 0.6), middle)
    return fade(x, mix(bright, overlay(x, rgb(17, 17, 17)), ring), 0.4)


def _moon(x: Levels) -> Levels:
    return lighten(soft_light(x, rgb(160, 160, 160)), rgb(56, 56, 56))


def _nashville(x: Levels) -> Levels:
    return paint(lighten, paint(darken, x, (247, 176, 153), 0.56), (0, 70, 150), 0.4)


def _perpetua(x: Levels, top: Levels) -> Levels:
    return fade(x, soft_light(x, mix(rgb(0, 91, 154), rgb(230, 193, 61), top)), 0.5)


def _reyes(x: Levels) -> Levels:
    return fade(x, soft_light(x, rgb(239, 205, 173)), 0.5)


def _rise(x: Levels, middle: Levels, glow: Levels) -> Levels:
    outside = paint(multiply, x, (50, 30, 7), 0.4)
    x = mix(paint(multiply, x, (236, 205, 169), 0.15), outside, middle)
    return fade(x, mix(paint(overlay, x, (232, 197, 152), 0.8), x, glow), 0.6)


def _slumber(x: Levels) -> Levels:
    return paint(soft_light, paint(lighten, x, (69, 41, 12), 0.4), (125, 105, 24), 0.5)


def _stinson(x: Levels) -> Levels:
    return paint(soft_light, x, (240, 149, 128), 0.2)


def _toaster(x: Levels, middle: Levels) -> Levels:
    return screen(x, mix(rgb(128, 78, 15), rgb(59, 0, 59), middle))


def _valencia(x: Levels) -> Levels:
    return fade(x, exclusion(x, rgb(58, 3, 57)), 0.5)


def _walden(x: Levels) -> Levels:
    return fade(x, screen(x, rgb(0, 68, 204)), 0.3)


def _willow(x: Levels, middle: Levels) -> Levels:
    return overlay(x, mix(rgb(212, 169, 175), rgb(0, 0, 0), middle))


def _xpro2(x: Levels, middle: Levels) -> Levels:
    color = mix(rgb(230, 231, 224), fade(x, rgb(43, 42, 161), 0.6), middle)
    burnt = color_burn(x, color)
    return mix(burnt, fade(x, burnt, 0.6), middle)


def _same(x: Levels) -> Levels:
    return x


CSSGRAM_FILTERS: dict[str, CSSgramFilter] = {
    "1977": CSSgramFilter(_1977, (("contrast", 1.1), ("brightness", 1.1), ("saturate", 1.3))),
    "aden": CSSgramFilter(
        _aden,
        (("hue_rotate", -20), ("contrast", 0.9), ("saturate", 0.85), ("brightness", 1.2)),
        (RotatedGradient(),),
    ),
    "brannan": CSSgramFilter(_brannan, (("sepia", 0.5), ("contrast", 1.4))),
    "brooklyn": CSSgramFilter(
        _brooklyn, (("contrast", 0.9), ("brightness", 1.1)), (RadialGradient(0.7, 1.0),)
    ),
    "clarendon": CSSgramFilter(_clarendon, (("contrast", 1.2), ("saturate", 1.35))),
    "earlybird": CSSgramFilter(
        _earlybird,
        (("contrast", 0.9), ("sepia", 0.2)),
        (RadialGradient(0.2, 0.85), RadialGradient(0.85, 1.0)),
    ),
    "gingham": CSSgramFilter(_gingham, (("brightness", 1.05), ("hue_rotate", -10))),
    "hudson": CSSgramFilter(
        _hudson,
        (("brightness", 1.2), ("contrast", 0.9), ("saturate", 1.1)),
        (RadialGradient(0.5, 1.0),),
    ),
    "inkwell": CSSgramFilter(
        _same, (("sepia", 0.3), ("contrast", 1.1), ("brightness", 1.1), ("grayscale", 1))
    ),
    "kelvin": CSSgramFilter(_kelvin),
    "lark": CSSgramFilter(_lark, (("contrast", 0.9),)),
    "lofi": CSSgramFilter(
        _lofi, (("saturate", 1.1), ("contrast", 1.5)), (RadialGradient(0.7, 1.5),)
    ),
    "mayfair": CSSgramFilter(
        _mayfair,
        (("contrast", 1.1), ("saturate", 1.1)),
        (RadialGradient(0.0, 0.3, (0.4, 0.4)), RadialGradient(0.3, 0.6, (0.4, 0.4))),
    ),
    "maven": CSSgramFilter(
        _same, (("sepia", 0.25), ("brightness", 0.95), ("contrast", 0.95), ("saturate", 1.5))
    ),
    "moon": CSSgramFilter(_moon, (("grayscale", 1), ("contrast", 1.1), ("brightness", 1.1))),
    "nashville": CSSgramFilter(
        _nashville, (("sepia", 0.2), ("contrast", 1.2), ("brightness", 1.05), ("saturate", 1.2))
    ),
    "perpetua": CSSgramFilter(_perpetua, (), (VerticalGradient(),)),
    "reyes": CSSgramFilter(
        _reyes, (("sepia", 0.22), ("brightness", 1.1), ("contrast", 0.85), ("saturate", 0.75))
    ),
    "rise": CSSgramFilter(
        _rise,
        (("brightness", 1.05), ("sepia", 0.2), ("contrast", 0.9), ("saturate", 0.9)),
        (RadialGradient(0.55, 1.0), RadialGradient(0.0, 0.9)),
    ),
    "slumber": CSSgramFilter(_slumber, (("saturate", 0.66), ("brightness", 1.05))),
    "stinson": CSSgramFilter(
        _stinson, (("contrast", 0.75), ("saturate", 0.85), ("brightness", 1.15))
    ),
    "toaster": CSSgramFilter(
        _toaster, (("contrast", 1.5), ("brightness", 0.9)), (RadialGradient(0.0, 1.0),)
    ),
    "valencia": CSSgramFilter(
        _valencia, (("contrast", 1.08), ("brightness", 1.08), ("sepia", 0.08))
    ),
    "walden": CSSgramFilter(
        _walden, (("brightness", 1.1), ("hue_rotate", -10), ("sepia", 0.3), ("saturate", 1.6))
    ),
    "willow": CSSgramFilter(
        _willow,
        (("grayscale", 0.5), ("contrast", 0.95), ("brightness", 0.9)),
        (RadialGradient(0.55, 1.5),),
    ),
    "xpro2": CSSgramFilter(_xpro2, (("sepia", 0.3),), (RadialGradient(0.4, 1.1),)),
}


@cache
def cssgram_pipeline(name: str) -> LookupPipeline:
    r"""The look-up pipeline of a filter of CSSgram.

    Args:
        name: One of :data:`opmask.perturb.FILTERS` or :data:`opmask.perturb.OTHER_FILTERS`.
    """
    entry = CSSGRAM_FILTERS[name]
    maven = name == "maven"
    pipeline = hue_blend_pipeline((3, 230, 26), 0.2) if maven else _blend_pipeline(entry)
    if name == "willow":
        pipeline = pipeline.then(color_blend_pipeline((216, 205, 203)))
    for filter, amount in entry.filters:
        pipeline = pipeline.then(css_pipeline(filter, amount))
    return pipeline


def _blend_pipeline(filter: CSSgramFilter) -> LookupPipeline:
    weights = weights_of_keys(filter.gradients)
    levels = filter.blend(np.arange(256), *weights)
    shape = (len(weights[0]) if weights else 1, 3, 256)
    tables = np.broadcast_to(levels, shape).astype(np.uint8)
    return LookupPipeline(tables, gradients=filter.gradients)
