r"""Other colours: what a region went through that was cut out of another photo.

8-bit pixels of a region -> ``ColorTransfer`` -> 8-bit pixels, for
:func:`opmask.perturb.composite`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from random import Random
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from opmask.color import LAB, to_levels
from opmask.perturb.filters import check_eight_bit
from opmask.perturb.rng import rounded, uniform

Triple = tuple[float, float, float]

SHIFT: Triple = (12.0, 5.0, 8.0)
"""The standard deviations of drawn shifts of L*, a* and b*; composites then differ from the real
image by about as much as those of iHarmony4's HCOCO."""

SPREAD: Triple = (0.25, 0.3, 0.1)
"""The standard deviations of the logarithms of drawn factors, for L, for the chroma, and for how
much the factors of a and b differ."""

SKEW = 0.4
"""The largest skew that is drawn."""

TURN = 0.04
"""The standard deviation of drawn turns of a and b, in turns."""

_UNITS = (100.0, 128.0, 128.0)
"""L*, a* and b* over the channels of :data:`opmask.LAB`."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class ColorTransfer:
    r"""Gives a region the colours that a like thing has in another photo, in LAB.

    .. math:: y = \mu + s + R_t \left( f \, h_k\!\left(\frac{x - \mu}{\sigma}\right) \sigma
              \right), \qquad h_k(z) \propto \frac{e^{kz} - 1}{k}

    with the mean :math:`\mu` and the standard deviation :math:`\sigma` of each channel of the
    region, :math:`h_k` scaled to mean 0 and deviation 1 again, and :math:`R_t` a turn of a and b.
    The ways in which iHarmony4's composites were made are special cases: `shift` and `spread`
    match means and deviations, as Reinhard; `turn` the covariance of the two colours besides, as
    Xiao and Ma; `skew` the form of the histogram. What the other photo's statistics would be is
    drawn, relative to the region's, so that no other photo is needed.

    Args:
        shift: By how much the means of L, a and b move, in L* and a*, b*.
        spread: The factors of their standard deviations, at least 0.
        skew: How much longer the tail of high values becomes, for each channel, in
            :math:`[-1, 1]`.
        turn: By how much a and b turn about their mean, in turns.

    Raises:
        ValueError: If a number is not finite, a factor negative, or `skew` out of its range.

    References:
        | Color Transfer between Images (Reinhard et al., 2001)
        | Color Transfer in Correlated Color Space (Xiao and Ma, 2006)
        | DoveNet: Deep Image Harmonization via Domain Verification (Cong et al., 2020)

    Example:
        >>> region = torch.tensor([100, 140], dtype=torch.uint8).expand(3, 1, 2)
        >>> ColorTransfer(shift=(10.0, 0.0, 0.0), spread=(0.5, 1.0, 1.0))(region)[0]
        tensor([[135, 156]], dtype=torch.uint8)
    """

    shift: Triple = (0.0, 0.0, 0.0)
    spread: Triple = (1.0, 1.0, 1.0)
    skew: Triple = (0.0, 0.0, 0.0)
    turn: float = 0.0

    def __post_init__(self) -> None:
        numbers = (*self.shift, *self.spread, *self.skew, self.turn)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"'ColorTransfer' must get finite numbers, got {self}.")
        if min(self.spread) < 0:
            raise ValueError(f"'spread' must be at least 0, got {self.spread}.")
        if max(map(abs, self.skew)) > 1:
            raise ValueError(f"'skew' must be in [-1, 1], got {self.skew}.")

    @classmethod
    def between(cls, region: Tensor, other: Tensor) -> ColorTransfer:
        r"""What gives a region the means and deviations of another one, as Reinhard.

        Args:
            region: The RGB pixels of the region, ``uint8``, with shape :math:`(3, H, W)`, in
                0-255.
            other: Those of the other one, of the same kind and range, with shape
                :math:`(3, H', W')`.

        Returns:
            The change, with factors of at most 4.

        Raises:
            ValueError: If a shape is wrong.
            TypeError: If one of them is not 8-bit.

        Example:
            >>> dark, light = torch.tensor([[40, 80], [150, 170]], dtype=torch.uint8)
            >>> dark, light = dark.expand(3, 1, 2), light.expand(3, 1, 2)
            >>> ColorTransfer.between(dark, light)(dark)[0]
            tensor([[150, 170]], dtype=torch.uint8)
        """
        (mean, deviation), (wanted, spread) = (
            _moments(_to_lab(pixels, name))
            for name, pixels in (("region", region), ("other", other))
        )
        shift = (wanted - mean) * wanted.new_tensor(_UNITS)
        factors = (spread / deviation.clamp(min=1e-6)).clamp(max=4)
        return cls(tuple(shift.tolist()), tuple(factors.tolist()))

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        r"""Transfers colours to an image, all of which is taken for the region.

        Args:
            image: The RGB pixels of the region, ``uint8``, with shape :math:`(3, H, W)`, in
                0-255.

        Returns:
            The changed pixels, with the type, shape and range of `image`.

        Raises:
            ValueError: If the shape is wrong.
            TypeError: If the image is not 8-bit.
        """
        x = _to_lab(image, "image")
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        for channel, skew in enumerate(self.skew):
            if skew:
                centred[channel] = _skewed(centred[channel], skew)
        centred = self._turned(centred * centred.new_tensor(self.spread)[:, None])
        shift = x.new_tensor(self.shift) / x.new_tensor(_UNITS)
        moved = (mean + shift[:, None] + centred).view(1, *image.shape)
        return to_levels(LAB.to_rgb(moved)[0])

    def _turned(self, centred: Tensor) -> Tensor:
        if not self.turn:
            return centred
        cos, sin = math.cos(math.tau * self.turn), math.sin(math.tau * self.turn)
        light, a, b = centred
        return torch.stack([light, cos * a - sin * b, sin * a + cos * b])

    def to_dict(self) -> dict[str, Any]:
        """The change as plain values, for JSON."""
        return {"transfer": asdict(self)}


def _to_lab(pixels: Tensor, name: str) -> Tensor:
    """LAB (3, N), in float64, so that no device and no number of threads changes a level."""
    check_eight_bit(pixels, name, "(3, H, W)")
    return LAB.from_rgb(pixels[None].double() / 255)[0].flatten(1)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of each channel (3,)."""
    return x.mean(1), x.std(1, correction=0)


