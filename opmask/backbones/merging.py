r"""Superpixels joined into fewer pieces, of which some are large: a sky, a wall, a coat.

Data flow: `LAB, labels of superpixels -> merge -> labels from 0 to n - 1`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opmask.backbones.statistics import borders
from opmask.backbones.superpixels import mean_of_each

__all__ = ["merge"]

UNITS = (1.0, 1.28, 1.28)  # by which LAB has the proportions of CIELAB


def merge(lab: Tensor, labels: Tensor, count: int, left: int) -> Tensor:
    r"""Joins touching pieces until a number is left, those first whose joining costs least.

    .. math:: \frac{n_i n_j}{n_i + n_j} \lVert c_i - c_j \rVert^2

    is what it costs to join pieces of :math:`n` pixels with mean colours :math:`c` (Ward's
    criterion): by how much the squared deviation of all pixels from the mean of their piece grows.

    Args:
        lab: The pictures in :data:`opmask.LAB`, with shape :math:`(B, 3, H, W)`.
        labels: The number of the piece of each pixel, with shape :math:`(B, H, W)`.
        count: How many pieces there are, at most.
        left: How many are to be left, at most `count`.

    Returns:
        The new numbers, with the shape of `labels`, from 0 to `left - 1`; fewer pieces than that
        where some were empty.

    References:
        Hierarchical Grouping to Optimize an Objective Function (Ward, 1963)

    Example:
        >>> lab = torch.tensor([0.0, 0.1, 0.5, 0.9]).expand(1, 3, 2, 4)
        >>> merge(lab, torch.arange(4).expand(1, 2, 4), 4, 3)[0, 0]
        tensor([0, 0, 1, 2])
    """
    every = torch.arange(labels.shape[0], device=labels.device)
    color, size = mean_of_each(lab * lab.new_tensor(UNITS).view(3, 1, 1), labels, count)
    touch = borders(lab, labels, count)[..., 0] > 0
    costs = _cost(color[:, :, None], size[:, :, None], color[:, None], size[:, None], touch)
    owner = torch.arange(count, device=labels.device).repeat(labels.shape[0], 1)
    remaining = (size > 0).sum(1)
    for _ in range(count - left):
        place = costs.flatten(1).argmin(1)
        kept, gone = place // count, place % count
        # Where few enough are left a piece is joined with itself, which changes nothing.
        more = remaining > left
        gone = torch.where(more, gone, kept)
        joining = size[every, gone] * more
        both = size[every, kept] + joining
        shares = (joining / both.clamp_min(1))[:, None]
        color[every, kept] = color[every, kept].lerp(color[every, gone], shares)
        near = touch[every, kept] | touch[every, gone]
        for plane, nothing in ((size, 0.0), (touch, False), (costs, torch.inf)):
            plane[every, gone] = nothing
            if plane.ndim == 3:
                plane[every, :, gone] = nothing
        size[every, kept] = both
        near[every, kept] = near[every, gone] = False
        touch[every, kept] = touch[every, :, kept] = near
        cost = _cost(color, size, color[every, kept][:, None], both[:, None], near)
        costs[every, kept] = costs[every, :, kept] = cost
        owner = torch.where(owner == gone[:, None], kept[:, None], owner)
        remaining = remaining - more.long()
    order = (size > 0).long().cumsum(1) - 1  # the new number of each piece that is left
    return order.gather(1, owner).gather(1, labels.flatten(1)).view(labels.shape)


def _cost(color: Tensor, size: Tensor, other: Tensor, others: Tensor, touch: Tensor) -> Tensor:
    """What joining costs, see :func:`merge`; of those that do not touch, infinitely much."""
    cost = size * others / (size + others).clamp_min(1) * (color - other).square().sum(-1)
    return torch.where(touch, cost, torch.inf)
