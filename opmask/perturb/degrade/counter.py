r"""Random numbers by counter: the i-th number of a seed, without those before it.

The numbers of a whole image come from one integer, in parallel, and are the same on every device.
Only wrapping 64-bit integer arithmetic is used, which has no rounding to differ in.

Seed -> ``counter_bits`` -> noise, in ``opmask.perturb.degrade.noise``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from opmask.perturb.rng import splitmix64

RANDOM_BITS = 53
"""How many random bits a number has: as many as fit a float64 and Python's own generator."""


def counter_bits(
    seed: int, shape: Sequence[int], device: torch.device | str | None = None
) -> Tensor:
    r"""Uniform random integers, of which each depends on the seed and its own place only.

    .. math:: \lfloor m(m(\text{seed}) + i) / 2^{11} \rfloor

    with :math:`m` the mixer :func:`~opmask.perturb.rng.splitmix64` and :math:`i` the place in
    row-major order.

    Args:
        seed: Any integer; its lowest 64 bits count.
        shape: The shape of the answer.
        device: Where to put the answer.

    Returns:
        The integers, ``int64``, with the given shape, in :math:`[0, 2^{53})`.

    References:
        | Fast Splittable Pseudorandom Number Generators (Steele, Lea and Flood, 2014)

    Example:
        >>> counter_bits(0, (2,)).tolist()
        [5876733520225071, 1498765885564669]
    """
    value = torch.arange(math.prod(shape), device=device)
    value += _signed(splitmix64(seed) + 0x9E3779B97F4A7C15)
    value ^= _shift(value, 30)
    value *= _signed(0xBF58476D1CE4E5B9)
    value ^= _shift(value, 27)
    value *= _signed(0x94D049BB133111EB)
    value ^= _shift(value, 31)
    return _shift(value, 64 - RANDOM_BITS).view(*shape)


def _shift(value: Tensor, bits: int) -> Tensor:
    """Shifts zeros in from the left, where PyTorch repeats the sign bit."""
    return (value >> bits) & (2 ** (64 - bits) - 1)


def _signed(word: int) -> int:
    """The ``int64`` that has the bits of an unsigned word."""
    return (word + 2**63) % 2**64 - 2**63