def _skewed(centred: Tensor, skew: float) -> Tensor:
    """Values with a longer tail, and the mean and the deviation that they had."""
    deviation = centred.std(correction=0)
    if deviation < 1e-6:
        return centred  # a flat region has no tails
    bent = torch.expm1(skew * (centred / deviation).clamp(-6, 6)) / skew
    bent -= bent.mean()
    return bent * (deviation / bent.std(correction=0))


def draw_transfer(rng: Random) -> ColorTransfer:
    r"""Draws what another photo's colours are, relative to the region's; see :data:`SHIFT`.

    Args:
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        The change.

    Example:
        >>> from opmask.perturb.rng import make_rng
        >>> draw_transfer(make_rng(0)).turn
        0.0
    """
    light, a, b = (_normal(deviation, rng) for deviation in SHIFT)
    contrast, chroma, apart = (_normal(deviation, rng) for deviation in SPREAD)
    spread = tuple(rounded(math.exp(v)) for v in (contrast, chroma + apart, chroma - apart))
    skew = tuple(rounded(uniform(-SKEW, SKEW, rng)) for _ in range(3))
    turn = _normal(TURN, rng)
    # Means alone, and the covariance, or the form of the histogram as well: three ways, as likely.
    way = int(3 * rng.random())
    return ColorTransfer(
        (light, a, b),
        spread,  # type: ignore[arg-type]
        skew if way == 2 else (0.0, 0.0, 0.0),  # type: ignore[arg-type]
        turn if way == 1 else 0.0,
    )


def _normal(deviation: float, rng: Random) -> float:
    """A number of a normal distribution, at most 2.5 deviations from 0."""
    return rounded(deviation * _NORMAL.inv_cdf(uniform(0.0062, 0.9938, rng)))
