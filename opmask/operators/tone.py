r"""Tone: operators that make a photo lighter or darker, flatter or crisper.

All of them treat red, green and blue alike and have one formula for all tones. For exposure see
:mod:`opmask.operators.light`, for shadows and highlights :mod:`opmask.operators.zones`, for curves
:mod:`opmask.operators.curves`.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from opmask.color import LINEAR_RGB, RGB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import check_number

__all__ = [
    "Brightness",
    "Contrast",
    "Gamma",
    "Levels",
    "ToneMap",
    "luminance",
    "power",
]

LUMA = (0.2126, 0.7152, 0.0722)
"""The shares of red, green and blue in luminance, of ITU-R BT.709, whose primaries are sRGB's."""

DARKEST = 1 / 256
"""Below this value a power is a straight line to 0, because its slope may be infinite at 0."""

SLIDER = MaskRange(0.0, low=-1.0, high=1.0)
STOPS = MaskRange(0.0, low=-2.0, high=2.0)
OCTAVE = MaskRange(0.0, low=-1.0, high=1.0)


def luminance(image: Tensor) -> Tensor:
    """The weighted mean of red, green and blue, from (B, 3, H, W) to (B, 1, H, W)."""
    red, green, blue = image.split(1, 1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def power(image: Tensor, exponent: Tensor) -> Tensor:
    r"""A power :math:`x^p` that goes on straight below 1/256: odd, with a finite slope at 0."""
    # By logarithms, which take half the time of a power.
    return image * torch.exp2((exponent - 1) * image.clamp(min=DARKEST).log2())


class Brightness(Operator):
    r"""Bends the values between black and white up or down; black and white stay.

    .. math:: y = x + m\,x\,(1 - x)

    with :math:`x` in :math:`[0, 1]` in the second term. The mask `brightness` is a slider within 1
    of its identity 0, where the curve still rises everywhere, in :data:`opmask.RGB`.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Zero-Reference Deep Curve Estimation for Low-Light Image Enhancement (Guo et al., 2020),
          whose curve it is

    Example:
        >>> import torch
        >>> Brightness()(torch.full((1, 3, 1, 1), 0.5), torch.ones(1, 1, 1, 1)).flatten()
        tensor([0.7500, 0.7500, 0.7500])
    """

    space = RGB
    ranges = {"brightness": SLIDER}
    pixelwise = True
    unit = (100.0, "")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        inside = image.clamp(0, 1)
        return image + mask * inside * (1 - inside)


class Contrast(Operator):
    r"""Spreads values about a grey, the pivot, or draws them together.

    .. math:: y = p + m\,(x - p)

    The mask `contrast` is a factor in :math:`[0, 2]`, with the identity 1, in :data:`opmask.RGB`.
    With one mask for all channels a grey stays a grey; :class:`opmask.operators.Affine` has masks
    for each channel.

    Args:
        pivot: The grey :math:`p` that stays as it is, RGB in :math:`[0, 1]`.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `pivot` is not in :math:`[0, 1]`.

    References:
        | Filter Effects Module Level 1 (W3C, 2018), `contrast()`, whose pivot is 0.5

    Example:
        >>> import torch
        >>> half = torch.full((1, 1, 1, 1), 0.5)
        >>> Contrast(pivot=0.4)(torch.full((1, 3, 1, 1), 0.8), half).flatten()
        tensor([0.6000, 0.6000, 0.6000])
    """

    space = RGB
    ranges = {"contrast": MaskRange(1.0, low=0.0, high=2.0)}
    pixelwise = True
    unit = (100.0, "%")

    def __init__(
        self,
        *,
        pivot: float = 0.5,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        if not 0 <= check_number("pivot", pivot) <= 1:
            raise ValueError(f"'pivot' must be in [0, 1], got {pivot}.")
        self.pivot = float(pivot)
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        return image + (mask - 1) * (image - self.pivot)


class Gamma(Operator):
    r"""Raises values to a power; black and white stay.

    .. math:: y = x^{1/\gamma}, \qquad \gamma = 2^m

    and straight on below 1/256, so that gradients are finite. The mask `gamma` is in octaves,
    within 1 of its identity 0, in :data:`opmask.RGB`: 1 is a gamma of 2, and brightens.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | A Technical Introduction to Digital Video (Poynton, 1996), chapter 6

    Example:
        >>> import torch
        >>> Gamma()(torch.full((1, 3, 1, 1), 0.25), torch.ones(1, 1, 1, 1)).flatten()
        tensor([0.5000, 0.5000, 0.5000])
    """

    space = RGB
    ranges = {"gamma": OCTAVE}
    pixelwise = True
    unit = (1.0, "octaves")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        return power(image, torch.exp2(-mask))


class Levels(Operator):
    r"""Sets which values become black and white, and how those between lie.

    .. math:: y = \left( \frac{x - b}{w - b} \right)^{1/\gamma}, \qquad \gamma = 2^m

    and straight on below 1/256, in :data:`opmask.RGB`.

    ================ ========== ===================== ============================
    mask             identity   range                 unit
    ================ ========== ===================== ============================
    `black_point`    0          :math:`[-0.25, 0.25]` :math:`b`, of displayed RGB
    `gray_point`     0          :math:`[-1, 1]`       :math:`m`, octaves
    `white_point`    1          :math:`[0.75, 1.25]`  :math:`w`, of displayed RGB
    ================ ========== ===================== ============================

    Args:
        ranges: See :class:`Operator`. The white point must stay above the black point.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If the ranges of the two points meet.

    References:
        | Photoshop's dialog "Levels"

    Example:
        >>> import torch
        >>> points = torch.tensor([0.2, 0.0, 0.8]).view(1, 3, 1, 1)
        >>> Levels()(torch.tensor([0.2, 0.5, 0.8]).view(1, 3, 1, 1), points).flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """

    space = RGB
    ranges = {
        "black_point": MaskRange(0.0, low=-0.25, high=0.25),
        "gray_point": OCTAVE,
        "white_point": MaskRange(1.0, low=0.75, high=1.25),
    }
    pixelwise = True

    def __init__(self, *, ranges: Mapping[str, MaskRange] | None = None, prefix: str = "") -> None:
        super().__init__(ranges=ranges, prefix=prefix)
        black, _, white = self.ranges.values()
        if not black.high < white.low:
            raise ValueError(
                "'ranges' must keep the white point above the black point, got a black point up "
                f"to {black.high} and a white point from {white.low}."
            )

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        black, gray, white = mask.split(1, 1)
        return power((image - black) / (white - black), torch.exp2(-gray))


class ToneMap(Operator):
    r"""Compresses the range of light: lifts the dark more than the bright; black and white stay.

    .. math:: y = \frac{p\,x}{(p - 1)\,\operatorname{clamp}(x, 0, 1) + 1}, \qquad p = 2^m

    The mask `tone_map` is in stops, within 2 of its identity 0, in :data:`opmask.LINEAR_RGB`: what
    is nearly black becomes brighter by that many stops, and what is nearly white is drawn together
    as much. Below 0 it is the inverse.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Quantization Techniques for Visualization of High Dynamic Range Pictures (Schlick, 1995)

    Example:
        >>> import torch
        >>> ToneMap()(torch.full((1, 3, 1, 1), 0.5), torch.ones(1, 1, 1, 1)).flatten()
        tensor([0.6667, 0.6667, 0.6667])
    """

    space = LINEAR_RGB
    ranges = {"tone_map": STOPS}
    pixelwise = True
    unit = (1.0, "stops")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        slope = torch.exp2(mask)
        return slope * image / ((slope - 1) * image.clamp(0, 1) + 1)
