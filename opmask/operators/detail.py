r"""Detail: operators that look at the surroundings of a pixel, and grain.

Widths are shares of the image's shorter side: what was planned on a small copy of a photo looks
the same on the photo. See :mod:`opmask.operators.smooth` for how it is smoothed.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from opmask.color import LAB, LINEAR_RGB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.smooth import Grid, centred, check_share, guided, nodes_of, shorter_side

__all__ = ["Blur", "Clarity", "Denoise", "Grain", "Relight", "Sharpen"]


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


def check_contrast(name: str, value: float) -> float:
    """A standard deviation of a channel, from a thousandth to 1."""
    if not 0.001 <= value <= 1:
        raise ValueError(f"'{name}' must be in [0.001, 1], got {value}.")
    return value


class Relight(Operator):
    r"""Lays a soft shadow or a soft light over a photo, whatever the edges of its mask.

    .. math:: y = 2^{G * m}\,x

    with :math:`G` nearly a Gaussian. The mask `relight` is in stops, within 2 of its identity 0,
    in :data:`opmask.LINEAR_RGB`. Light falls off around a region by itself, because the mask is
    smoothed here, and a network cannot paint detail with it.

    Args:
        softness: The standard deviation of :math:`G`, as a share of the image's shorter side; of
            small images, at least 0.8 pixels.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `softness` is not in :math:`[0.001, 0.5]`.

    References:
        | Dodging and burning of prints under the enlarger: The Print (Adams, 1950)

    Example:
        >>> mask = torch.zeros(1, 1, 64, 64)
        >>> mask[..., 32:] = -1.0  # a shadow on the right
        >>> lit = Relight()(torch.full((1, 3, 64, 64), 0.5), mask)
        >>> lit[0, 0, 0, [0, 31, 63]].round(decimals=1)
        tensor([0.5000, 0.4000, 0.2000])
    """

    space = LINEAR_RGB
    ranges = {"relight": MaskRange(0.0, low=-2.0, high=2.0)}
    spreads = True
    unit = (1.0, "stops")

    def __init__(
        self,
        *,
        softness: float = 0.05,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.softness = check_share("softness", softness)
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        grid = Grid(mask, nodes_of(self.softness))
        return image * torch.exp2(grid.spread(grid.means(mask)))


PERIOD = 512
"""After how many grains they repeat."""


class Grain(Operator):
    r"""Adds the grain of film, the same at every size of a photo.

    .. math:: L' = L + 4\,L\,(1 - L)\,m\,n

    with :math:`L` in :math:`[0, 1]` in the second term, so that black and white stay, and
    :math:`n` a smooth random field of variance 1, averaged over each pixel: a small copy of a
    photo has the small copy of its grain. The mask `grain` is the standard deviation of what is
    added to a middle grey, within 0.1 (10 units of L*) of its identity 0, in :data:`opmask.LAB`;
    below 0 the grain is inverted.

    The grain is anchored to the centre of the image, so that a piece of a photo has another one.

    Args:
        size: The distance of grains, as a share of the image's shorter side. Where it is less than
            a pixel, the grain becomes fainter, as from afar.
        seed: Which grain, from 0 to :math:`2^{32} - 1`. Equal seeds give equal grain.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `size` is not in :math:`[0.001, 0.5]` or `seed` is out of range.

    References:
        | Parallel Random Numbers: As Easy as 1, 2, 3 (Salmon et al., 2011), for the numbers, which
          are those of Philox by their place

    Example:
        >>> grey = torch.full((1, 3, 64, 64), 0.5)
        >>> grainy = Grain(size=0.05)(grey, torch.full((1, 1, 64, 64), 0.1))
        >>> bool(0.07 < grainy[:, 0].std() < 0.13), bool((grainy[:, 1:] == 0.5).all())
        (True, True)
    """

    space = LAB
    ranges = {"grain": MaskRange(0.0, low=-0.1, high=0.1)}
    unit = (100.0, "L*")

    def __init__(
        self,
        *,
        size: float = 0.004,
        seed: int = 0,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        if not 0 <= seed < 2**32:
            raise ValueError(f"'seed' must be from 0 to 2**32 - 1, got {seed}.")
        self.size, self.seed = check_share("size", size), seed
        super().__init__(ranges=ranges, prefix=prefix)
        raw = np.random.Philox(key=seed).random_raw(PERIOD**2)
        # Of variance 1 once they are spread: the mean square of a cubic B-spline is 151/315.
        uniform = torch.from_numpy((raw >> 40).astype(np.float32)) / 2**24 - 0.5
        grains = uniform.view(PERIOD, PERIOD) * (math.sqrt(12) * 315 / 151)
        self.register_buffer("grains", grains, persistent=False)
        self.grains: Tensor

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        lightness, color = image.split((1, 2), 1)
        rows, columns = (self._weights(image, side) for side in (-2, -1))
        grains = self.grains.to(image.dtype)
        for side, weights in enumerate((rows, columns)):
            reach = weights.shape[1] // 2
            place = torch.arange(-reach, reach + 1, device=image.device) % PERIOD
            grains = grains.index_select(side, place)
        inside = lightness.clamp(0, 1)
        grainy = 4 * inside * (1 - inside) * mask * (rows @ grains @ columns.mT)
        return torch.cat([lightness + grainy, color], 1)

    def _weights(self, image: Tensor, side: int) -> Tensor:
        """How much each grain along a side has of each pixel, (size, grains)."""
        size, short, grains = image.shape[side], shorter_side(image), round(1 / self.size)
        reach = size * grains // (2 * short) + 3
        step = grains / short  # from pixel to pixel, in grains
        edge, grain = centred(size + 1, image) * step, centred(2 * reach + 1, image)
        place = (edge[:, None] - grain).clamp(-2, 2) + 2
        # The integral of a cubic B-spline is the sum of these powers.
        before = place**4
        for start, factor in ((1, -4), (2, 6), (3, -4)):
            before = before + factor * (place - start).clamp(min=0) ** 4
        return (before[1:] - before[:-1]) / (24 * step)
