r"""Where every random decision comes from: one integer a sample.

A sample has a seed, made of the run's seed, the epoch and the index, and everything about it is
decided by numbers drawn from that seed. So it does not matter which worker, process or batch makes
the sample. Only ``random.Random(seed).random()`` is used: Python keeps that sequence for ever,
while it may change its other methods, and NumPy and PyTorch theirs.

(seed, epoch, index) -> ``sample_seed`` -> ``make_rng`` -> regions and filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

_WORD = 2**64 - 1


def splitmix64(value: int) -> int:
    r"""Mixes the bits of an integer, one to one: neighbours end up far apart.

    Args:
        value: Any integer; its lowest 64 bits count.

    Returns:
        The mixed integer, in :math:`[0, 2^{64})`.

    References:
        | Fast Splittable Pseudorandom Number Generators (Steele, Lea and Flood, 2014)

    Example:
        >>> hex(splitmix64(0))
        '0xe220a8397b1dcdaf'
    """
    value = (value + 0x9E3779B97F4A7C15) & _WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    r"""The seed of one sample.

    .. math:: \lfloor m(m(m(\text{seed}) + \text{epoch}) + \text{index}) / 2 \rfloor

    with :math:`m` the mixer :func:`splitmix64`. The values are part of the format of a benchmark
    split and do not change.

    Args:
        seed: The seed of the run.
        epoch: How often the data has been seen before.
        index: The place of the photo in its data set.

    Returns:
        An integer in :math:`[0, 2^{63})`, so that it fits an ``int64`` tensor.

    Example:
        >>> sample_seed(0, 0, 0) == sample_seed(0, 0, 0) != sample_seed(0, 0, 1)
        True
    """
    return splitmix64(splitmix64(splitmix64(seed) + epoch) + index) >> 1


def make_rng(seed: int) -> Random:
    r"""The generator of random numbers that belongs to a seed.

    Of its methods only ``random()`` may be used, uniform in :math:`[0, 1)`: Python keeps that
    sequence for ever, but not those of ``choice``, ``shuffle``, ``gauss`` and others.

    Args:
        seed: The seed, not negative.

    Returns:
        The generator.

    Raises:
        ValueError: If the seed is negative.

    Example:
        >>> rng = make_rng(0)
        >>> round(rng.random(), 4), round(rng.random(), 4)
        (0.8444, 0.758)
    """
    if seed < 0:  # Python would silently drop the sign
        raise ValueError(f"'seed' must not be negative, got {seed}. Make one with sample_seed.")
    return Random(seed)


def uniform(low: float, high: float, rng: Random) -> float:
    r"""Draws a number, each in an interval being as likely.

    Args:
        low: The lower end, which may come up.
        high: The upper end.
        rng: Where the number comes from, see :func:`make_rng`.

    Returns:
        The number.

    Example:
        >>> round(uniform(-30, 30, make_rng(0)), 2)
        20.67
    """
    return low + (high - low) * rng.random()


def rounded(number: float) -> float:
    r"""A drawn number to four places; C libraries differ in the last ones of logarithms.

    Example:
        >>> rounded(1 / 3)
        0.3333
    """
    return round(number, 4)


def pick(options: Sequence[T], rng: Random) -> T:
    r"""Picks one option, each being as likely.

    Args:
        options: The options.
        rng: Where the number comes from, see :func:`make_rng`.

    Returns:
        The option.

    Example:
        >>> pick("abc", make_rng(0))
        'c'
    """
    return options[int(rng.random() * len(options))]
