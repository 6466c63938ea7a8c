r"""Detail: operators that look at the surroundings of a pixel.

Widths are shares of the image's shorter side: what was planned on a small copy of a photo looks
the same on the photo. See :mod:`opmask.operators.smooth` for how it is smoothed.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from opmask.color import LAB, LINEAR_RGB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import check_contrast, check_share
from opmask.operators.smooth import Grid, guided, nodes_of

__all__ = ["Blur", "Clarity", "Denoise", "Sharpen"]


class Blur(Operator):
    r"""Mixes a photo with a blurred copy, as from a lens that is out of focus.

    .. math:: y = x + m\,(G * x - x)

    with :math:`G` nearly a Gaussian. The mask `blur` is the share of the blurred copy, in
    :math:`[-0.5, 1]`, with the identity 0, in :data:`opmask.LINEAR_RGB`; below 0 it sharpens.

    Args:
        radius: The standard deviation of :math:`G`, as a share of the image's shorter side; of
            small images, at least 0.8 pixels.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `radius` is not in :math:`[0.001, 0.5]`.

    References:
        | Image Processing by Interpolation and Extrapolation (Haeberli and Voorhies, 1994)

    Example:
        >>> image = torch.zeros(1, 3, 101, 101)
        >>> image[..., 50, 50] = 1.0
        >>> blurred = Blur(radius=0.05)(image, torch.ones(1, 1, 101, 101))
        >>> bool(blurred.max() < 0.01), blurred.sum().round()
        (True, tensor(3.))
    """

    space = LINEAR_RGB
    ranges = {"blur": MaskRange(0.0, low=-0.5, high=1.0)}
    unit = (100.0, "%")

    def __init__(
        self,
        *,
        radius: float = 0.02,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.radius = check_share("radius", radius)
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        grid = Grid(image, nodes_of(self.radius))
        return image + mask * (grid.spread(grid.means(image)) - image)


class Sharpen(Operator):
    r"""Makes fine detail crisper or softer, by an unsharp mask of lightness.

    .. math:: L' = L + m\,(L - G * L)

    with :math:`G` nearly a Gaussian. The mask `sharpen` is the amount, in :math:`[-1, 2]`, with
    the identity 0, in :data:`opmask.LAB`; -1 leaves the blurred lightness. Colours stay, so that
    edges get no fringes.

    Args:
        radius: The standard deviation of :math:`G`, as a share of the image's shorter side; of
            small images, at least 0.8 pixels.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `radius` is not in :math:`[0.001, 0.5]`.

    References:
        | Unsharp masking of prints (Spiegler and Juris, 1931); Photoshop's "Unsharp Mask"

    Example:
        >>> image = torch.zeros(1, 3, 64, 64)
        >>> image[:, 0, :, 32:] = 0.5
        >>> sharp = Sharpen()(image, torch.ones(1, 1, 64, 64))
        >>> bool(sharp[0, 0, :, 31].max() < -0.05), bool(sharp[0, 0, :, 32].min() > 0.55)
        (True, True)
    """

    space = LAB
    ranges = {"sharpen": MaskRange(0.0, low=-1.0, high=2.0)}
    unit = (100.0, "%")

    def __init__(
        self,
        *,
        radius: float = 0.003,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.radius = check_share("radius", radius)
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        lightness, color = image.split((1, 2), 1)
        grid = Grid(image, nodes_of(self.radius))
        detail = lightness - grid.spread(grid.means(lightness))
        return torch.cat([lightness + mask * detail, color], 1)


class Clarity(Operator):
    r"""Strengthens or flattens local contrast; strong edges get hardly a halo.

    .. math:: L' = L + m\,(L - B(L))

    with :math:`B` a guided filter, which smooths where lightness varies little and keeps edges.
    The mask `clarity` is the amount, within 1 of its identity 0, in :data:`opmask.LAB`; -1 leaves
    the smoothed lightness. Colours stay.

    Args:
        radius: How wide is smoothed: the standard deviation as a share of the image's shorter
            side; of small images, at least 0.8 pixels.
        contrast: The contrast that is halfway between local contrast and an edge, as the standard
            deviation of lightness, in units of 100 L*.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `radius` is not in :math:`[0.001, 0.5]` or `contrast` not in
            :math:`[0.001, 1]`.

    References:
        | Lightroom's slider "Clarity"; darktable's module "local contrast"
        | Guided Image Filtering (He et al., 2010), for its enhancement of detail

    Example:
        >>> image = torch.rand(1, 3, 64, 64) / 20
        >>> crisp = Clarity()(image, torch.ones(1, 1, 64, 64))
        >>> bool(crisp[:, 0].std() > 1.9 * image[:, 0].std())
        True
    """

    space = LAB
    ranges = {"clarity": MaskRange(0.0, low=-1.0, high=1.0)}
    unit = (100.0, "")

    def __init__(
        self,
        *,
        radius: float = 0.04,
        contrast: float = 0.1,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.radius = check_share("radius", radius)
        self.contrast = check_contrast("contrast", contrast)
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        lightness, color = image.split((1, 2), 1)
        base = guided(lightness, Grid(image, nodes_of(self.radius)), self.contrast)
        return torch.cat([lightness + mask * (lightness - base), color], 1)


class Denoise(Operator):
    r"""Takes out noise, and keeps edges.

    .. math:: y = x + m\,(B(x) - x)

    with :math:`B` a guided filter of each channel, which smooths what varies less than the noise.
    The mask `denoise` is the share of it, in :math:`[-0.5, 1]`, with the identity 0, in
    :data:`opmask.LAB`; below 0 it brings fine detail out.

    Args:
        radius: How wide is smoothed: the standard deviation as a share of the image's shorter
            side; of small images, at least 0.8 pixels.
        noise: The standard deviation of the noise, in units of LAB: what varies so much is
            smoothed by half.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `radius` is not in :math:`[0.001, 0.5]` or `noise` not in
            :math:`[0.001, 1]`.

    References:
        | Guided Image Filtering (He et al., 2010), with the image as its own guide

    Example:
        >>> image = 0.5 + 0.05 * torch.randn(1, 3, 64, 64)
        >>> clean = Denoise(radius=0.03, noise=0.1)(image, torch.ones(1, 1, 64, 64))
        >>> bool(clean.std() < 0.5 * image.std())
        True
    """

    space = LAB
    ranges = {"denoise": MaskRange(0.0, low=-0.5, high=1.0)}
    unit = (100.0, "%")

    def __init__(
        self,
        *,
        radius: float = 0.006,
        noise: float = 0.05,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.radius = check_share("radius", radius)
        self.noise = check_contrast("noise", noise)
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        smoothed = guided(image, Grid(image, nodes_of(self.radius)), self.noise)
        return image + mask * (smoothed - image)
