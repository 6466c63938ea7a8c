r"""Noise of whole levels, drawn by comparing random integers: every device adds the same.

Rounded noise takes few values, so it is drawn by its cumulative distribution: how likely it is to
be at most -255, -254, ..., 254. Beyond, 8-bit values are clipped whatever they were.

Distribution -> ``*_cdf`` and seed -> ``add_noise`` -> noisy image, in
``opmask.perturb.degrade.degradations``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from opmask.perturb.degrade.counter import RANDOM_BITS, counter_bits

LEVELS = range(-255, 255)
"""The levels for which a distribution says how likely it is that noise is at most that."""


def add_noise(image: Tensor, cdf: Sequence[float], seed: int) -> Tensor:
    r"""Adds noise to each value on its own, and clips.

    Args:
        image: The image, ``uint8``, of any shape, in 0-255.
        cdf: How likely noise is to be at most each of :data:`LEVELS`.
        seed: The integer that decides the noise.

    Returns:
        The noisy image, with the type, shape and range of `image`.

    Example:
        >>> image = torch.full((3,), 128, dtype=torch.uint8)
        >>> add_noise(image, [0.0] * 257 + [1.0] * 253, seed=0)  # always 2
        tensor([130, 130, 130], dtype=torch.uint8)
    """
    bounds = torch.tensor([int(value * 2**RANDOM_BITS) for value in cdf], device=image.device)
    bits = counter_bits(seed, image.shape, image.device)
    noise = torch.bucketize(bits, bounds, out_int32=True, right=True) + LEVELS.start
    return (image + noise).clamp_(0, 255).to(torch.uint8)


def gaussian_cdf(scale: float) -> list[float]:
    r"""The cumulative distribution of rounded normal noise.

    .. math:: P(N \le n) = \tfrac{1}{2} \operatorname{erfc}
        \left( -\frac{n + 1/2}{\sqrt{2} \sigma} \right)

    Args:
        scale: The standard deviation :math:`\sigma`, in 8-bit levels.

    Returns:
        The probabilities, one for each of :data:`LEVELS`.

    Example:
        >>> gaussian_cdf(9.0)[255]  # at most 0
        0.522
    """
    return [math.erfc(-(level + 0.5) / (math.sqrt(2) * scale)) / 2 for level in LEVELS]


def laplace_cdf(scale: float) -> list[float]:
    r"""The cumulative distribution of rounded Laplace noise.

    .. math:: P(N \ge n) = P(N \le -n) = \tfrac{1}{2} e^{-(n - 1/2) / b}, \quad n > 0

    Args:
        scale: The mean absolute deviation :math:`b`, in 8-bit levels.

    Returns:
        The probabilities, one for each of :data:`LEVELS`.

    Example:
        >>> laplace_cdf(9.0)[255]  # at most 0
        0.527
    """
    upper = [math.exp(-(n + 0.5) / scale) / 2 for n in range(255)]
    return [*reversed(upper), *(1 - tail for tail in upper)]


def poisson_cdf(rate: float) -> list[float]:
    r"""The cumulative distribution of Poisson noise with a random sign.

    .. math:: P(N = \pm n) = \tfrac{1}{2} e^{-\lambda} \lambda^n / n!, \quad n > 0

    Args:
        rate: The mean magnitude :math:`\lambda`, in 8-bit levels.

    Returns:
        The probabilities, one for each of :data:`LEVELS`.

    Example:
        >>> poisson_cdf(9.0)[255]  # at most 0
        0.50006
    """
    counts = (math.exp(n * math.log(rate) - rate - math.lgamma(n + 1)) for n in range(255))
    upper = [max(0.0, 1 - total) / 2 for total in itertools.accumulate(counts)]
    return [*reversed(upper), *(1 - tail for tail in upper)]
