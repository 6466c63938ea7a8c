r"""Light: operators that act as more or less light on the scene, or on a print, would.

They all work in linear light. For its colour see :mod:`opmask.operators.white`.

Data flow: `(image, mask)`, in linear RGB, `-> image`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from opmask.color import LINEAR_RGB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import check_count, check_number, check_share
from opmask.operators.smooth import Grid, nodes_of
from opmask.operators.tone import STOPS, luminance

__all__ = ["Dehaze", "Exposure", "Relight", "ToneEqualizer"]


class Exposure(Operator):
    r"""Doubles the light for each unit of mask, as a longer exposure would.

    .. math:: y = 2^m x

    The mask `exposure` is in stops, within 2 of its identity 0, in :data:`opmask.LINEAR_RGB`.

    Args:
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    References:
        | Photography: Exposure values and the stop, a factor of 2 (ISO 2720, 1974)

    Example:
        >>> import torch
        >>> Exposure()(torch.full((1, 3, 1, 1), 0.2), torch.ones(1, 1, 1, 1)).flatten()
        tensor([0.4000, 0.4000, 0.4000])
    """

    space = LINEAR_RGB
    ranges = {"exposure": STOPS}
    pixelwise = True
    unit = (1.0, "stops")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        return image * torch.exp2(mask)


class ToneEqualizer(Operator):
    r"""Exposure by zones: the light is doubled or halved depending on how bright a pixel is.

    .. math:: y = 2^{\sum_z w_z m_z} x, \qquad
              w_z = \max(0, 1 - |\operatorname{clamp}(\log_2 Y, 1 - Z, 0) - z + Z|)

    The mask `zone_z` is in stops, within 1 of its identity 0, in :data:`opmask.LINEAR_RGB`. Zones
    lie one stop apart; the last one, :math:`Z`, is white. Colours keep their hue, and black stays.
    Where neighbouring zones differ by more than a stop, a brighter pixel may become the darker
    one.

    Args:
        zones: The number :math:`Z` of zones, at least 2.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If there are fewer than 2 zones.

    References:
        | The Negative (Adams, 1948), for the zones; darktable's module "tone equalizer"

    Example:
        >>> masks = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
        >>> ToneEqualizer(zones=3)(torch.full((1, 3, 1, 1), 0.5), masks).flatten()
        tensor([1.0000, 1.0000, 1.0000])
    """

    space = LINEAR_RGB
    pixelwise = True
    unit = (1.0, "stops")

    def __init__(
        self,
        *,
        zones: int = 8,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.zones = check_count("zones", zones, 2)
        self.ranges = {
            f"zone_{z}": MaskRange(0.0, low=-1.0, high=1.0) for z in range(1, self.zones + 1)
        }
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        place = luminance(image).clamp(2.0 ** (1 - self.zones), 1.0).log2() + self.zones - 1
        stops = torch.zeros_like(place)
        for zone, part in enumerate(mask.split(1, 1)):
            stops = stops + part * (1 - (place - zone).abs()).clamp(min=0)
        return image * torch.exp2(stops)


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


class Dehaze(Operator):
    r"""Takes out haze, by the model that light from the air covers the scene's.

    .. math:: x = J\,t + A\,(1 - t), \qquad 1 - t = m \operatorname{clamp}
              \left( \min_c \frac{x_c}{A}, 0, 1 \right), \qquad y = J

    A pixel's darkest channel says how much haze there could be at most; the mask `dehaze` is the
    share of it to take out, in :math:`[-1, 0.9]`, with the identity 0. Below 0 it adds haze. In
    :data:`opmask.LINEAR_RGB`; pure colours and black stay.

    Args:
        airlight: The light :math:`A` of the air, the same in each channel, in :math:`(0, 1]`.
        ranges: See :class:`Operator`. The mask must stay below 1.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If `airlight` is not in :math:`(0, 1]`, or the range reaches 1.

    References:
        | Single Image Haze Removal Using Dark Channel Prior (He et al., 2009), with the darkest
          channel of each pixel in the place of the darkest nearby

    Example:
        >>> import torch
        >>> image = torch.tensor([0.6, 0.5, 0.5]).view(1, 3, 1, 1)
        >>> Dehaze()(image, torch.full((1, 1, 1, 1), 0.8)).flatten()
        tensor([0.3333, 0.1667, 0.1667])
    """

    space = LINEAR_RGB
    ranges = {"dehaze": MaskRange(0.0, low=-1.0, high=0.9)}
    pixelwise = True
    unit = (100.0, "%")

    def __init__(
        self,
        *,
        airlight: float = 1.0,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        if not 0 < check_number("airlight", airlight) <= 1:
            raise ValueError(f"'airlight' must be in (0, 1], got {airlight}.")
        self.airlight = float(airlight)
        super().__init__(ranges=ranges, prefix=prefix)
        (most,) = (r.high for r in self.ranges.values())
        if not most < 1:
            raise ValueError(f"'ranges' must keep 'dehaze' below 1, got up to {most}.")

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        haze = mask * (image.amin(1, keepdim=True) / self.airlight).clamp(0, 1)
        return (image - self.airlight * haze) / (1 - haze)
