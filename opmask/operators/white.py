r"""White balance: how a scene would look under another light, by chromatic adaptation.

The mask moves the white of sRGB, D65, in the plane of CIE 1960 (u, v): along the colours of
glowing bodies for temperature, across them for tint. Whatever was white takes the colour of the
new white, with the same luminance, and other colours follow by the method of Bradford.

Data flow: `(image, mask)`, in linear RGB, `-> image`.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from opmask.color import LINEAR_RGB
from opmask.operators.base import MaskRange, Operator

__all__ = ["Temperature", "Tint", "adapt", "planckian"]

T = TypeVar("T", float, Tensor)

_RGB_TO_XYZ = torch.tensor(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    dtype=torch.float64,
    device="cpu",
)
"""Linear sRGB to CIE XYZ (IEC 61966-2-1, 1999)."""

_BRADFORD = torch.tensor(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]],
    dtype=torch.float64,
    device="cpu",
)
"""CIE XYZ to the responses of cones (Lam, 1985)."""

XYZ_TO_CONES = _BRADFORD.tolist()
TO_CONES = (_BRADFORD @ _RGB_TO_XYZ).tolist()
FROM_CONES = (_BRADFORD @ _RGB_TO_XYZ).inverse().tolist()

MIRED = 1e6 / 6504
"""The colour temperature of D65, in mired, which is a million over kelvins."""

_X, _Y, _Z = _RGB_TO_XYZ.sum(1).tolist()
WHITE = 4 * _X / (_X + 15 * _Y + 3 * _Z), 6 * _Y / (_X + 15 * _Y + 3 * _Z)
"""D65 as (u, v)."""

TINT = 0.03
"""What a tint of 1 is, as a distance in (u, v)."""


def planckian(mired: Tensor) -> tuple[Tensor, Tensor]:
    r"""The colour of a glowing body, within 1e-4 from 67 to 1000 mired.

    Args:
        mired: The temperature, in mired, of any shape.

    Returns:
        The coordinates u and v of CIE 1960, each with the shape of `mired`.

    References:
        | An Algorithm to Calculate Correlated Colour Temperature (Krystek, 1985), with fractions
          expanded by the square of the temperature

    Example:
        >>> u, v = planckian(torch.tensor(1e6 / 2856))  # a light bulb
        >>> round(u.item(), 3), round(v.item(), 3)
        (0.256, 0.35)
    """
    square = mired * mired
    u = (0.860117757 * square + 154.118254 * mired + 128641.212) / (
        square + 842.420235 * mired + 708145.163
    )
    v = (0.317398726 * square + 42.2806245 * mired + 42048.1691) / (
        square - 28.9741816 * mired + 161456.053
    )
    return u, v


_ON_LOCUS = tuple(
    c.item() for c in planckian(torch.tensor(MIRED, dtype=torch.float64, device="cpu"))
)
_AHEAD = tuple(
    c.item() for c in planckian(torch.tensor(MIRED + 1, dtype=torch.float64, device="cpu"))
)
_SLOPE = math.atan2(_AHEAD[1] - _ON_LOCUS[1], _AHEAD[0] - _ON_LOCUS[0])
ACROSS = math.sin(_SLOPE), -math.cos(_SLOPE)
"""The direction in (u, v) across the colours of glowing bodies, from green to magenta."""


def transform(image: Tensor, matrix: list[list[float]]) -> Tensor:
    """Mixes the channels of each pixel by a matrix of 3x3."""
    red, green, blue = image.split(1, 1)
    return torch.cat([r * red + g * green + b * blue for r, g, b in matrix], 1)


def cones(u: T, v: T) -> list[T]:
    """The responses of cones to a white of luminance 1."""
    x, z = 1.5 * u / v, (4 - u - 10 * v) / (2 * v)
    return [r[0] * x + r[1] + r[2] * z for r in XYZ_TO_CONES]


def adapt(image: Tensor, u: Tensor, v: Tensor) -> Tensor:
    r"""Gives what is white another white, and adapts all other colours.

    Args:
        image: The image, with shape :math:`(B, 3, H, W)`, linear RGB.
        u: The first coordinate of the new white in CIE 1960, with shape :math:`(B, 1, H, W)`.
        v: The second one, likewise.

    Returns:
        The image, with its shape, linear RGB.

    References:
        | Metamerism and Colour Constancy (Lam, 1985), the linear form of Bradford's method

    Example:
        >>> u, v = (torch.full((1, 1, 1, 1), c) for c in (0.2092, 0.3254))  # D50
        >>> adapt(torch.ones(1, 3, 1, 1), u, v).flatten()
        tensor([1.1766, 0.9756, 0.7217])
    """
    gains = [new / old - 1 for new, old in zip(cones(u, v), cones(*WHITE), strict=True)]
    return image + transform(transform(image, TO_CONES) * torch.cat(gains, 1), FROM_CONES)


class Temperature(Operator):
    r"""Makes the light warmer or colder.

    .. math:: w = w_{D65} + p(153.8 + 100\,m) - p(153.8)

    with :math:`p` the colour of a glowing body (Krystek, 1985) in CIE 1960 (u, v) and :math:`w`
    the new white, to which all colours are adapted (Lam, 1985). The mask `temperature` is in
    hundreds of mired, within 1 of its identity 0, in :data:`opmask.LINEAR_RGB`. Above 0 it warms,
    as a filter of positive mired does: 1 is D65 seen as 3940 kelvins, -1 as 18600.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Colorimetry (CIE 15, 2004), for D65 and (u, v); Kodak Wratten filters, in mired: 85
          shifts by +112, 80A by -131
        | An Algorithm to Calculate Correlated Colour Temperature (Krystek, 1985)
        | Metamerism and Colour Constancy (Lam, 1985), known as the method of Bradford

    Example:
        >>> Temperature()(torch.full((1, 3, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.5)).flatten()
        tensor([0.5931, 0.4869, 0.3559])
    """

    space = LINEAR_RGB
    ranges = {"temperature": MaskRange(0.0, low=-1.0, high=1.0)}
    pixelwise = True
    unit = (100.0, "mired")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        u, v = planckian(MIRED + 100 * mask)
        return adapt(image, WHITE[0] + (u - _ON_LOCUS[0]), WHITE[1] + (v - _ON_LOCUS[1]))


class Tint(Operator):
    r"""Makes the light more magenta or more green.

    .. math:: w = w_{D65} + 0.03\,m\,n

    with :math:`n` the unit vector across the colours of glowing bodies at D65, in CIE 1960 (u, v),
    towards magenta, and :math:`w` the new white, as for :class:`Temperature`. The mask `tint` is a
    slider within 1 of its identity 0, in :data:`opmask.LINEAR_RGB`; 1 is a Duv of -0.03, about the
    distance of a bad fluorescent lamp.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Specifications for the Chromaticity of Solid-State Lighting Products (ANSI C78.377,
          2008), for Duv

    Example:
        >>> Tint()(torch.full((1, 3, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.5)).flatten()
        tensor([0.6022, 0.4609, 0.5867])
    """

    space = LINEAR_RGB
    ranges = {"tint": MaskRange(0.0, low=-1.0, high=1.0)}
    pixelwise = True
    unit = (100.0, "")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        du, dv = (TINT * c for c in ACROSS)
        return adapt(image, WHITE[0] + du * mask, WHITE[1] + dv * mask)
