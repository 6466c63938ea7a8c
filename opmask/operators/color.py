r"""Colour: operators on saturation and hue, of all colours or of some, and mixes of channels.

For the colour of the light see :mod:`opmask.operators.white`, for colours by tonal range
:mod:`opmask.operators.zones`, for looks :mod:`opmask.operators.looks`.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from opmask.color import LAB, LINEAR_RGB, RGB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.tone import LUMA, luminance

__all__ = [
    "ChannelMixer",
    "HueRotate",
    "Saturation",
    "SelectiveColor",
    "Vibrance",
]

FACTOR = MaskRange(1.0, low=0.0, high=2.0)
SLIDER = MaskRange(0.0, low=-1.0, high=1.0)


class Saturation(Operator):
    r"""Moves colours away from the grey of their luminance, or towards it.

    .. math:: y = Y + m\,(x - Y), \qquad Y = 0.2126\,r + 0.7152\,g + 0.0722\,b

    The mask `saturation` is a factor in :math:`[0, 2]`, with the identity 1, in
    :data:`opmask.RGB`. 0 gives greys.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | ASC Color Decision List (American Society of Cinematographers, 2009), saturation

    Example:
        >>> image = torch.tensor([0.6, 0.5, 0.5]).view(1, 3, 1, 1)
        >>> Saturation()(image, torch.zeros(1, 1, 1, 1)).flatten()
        tensor([0.5213, 0.5213, 0.5213])
    """

    space = RGB
    ranges = {"saturation": FACTOR}
    pixelwise = True
    unit = (100.0, "%")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        return image + (mask - 1) * (image - luminance(image))


class Vibrance(Operator):
    r"""Saturates dull colours more than vivid ones.

    .. math:: y = x + m\,(1 - C)\,(x - Y), \qquad C = \operatorname{clamp}(\max_c x_c - \min_c x_c,
              0, 1)

    with :math:`Y` the luminance. The mask `vibrance` is a slider within 1 of its identity 0, in
    :data:`opmask.RGB`: 1 nearly doubles the saturation of dull colours.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Lightroom's slider "Vibrance"; darktable's module of that name
        | Neural Color Operators for Sequential Image Retouching (Wang et al., 2022), where it is
          one of three operators

    Example:
        >>> image = torch.tensor([0.6, 0.5, 0.5]).view(1, 3, 1, 1)
        >>> Vibrance()(image, torch.ones(1, 1, 1, 1)).flatten()
        tensor([0.6709, 0.4809, 0.4809])
    """

    space = RGB
    ranges = {"vibrance": SLIDER}
    pixelwise = True
    unit = (100.0, "")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        chroma = (image.amax(1, keepdim=True) - image.amin(1, keepdim=True)).clamp(0, 1)
        return image + mask * (1 - chroma) * (image - luminance(image))


class HueRotate(Operator):
    r"""Turns all hues, and keeps lightness and chroma as people see them.

    .. math:: (a', b') = (a \cos\varphi - b \sin\varphi,\; a \sin\varphi + b \cos\varphi),
              \qquad \varphi = 2\pi m

    The mask `hue_rotate` is in turns, within half a turn of its identity 0, in :data:`opmask.LAB`.
    Unlike with :class:`opmask.operators.HueShift` a yellow does not become a dark blue.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Colorimetry (CIE 15, 2004), for hue and chroma

    Example:
        >>> image = torch.tensor([0.5, 0.2, 0.0]).view(1, 3, 1, 1)
        >>> HueRotate()(image, torch.full((1, 1, 1, 1), 0.25)).flatten()
        tensor([ 0.5000, 0.0000, 0.2000])
    """

    space = LAB
    ranges = {"hue_rotate": MaskRange(0.0, low=-0.5, high=0.5)}
    pixelwise = True
    unit = (360.0, "°")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        lightness, a, b = image.split(1, 1)
        cosine, sine = torch.cos(2 * math.pi * mask), torch.sin(2 * math.pi * mask)
        return torch.cat([lightness, a * cosine - b * sine, a * sine + b * cosine], 1)


class ChannelMixer(Operator):
    r"""Mixes new channels of the old ones, by a matrix for each pixel.

    .. math:: y_c = \sum_d m_{c,d}\,x_d

    The nine masks `red_from_red`, `red_from_green` and so on to `blue_from_blue` are shares within
    1 of their identity, 1 for a channel's own and 0 for the others, in :data:`opmask.LINEAR_RGB`.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Photoshop's "Channel Mixer"; darktable's module "channel mixer"

    Example:
        >>> swap = torch.tensor([0.0, 1, 0, 1, 0, 0, 0, 0, 1]).view(1, 9, 1, 1)
        >>> ChannelMixer()(torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1), swap).flatten()
        tensor([0.2000, 0.1000, 0.3000])
    """

    space = LINEAR_RGB
    ranges = {
        f"{c}_from_{d}": FACTOR if c == d else SLIDER
        for c in ("red", "green", "blue")
        for d in ("red", "green", "blue")
    }
    pixelwise = True
    unit = (100.0, "%")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        return torch.cat([(image * row).sum(1, keepdim=True) for row in mask.split(3, 1)], 1)


BANDS = {
    "reds": (1, 0, 0),
    "yellows": (1, 1, 0),
    "greens": (0, 1, 0),
    "cyans": (0, 1, 1),
    "blues": (0, 0, 1),
    "magentas": (1, 0, 1),
}
"""The pure colour of each hue band, around the circle."""


class SelectiveColor(Operator):
    r"""Changes hue, saturation and lightness of six hue bands apart from each other.

    Each colour is a grey and at most two of the six pure colours :math:`q_k`, red, yellow, green,
    cyan, blue and magenta, by amounts :math:`a_k` that follow from its channels:

    .. math:: x = \min_c x_c + \sum_k a_k\,q_k, \qquad
              y = x + \sum_k a_k \left( m_{k,h}\,\frac{q_{k+1} - q_{k-1}}{2}
              + m_{k,s}\,(q_k - Y(q_k)) + m_{k,l} \right)

    with :math:`Y` the luminance. The masks `reds_hue`, `reds_saturation`, `reds_lightness` and so
    on to `magentas_lightness` are sliders within 1 of their identity 0, in :data:`opmask.RGB`.
    Greys stay. Hue moves towards the next band above 0, such as reds to yellow; a saturation of -1
    leaves the grey of the band's luminance; a lightness of 1 adds as much light as the band has.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Photoshop's "Selective Color", which finds its bands by such amounts; the panel "HSL" of
          Lightroom, for the controls

    Example:
        >>> operator = SelectiveColor()
        >>> list(operator.ranges)[:3]
        ['reds_hue', 'reds_saturation', 'reds_lightness']
        >>> masks = torch.zeros(1, 18, 1, 1)
        >>> masks[:, 0] = 0.5
        >>> operator(torch.tensor([0.8, 0.2, 0.2]).view(1, 3, 1, 1), masks).flatten()
        tensor([0.8000, 0.3500, 0.0500])
    """

    space = RGB
    ranges = {
        f"{band}_{change}": SLIDER
        for band in BANDS
        for change in ("hue", "saturation", "lightness")
    }
    pixelwise = True
    unit = (100.0, "")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        colors, parts = list(BANDS.values()), mask.split(3, 1)
        planes, grey = list(image.split(1, 1)), torch.zeros_like(image[:, :1])
        for k, (amount, part) in enumerate(zip(band_amounts(image), parts, strict=True)):
            hue, saturation, lightness = (amount * part).split(1, 1)
            before, after = colors[k - 1], colors[(k + 1) % 6]
            own = sum(share * value for share, value in zip(LUMA, colors[k], strict=True))
            grey = torch.add(grey + lightness, saturation, alpha=-own)
            for c in range(3):
                if colors[k][c]:
                    planes[c] = planes[c] + saturation
                if after[c] != before[c]:
                    planes[c] = torch.add(planes[c], hue, alpha=(after[c] - before[c]) / 2)
        return torch.cat(planes, 1) + grey


def band_amounts(image: Tensor) -> list[Tensor]:
    """How much of each pure colour of `BANDS` each pixel has, each with shape (B, 1, H, W)."""
    r, g, b = image.split(1, 1)
    pairs = [
        (r, torch.maximum(g, b)),
        (torch.minimum(r, g), b),
        (g, torch.maximum(r, b)),
        (torch.minimum(g, b), r),
        (b, torch.maximum(r, g)),
        (torch.minimum(r, b), g),
    ]
    return [(more - less).clamp(min=0) for more, less in pairs]
