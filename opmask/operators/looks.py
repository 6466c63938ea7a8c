r"""Looks: coloured glass, prints and film processes, mixed into a photo as far as a mask says.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from opmask.color import LAB, LINEAR_RGB, RGB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import Color, as_triple, check_color
from opmask.operators.tone import luminance
from opmask.operators.white import transform

__all__ = ["BleachBypass", "Duotone", "PhotoFilter", "Sepia", "SplitToning"]

MIX = MaskRange(0.0, low=-0.5, high=1.0)
"""How much of a look; below 0 a photo is moved away from it."""


class PhotoFilter(Operator):
    r"""Puts a coloured glass before the lens; whites keep their luminance.

    .. math:: y_c = x_c\,\frac{f_c^{\,m}}{Y(f^m)}

    with :math:`f` the filter's colour as linear light, each channel at least 0.02. The mask
    `photo_filter` is the density of the glass, within 1 of its identity 0, in
    :data:`opmask.LINEAR_RGB`; below 0 it is a glass of the opposite colour.

    Args:
        color: The filter's colour, a triple of red, green and blue in :math:`[0, 1]`, as
            displayed. The default is the orange of a warming filter.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `color` is no colour.

    References:
        | Beer and Lambert's law, for the density; Photoshop's "Photo Filter", for the colour of
          its "Warming Filter (85)" and the luminance

    Example:
        >>> PhotoFilter()(torch.full((1, 3, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.2)).flatten()
        tensor([0.6172, 0.4861, 0.2924])
    """

    space = LINEAR_RGB
    ranges = {"photo_filter": MaskRange(0.0, low=-1.0, high=1.0)}
    pixelwise = True
    unit = (100.0, "%")

    def __init__(
        self,
        *,
        color: tuple[float, float, float] = (236 / 255, 138 / 255, 0.0),
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.color = as_triple(check_color("color", color))
        super().__init__(ranges=ranges, prefix=prefix)
        shown = torch.tensor(self.color, dtype=torch.float64, device="cpu").view(1, 3, 1, 1)
        light = LINEAR_RGB.from_rgb(shown).clamp(min=0.02)
        self.densities = light.log().flatten().tolist()

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        glass = torch.cat([torch.exp(mask * density) for density in self.densities], 1)
        return image * (glass / luminance(glass))


class Sepia(Operator):
    r"""Mixes a photo with its brown print.

    .. math:: y = x + m\,(S x - x)

    with :math:`S` the matrix of the standard. The mask `sepia` is a share in :math:`[-0.5, 1]`,
    with the identity 0, in :data:`opmask.RGB`; below 0 it takes some sepia out.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Filter Effects Module Level 1 (W3C, 2018), `sepia()`

    Example:
        >>> Sepia()(torch.full((1, 3, 1, 1), 0.5), torch.ones(1, 1, 1, 1)).flatten()
        tensor([0.6755, 0.6015, 0.4685])
    """

    space = RGB
    ranges = {"sepia": MIX}
    pixelwise = True
    unit = (100.0, "%")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        matrix = [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]
        return image + mask * (transform(image, matrix) - image)


class Duotone(Operator):
    r"""Mixes a photo with a print in two inks, one for the dark and one for the bright.

    .. math:: y = x + m\,(d + Y\,(b - d) - x)

    with :math:`Y` the luminance of the displayed values. The mask `duotone` is a share in
    :math:`[-0.5, 1]`, with the identity 0, in :data:`opmask.RGB`.

    Args:
        dark: The colour :math:`d` of black, a grey or a triple of red, green and blue, in
            :math:`[0, 1]`.
        bright: The colour :math:`b` of white, likewise. The defaults are a dark blue and cream.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `dark` or `bright` is no colour.

    References:
        | Duotone printing; Photoshop's "Gradient Map" of two colours

    Example:
        >>> operator = Duotone(dark=(0.0, 0.0, 0.2), bright=1.0)
        >>> operator(torch.full((1, 3, 1, 1), 0.5), torch.ones(1, 1, 1, 1)).flatten()
        tensor([0.5000, 0.5000, 0.6000])
    """

    space = RGB
    ranges = {"duotone": MIX}
    pixelwise = True
    unit = (100.0, "%")

    def __init__(
        self,
        *,
        dark: Color = (0.05, 0.08, 0.3),
        bright: Color = (1.0, 0.95, 0.8),
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.dark, self.bright = check_color("dark", dark), check_color("bright", bright)
        self.inks = list(zip(as_triple(self.dark), as_triple(self.bright), strict=True))
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        y = luminance(image)
        printed = torch.cat([d + y * (b - d) for d, b in self.inks], 1)
        return image + mask * (printed - image)


class BleachBypass(Operator):
    r"""Leaves the silver in the film: the photo is overlaid with its own black and white.

    .. math:: y = x + m\,(o - x), \qquad o = 2 Y \min(x, \tfrac12)
              + 2 (1 - Y) (\max(x, \tfrac12) - \tfrac12)

    with :math:`Y` the luminance of the displayed values, in :math:`[0, 1]`: less colour and more
    contrast. The mask `bleach_bypass` is a share in :math:`[-0.5, 1]`, with the identity 0, in
    :data:`opmask.RGB`.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | The film process of that name; Compositing and Blending Level 1 (W3C, 2015), `overlay`

    Example:
        >>> image = torch.tensor([0.25, 0.25, 0.25]).view(1, 3, 1, 1)
        >>> BleachBypass()(image, torch.ones(1, 1, 1, 1)).flatten()
        tensor([0.1250, 0.1250, 0.1250])
    """

    space = RGB
    ranges = {"bleach_bypass": MIX}
    pixelwise = True
    unit = (100.0, "%")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        y = luminance(image).clamp(0, 1)
        overlaid = 2 * y * image.clamp(max=0.5) + 2 * (1 - y) * (image.clamp(min=0.5) - 0.5)
        return image + mask * (overlaid - image)


class SplitToning(Operator):
    r"""Gives shadows and highlights a tint each; lightness stays.

    .. math:: y_c = x_c + (1 - t)^2\, m_{1,c} + t^2\, m_{2,c}, \qquad c \in \{a, b\}

    with :math:`t` the lightness, in :math:`[0, 1]`. The four masks `split_shadows_a`,
    `split_shadows_b`, `split_highlights_a` and `split_highlights_b` are in units of
    :data:`opmask.LAB`, 128 of a* and b*, within 0.25 of their identity 0.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Toning of black-and-white prints; Lightroom's panel "Split Toning"

    Example:
        >>> image = torch.tensor([0.5, 0.0, 0.0]).view(1, 3, 1, 1)
        >>> masks = torch.tensor([0.0, -0.2, 0.0, 0.1]).view(1, 4, 1, 1)
        >>> SplitToning()(image, masks).flatten()
        tensor([ 0.5000,  0.0000, -0.0250])
    """

    space = LAB
    ranges = {
        f"split_{tones}_{channel}": MaskRange(0.0, low=-0.25, high=0.25)
        for tones in ("shadows", "highlights")
        for channel in ("a", "b")
    }
    pixelwise = True
    unit = (128.0, "")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        lightness, color = image.split((1, 2), 1)
        t = lightness.clamp(0, 1)
        shadows, highlights = mask.split(2, 1)
        return torch.cat([lightness, color + (1 - t) ** 2 * shadows + t**2 * highlights], 1)
