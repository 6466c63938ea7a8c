r"""In which numbers composites are put together, degraded and resized.

A :class:`Compositing` is two conversions and a resize. There are three: opmask's own, exact one,
and the two of the reference code, whose losses are part of its data.

8-bit RGB -> ``to_codes`` -> degradation -> ``resize`` -> ``to_rgb`` -> float RGB, for
:func:`opmask.perturb.composite.composite`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.color import LAB_UNIT
from opmask.color.opencv_lab import rgb_to_lab8
from opmask.perturb.resize import (
    resize_bilinear_opencv,
    resize_levels_opencv,
    resize_nearest,
)

Planes = tuple[Tensor, Tensor, Tensor]


class Resize(Protocol):
    r"""Resizes composite and real, with shape :math:`(*, 3, H, W)`, and the region."""

    def __call__(
        self, composite: Tensor, real: Tensor, region: Tensor, size: int, *, compile: bool = False
    ) -> Planes:
        """The three of them, resized to a square; compiled, they have the same bits."""


@dataclass(frozen=True)
class Compositing:
    r"""A way to put composites together, as three functions.

    The functions must be defined at module level, so that records pickle.

    Args:
        name: The name by which records know it.
        to_codes: Maps RGB, ``uint8``, to 8-bit codes of the same shape.
        resize: Maps the codes of composite and real and the region to a given height and width;
            the codes may become fractions.
        to_rgb: Maps codes, perhaps fractions, to RGB, ``float32``, without clipping.

    Example:
        >>> RGB_ANTIALIASED
        Compositing(name='rgb-antialiased')
    """

    name: str
    to_codes: Callable[[Tensor], Tensor] = field(repr=False)
    resize: Resize = field(repr=False)
    to_rgb: Callable[[Tensor], Tensor] = field(repr=False)


def _same(image: Tensor) -> Tensor:
    return image


def _resize_antialiased(
    composite: Tensor, real: Tensor, region: Tensor, size: int, *, compile: bool = False
) -> Planes:
    pair = torch.stack([composite, real]).float()
    images = pair.view(-1, *pair.shape[-3:])
    resized = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    resized = resized.clamp(0, 255)  # rounding can leave the range by a hair
    first, second = resized.view(*pair.shape[:-2], size, size).unbind()
    return first, second, resize_nearest(region, size)


def _resize_opencv(
    composite: Tensor, real: Tensor, region: Tensor, size: int, *, compile: bool = False
) -> Planes:
    # D-35: real is rounded to 8 bits again and the composite is not, so that they differ by up to
    # 0.75 of a code even where nothing was changed.
    real = resize_bilinear_opencv(real, size, compile=compile)
    composite = resize_levels_opencv(composite, size)
    # D-12: the region gets soft edges.
    return composite, real, resize_levels_opencv(region.to(torch.uint8), size, torch.float32)


def _rgb_codes_to_rgb(codes: Tensor) -> Tensor:
    # CUDA would multiply by the reciprocal of a plain number, and k * (1/255) is not k/255.
    return codes.float() / torch.full((), 255.0, device=codes.device)


def _lab_codes_to_rgb(codes: Tensor) -> Tensor:
    lab = codes.float() / 255
    if codes.is_cuda or codes.ndim == 3:
        return LAB_UNIT.to_rgb(lab)
    # A CPU may round the last pixels of a tensor otherwise: batches must not show in the bits.
    return torch.stack([LAB_UNIT.to_rgb(image) for image in lab])


RGB_ANTIALIASED = Compositing("rgb-antialiased", _same, _resize_antialiased, _rgb_codes_to_rgb)
"""Exact RGB; composite and real go through the same antialiased resize, and the region stays 0
or 1."""

RGB_OPENCV = Compositing("rgb-opencv", _same, _resize_opencv, _rgb_codes_to_rgb)
"""The reference code's, for RGB models. It resizes as OpenCV does, without antialiasing; only real
is rounded to 8 bits after that, and the region gets soft edges."""

LAB8_OPENCV = Compositing("lab8-opencv", rgb_to_lab8, _resize_opencv, _lab_codes_to_rgb)
"""The reference code's, for operator-mask models. As :data:`RGB_OPENCV`, but all in the 8-bit LAB
codes of OpenCV, which degradations take for RGB. The RGB that comes out is not clipped."""

COMPOSITINGS: tuple[Compositing, ...] = (RGB_ANTIALIASED, RGB_OPENCV, LAB8_OPENCV)
"""Those that a record can name."""
