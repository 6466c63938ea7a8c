r"""The statistics of a study: shares of votes with their intervals, and a test of positions.

Votes, ``(participants, methods)`` -> :func:`vote_shares`; counts -> :func:`uniformity_test`.
"""

from __future__ import annotations

import numpy as np
import torch

RESAMPLES = 10_000
SEED = 0  # the same answers give the same intervals


def vote_shares(votes: np.ndarray) -> np.ndarray:
    r"""The share of each method in all votes, with its 95 % interval over participants.

    A percentile bootstrap: participants are drawn with replacement, each with all their votes,
    because the votes of one person are no independent evidence. From a single participant nothing
    follows about others, so the interval is then 0 to 100.

    Args:
        votes: How often each participant chose each method, with shape :math:`(P, M)`; at least
            one vote each.

    Returns:
        Share, lower and upper end for each method, with shape :math:`(3, M)`, in percent.

    References:
        | An Introduction to the Bootstrap (Efron and Tibshirani, 1993)

    Example:
        >>> vote_shares(np.array([[1, 3], [2, 2], [0, 4]]))
        array([[ 25.,  75.],
               [  0.,  50.],
               [ 50., 100.]])
    """
    people = len(votes)
    if people == 1:
        drawn = np.array([[0.0], [100.0]]).repeat(votes.shape[1], 1)
    else:
        # Not metrics.bootstrap: votes are counted, so that one matrix product does.
        rng = np.random.default_rng(SEED)
        times = rng.multinomial(people, np.full(people, 1 / people), size=RESAMPLES)
        drawn = np.quantile(_percent(times @ votes), (0.025, 0.975), axis=0)
    return np.concatenate([_percent(votes.sum(0, keepdims=True)), drawn])


def _percent(counts: np.ndarray) -> np.ndarray:
    return 100 * counts / counts.sum(1, keepdims=True)


def uniformity_test(counts: np.ndarray) -> tuple[float, float]:
    r"""Pearson's chi-square test of equal chances.

    .. math:: \chi^2 = \sum_k \frac{(n_k - n / K)^2}{n / K}

    Args:
        counts: The counts :math:`n_k`, with shape :math:`(K,)`, at least two; at least one is
            positive.

    Returns:
        :math:`\chi^2`, and the probability of one at least so large if chances are equal, with
        :math:`K - 1` degrees of freedom.

    Example:
        >>> uniformity_test(np.array([12, 8, 10]))
        (0.8, 0.67)
    """
    expected = counts.sum() / len(counts)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    degrees = torch.tensor(len(counts) - 1, dtype=torch.float64)
    tail = torch.special.gammaincc(degrees / 2, torch.full_like(degrees, statistic / 2))
    return statistic, tail.item()
