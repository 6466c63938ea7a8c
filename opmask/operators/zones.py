r"""Tonal ranges: operators on shadows, mid-tones and highlights apart.

Which range a pixel belongs to is said by smooth weights of its lightness or luminance, whose sum
is 1, so that masks of neighbouring ranges blend without a seam.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from opmask.color import LAB, RGB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import check_count
from opmask.operators.tone import luminance

__all__ = [
    "Blacks",
    "ColorBalance",
    "Highlights",
    "Midtones",
    "Shadows",
    "Whites",
]


NARROWEST = 12
"""The highest degree with which lightness rises everywhere for masks up to 0.5."""


class _LightnessRange(Operator):
    """Moves one of the control points of a Bézier curve of the lightness."""

    space = LAB
    pixelwise = True
    unit = (100.0, "L*")
    degree: int = 4
    """The degree of the curve."""
    point: int
    """The number of the control point, from 0 at black; negative ones count from white."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        lightness, a, b = image.split(1, 1)
        inside, n = lightness.clamp(0, 1), self.degree
        k = self.point % (n + 1)
        weight = math.comb(n, k) * inside**k * (1 - inside) ** (n - k)
        return torch.cat([lightness + mask * weight, a, b], 1)


class Blacks(_LightnessRange):
    r"""Raises or lowers the blackest lightness; white stays.

    .. math:: L' = L + m\,(1 - L)^4

    The mask `blacks` is the new lightness of black, within 0.25 (25 units of L*) of its identity
    0, in :data:`opmask.LAB`. A photo with raised blacks looks faded, as a matte print does.

    Args:
        ranges: See :class:`Operator`. Beyond 0.25 lightness no longer rises everywhere.
        prefix: See :class:`Operator`.

    References:
        | Lightroom's slider "Blacks"; the weights of the five tonal ranges are Bernstein
          polynomials (Bernstein, 1912), whose sum is 1

    Example:
        >>> Blacks()(torch.zeros(1, 3, 1, 1), torch.full((1, 1, 1, 1), 0.1)).flatten()
        tensor([0.1000, 0.0000, 0.0000])
    """

    ranges = {"blacks": MaskRange(0.0, low=-0.25, high=0.25)}
    point = 0


