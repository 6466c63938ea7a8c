r"""The grain of film.

Data flow: `(image, mask)`, in LAB, `-> image`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from opmask.color import LAB
from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import check_count, check_share
from opmask.operators.smooth import centred, shorter_side

__all__ = ["Grain"]


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
        self.size = check_share("size", size)
        self.seed = check_count("seed", seed, 0, 2**32 - 1)
        super().__init__(ranges=ranges, prefix=prefix)
        raw = np.random.Philox(key=self.seed).random_raw(PERIOD**2)
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
