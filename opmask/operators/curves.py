r"""Curves: what maps values to values, by knots or by the controls of a colourist's desk.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from opmask.color import RGB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import check_count
from opmask.operators.tone import OCTAVE, STOPS, luminance, power

__all__ = ["CDL", "ColorCurve", "LiftGammaGain", "ToneCurve"]


class ToneCurve(Operator):
    r"""A curve from values to values that always rises, made of straight pieces.

    .. math:: y = \sum_{k=1}^{K} 2^{m_k} \operatorname{clamp}
              \left( x - \frac{k - 1}{K},\; 0,\; \frac{1}{K} \right)

    The first piece has no lower and the last no upper end. The mask `curve_k` is the slope of one
    piece, in octaves (1 is twice as steep), within 2 of its identity 0, in :data:`opmask.RGB`.
    Black stays; white moves with the sum of the slopes, so that no change of masks goes unseen.

    Args:
        knots: The number :math:`K` of pieces, from the darkest to the brightest, at least 2.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If there are fewer than 2 knots.

    References:
        | Exposure: A White-Box Photo Post-Processing Framework (Hu et al., 2018), whose curve is
          scaled so that white stays

    Example:
        >>> curve = ToneCurve(knots=2)
        >>> list(curve.ranges)
        ['curve_1', 'curve_2']
        >>> image = torch.tensor([0.25, 0.5, 1.0]).view(1, 3, 1, 1)
        >>> curve(image, torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)).flatten()
        tensor([0.5000, 1.0000, 1.2500])
    """

    space = RGB
    pixelwise = True
    unit = (1.0, "octaves")

    def __init__(
        self,
        *,
        knots: int = 8,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.knots = check_count("knots", knots, 2)
        self.ranges = {f"curve_{k}": STOPS for k in range(1, self.knots + 1)}
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        return curve(image, torch.exp2(mask))


def curve(image: Tensor, slopes: Tensor) -> Tensor:
    """A curve through 0 with given slopes between equal steps, (B, K, H, W)."""
    first, *others = slopes.split(1, 1)
    result, offset, before = first * image, torch.zeros_like(first), first
    for k, slope in enumerate(others, start=1):
        # By how much the slope changes at the knot, times how far a value is above it.
        change, knot = slope - before, k / slopes.shape[1]
        result = torch.addcmul(result, change, image.clamp(min=knot))
        offset, before = torch.add(offset, change, alpha=knot), slope
    return result - offset


class ColorCurve(Operator):
    r"""A curve of its own for each of red, green and blue.

    Each has the formula of :class:`ToneCurve`. The masks are `red_curve_1` to `red_curve_K`, then
    green and blue: slopes in octaves, within 2 of their identity 0, in :data:`opmask.RGB`.

    Args:
        knots: The number :math:`K` of pieces of each curve, at least 2.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If there are fewer than 2 knots.

    References:
        | Exposure: A White-Box Photo Post-Processing Framework (Hu et al., 2018), "color curve"

    Example:
        >>> list(ColorCurve(knots=2).ranges)[:3]
        ['red_curve_1', 'red_curve_2', 'green_curve_1']
    """

    space = RGB
    pixelwise = True
    unit = (1.0, "octaves")

    def __init__(
        self,
        *,
        knots: int = 4,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.knots = check_count("knots", knots, 2)
        channels, numbers = ("red", "green", "blue"), range(1, self.knots + 1)
        self.ranges = {f"{c}_curve_{k}": STOPS for c in channels for k in numbers}
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        slopes = torch.exp2(mask).split(self.knots, 1)
        return torch.cat([curve(x, s) for x, s in zip(image.split(1, 1), slopes, strict=True)], 1)


class LiftGammaGain(Operator):
    r"""Three wheels for each channel: lift moves black, gain white, and gamma what is between.

    .. math:: y_c = \left( g_c\,(x_c + l_c\,(1 - x_c)) \right)^{1/\gamma_c},
              \qquad \gamma_c = 2^{m_c}

    and straight on below 1/256, in :data:`opmask.RGB`. Lift leaves white, gain leaves black.

    ========================== ========== ===================== ========================
    mask                       identity   range                 unit
    ========================== ========== ===================== ========================
    `lift_red`, ... `_blue`    0          :math:`[-0.25, 0.25]` :math:`l`, displayed RGB
    `gamma_red`, ... `_blue`   0          :math:`[-1, 1]`       :math:`m`, octaves
    `gain_red`, ... `_blue`    1          :math:`[0.5, 1.5]`    :math:`g`, a factor
    ========================== ========== ===================== ========================

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | The lift, gamma and gain of film scanners and DaVinci Resolve; Blender's node "Color
          Balance" has this formula

    Example:
        >>> masks = torch.tensor([0.2, 0, 0, 0, 1, 0, 1, 1, 0.5]).view(1, 9, 1, 1)
        >>> LiftGammaGain()(torch.full((1, 3, 1, 1), 0.25), masks).flatten()
        tensor([0.4000, 0.5000, 0.1250])
    """

    space = RGB
    ranges = {
        f"{control}_{channel}": r
        for control, r in (
            ("lift", MaskRange(0.0, low=-0.25, high=0.25)),
            ("gamma", OCTAVE),
            ("gain", MaskRange(1.0, low=0.5, high=1.5)),
        )
        for channel in ("red", "green", "blue")
    }
    pixelwise = True

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        lift, gamma, gain = mask.split(3, 1)
        return power(gain * (image + lift * (1 - image)), torch.exp2(-gamma))


class CDL(Operator):
    r"""The colour decision list of film sets: slope, offset and power by channel, then saturation.

    .. math:: z_c = (s_c\,x_c + o_c)^{p_c}, \qquad y_c = Y(z) + m\,(z_c - Y(z))

    with :math:`Y` the luminance; the power goes straight on below 1/256, where the standard clamps
    at 0. The masks are the standard's own numbers, so that they can be read from and written to
    its files, in :data:`opmask.RGB`.

    ========================== ========== ===================== =======================
    mask                       identity   range                 unit
    ========================== ========== ===================== =======================
    `slope_red`, ... `_blue`   1          :math:`[0, 2]`        :math:`s`, a factor
    `offset_red`, ... `_blue`  0          :math:`[-0.25, 0.25]` :math:`o`, of RGB
    `power_red`, ... `_blue`   1          :math:`[0.5, 2]`      :math:`p`, an exponent
    `cdl_saturation`           1          :math:`[0, 2]`        :math:`m`, a factor
    ========================== ========== ===================== =======================

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | ASC Color Decision List (ASC CDL) Transfer Functions and Interchange Syntax (American
          Society of Cinematographers, version 1.2, 2009)

    Example:
        >>> masks = torch.tensor([2.0, 1, 1, 0, 0.1, 0, 1, 1, 2, 1]).view(1, 10, 1, 1)
        >>> CDL()(torch.full((1, 3, 1, 1), 0.4), masks).flatten()
        tensor([0.8000, 0.5000, 0.1600])
    """

    space = RGB
    ranges = {
        **{
            f"{control}_{channel}": r
            for control, r in (
                ("slope", MaskRange(1.0, low=0.0, high=2.0)),
                ("offset", MaskRange(0.0, low=-0.25, high=0.25)),
                ("power", MaskRange(1.0, low=0.5, high=2.0)),
            )
            for channel in ("red", "green", "blue")
        },
        "cdl_saturation": MaskRange(1.0, low=0.0, high=2.0),
    }
    pixelwise = True

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        slope, offset, exponent, saturation = mask.split((3, 3, 3, 1), 1)
        graded = power(slope * image + offset, exponent)
        return graded + (saturation - 1) * (graded - luminance(graded))