class Shadows(_LightnessRange):
    r"""Lifts or deepens shadows; black and white stay.

    .. math:: L' = L + n\,m\,L\,(1 - L)^{n - 1}

    The mask `shadows` moves the second of :math:`n + 1` control points of a curve of lightness, in
    units of 100 L*, with the identity 0; most is changed at L* = 100/n, 25 by default, and there
    by about 0.4 of the mask. In the range :math:`[-1/n, 0.5]` lightness still rises everywhere. In
    :data:`opmask.LAB`.

    Args:
        degree: The degree :math:`n`, from 2 to 12: how narrow the tonal range is.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `degree` is not from 2 to 12.

    References:
        | Lightroom's slider "Shadows"; see :class:`Blacks` for the weights

    Example:
        >>> image = torch.tensor([0.25, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> Shadows()(image, torch.full((1, 1, 1, 1), 0.5)).flatten()
        tensor([0.4609, 0.0000, 0.0000])
    """

    point = 1

    def __init__(
        self,
        *,
        degree: int = 4,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.degree = check_count("degree", degree, 2, NARROWEST)
        self.ranges = {"shadows": MaskRange(0.0, low=-1 / self.degree, high=0.5)}
        super().__init__(ranges=ranges, prefix=prefix)


class Midtones(_LightnessRange):
    r"""Lifts or deepens the lightness halfway between black and white, which stay.

    .. math:: L' = L + 6\,m\,L^2\,(1 - L)^2

    The mask `midtones` moves the third of five control points of a curve of lightness, in units of
    100 L*, within 0.3 of its identity 0; most is changed at L* = 50, by 0.37 of the mask. In
    :data:`opmask.LAB`.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | darktable's module "color balance", mid-tones; see :class:`Blacks` for the weights

    Example:
        >>> image = torch.tensor([0.5, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> Midtones()(image, torch.full((1, 1, 1, 1), 0.2)).flatten()
        tensor([0.5750, 0.0000, 0.0000])
    """

    ranges = {"midtones": MaskRange(0.0, low=-0.3, high=0.3)}
    point = 2


class Highlights(_LightnessRange):
    r"""Recovers or brightens highlights; black and white stay.

    .. math:: L' = L + n\,m\,L^{n - 1}\,(1 - L)

    The mask `highlights` moves the last but one of :math:`n + 1` control points of a curve of
    lightness, in units of 100 L*, with the identity 0; most is changed at L* = 100 - 100/n, 75 by
    default, and there by about 0.4 of the mask. In the range :math:`[-0.5, 1/n]` lightness still
    rises everywhere. In :data:`opmask.LAB`.

    Args:
        degree: The degree :math:`n`, from 2 to 12: how narrow the tonal range is.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `degree` is not from 2 to 12.

    References:
        | Lightroom's slider "Highlights"; see :class:`Blacks` for the weights

    Example:
        >>> image = torch.tensor([0.75, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> Highlights()(image, torch.full((1, 1, 1, 1), -0.5)).flatten()
        tensor([0.5391, 0.0000, 0.0000])
    """

    point = -2

    def __init__(
        self,
        *,
        degree: int = 4,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.degree = check_count("degree", degree, 2, NARROWEST)
        self.ranges = {"highlights": MaskRange(0.0, low=-0.5, high=1 / self.degree)}
        super().__init__(ranges=ranges, prefix=prefix)


class Whites(_LightnessRange):
    r"""Raises or lowers the whitest lightness; black stays.

    .. math:: L' = L + m\,L^4

    The mask `whites` is how far the lightness of white moves, within 0.25 (25 units of L*) of its
    identity 0, in :data:`opmask.LAB`.

    Args:
        ranges: See :class:`Operator`. Below -0.25 lightness no longer rises everywhere.
        prefix: See :class:`Operator`.

    References:
        | Lightroom's slider "Whites"; see :class:`Blacks` for the weights

    Example:
        >>> image = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> Whites()(image, torch.full((1, 1, 1, 1), -0.2)).flatten()
        tensor([0.8000, 0.0000, 0.0000])
    """

    ranges = {"whites": MaskRange(0.0, low=-0.25, high=0.25)}
    point = -1


class ColorBalance(Operator):
    r"""Shifts red, green and blue in shadows, mid-tones and highlights apart.

    .. math:: y_c = x_c + (1 - t)^2\, m_{1,c} + 2 t (1 - t)\, m_{2,c} + t^2\, m_{3,c}

    with :math:`t` the luminance of the displayed values, in :math:`[0, 1]`. The nine masks
    `shadows_red`, `shadows_green` and so on to `highlights_blue` are in units of displayed RGB,
    within 0.5 of their identity 0, in :data:`opmask.RGB`.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Photoshop's dialog "Color Balance", without "Preserve Luminosity"

    Example:
        >>> masks = torch.zeros(1, 9, 1, 1)
        >>> masks[:, 0] = 0.4  # shadows_red
        >>> ColorBalance()(torch.full((1, 3, 1, 1), 0.5), masks).flatten()
        tensor([0.6000, 0.5000, 0.5000])
    """

    space = RGB
    ranges = {
        f"{tones}_{channel}": MaskRange(0.0, low=-0.5, high=0.5)
        for tones in ("shadows", "midtones", "highlights")
        for channel in ("red", "green", "blue")
    }
    pixelwise = True
    unit = (100.0, "%")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        t = luminance(image).clamp(0, 1)
        shadows, midtones, highlights = mask.split(3, 1)
        return image + (1 - t) ** 2 * shadows + 2 * t * (1 - t) * midtones + t**2 * highlights
