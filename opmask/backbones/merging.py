r"""Superpixels joined into fewer pieces, of which some are large: a sky, a wall, a coat.

Data flow: `LAB, labels of superpixels -> merge -> labels from 0 to n - 1`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from opmask.backbones.statistics import borders
from opmask.backbones.superpixels import mean_of_each

__all__ = ["merge"]

_State = tuple[Tensor, Tensor, Tensor, Tensor]
"""Mean colours, sizes and costs of pieces, and the piece to which each belongs by now."""

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
    color, size = mean_of_each(lab * lab.new_tensor(UNITS).view(3, 1, 1), labels, count)
    touch = borders(lab, labels, count)[..., 0] > 0
    costs = _cost(color[:, :, None], size[:, :, None], color[:, None], size[:, None], touch)
    owner = torch.arange(count, device=labels.device).repeat(labels.shape[0], 1)
    size, owner = _joined((color, size, costs, owner), count - left, left)
    order = (size > 0).long().cumsum(1) - 1  # the new number of each piece that is left
    return order.gather(1, owner).gather(1, labels.flatten(1)).view(labels.shape)


def _joined(state: _State, times: int, left: int) -> tuple[Tensor, Tensor]:
    """Sizes and owners of the pieces after as many times two were joined."""
    if torch.compiler.is_exporting():  # as one loop in the graph, not as a hundred steps
        from torch._higher_order_ops.scan import scan

        def step(state: _State, number: Tensor) -> tuple[_State, Tensor]:
            return _join(*state, left, Tensor.scatter), number.clone()

        state, _ = scan(step, state, torch.arange(times))
    else:
        for _ in range(times):
            state = _join(*state, left, Tensor.scatter_)
    return state[1], state[3]


def _join(
    color: Tensor,
    size: Tensor,
    costs: Tensor,
    owner: Tensor,
    left: int,
    put: Callable[..., Tensor],
) -> _State:
    """Joins the two pieces of each picture that cost least.

    What is changed is `put` there: in place, or into copies, as a graph wants it.
    """
    count = size.shape[1]
    place = costs.flatten(1).argmin(1, keepdim=True)
    kept, gone = place // count, place % count
    # Where few enough are left a piece is joined with itself, which changes nothing.
    more = (size > 0).sum(1, keepdim=True) > left
    gone = torch.where(more, gone, kept)
    joining = size.gather(1, gone) * more
    both = size.gather(1, kept) + joining
    mean, other = (color.gather(1, at[..., None].expand(-1, 1, 3)) for at in (kept, gone))
    mean = mean.lerp(other, (joining / both.clamp_min(1))[..., None])
    near = torch.minimum(
        *(costs.gather(1, at[..., None].expand(-1, 1, count)) for at in (kept, gone))
    )
    near = near[:, 0].isfinite().scatter(1, torch.cat([kept, gone], 1), False)
    color = put(color, 1, kept[..., None].expand(-1, 1, 3), mean)
    size = put(put(size, 1, gone, 0.0), 1, kept, both)
    cost = _cost(color, size, mean, both, near)
    for dim, shape in (1, (-1, 1, count)), (2, (-1, count, 1)):
        costs = put(costs, dim, gone[..., None].expand(shape), torch.inf)
        costs = put(costs, dim, kept[..., None].expand(shape), cost.unsqueeze(dim))
    return color, size, costs, torch.where(owner == gone, kept, owner)


def _cost(color: Tensor, size: Tensor, other: Tensor, others: Tensor, touch: Tensor) -> Tensor:
    """What joining costs, see :func:`merge`; of those that do not touch, infinitely much."""
    cost = size * others / (size + others).clamp_min(1) * (color - other).square().sum(-1)
    return torch.where(touch, cost, torch.inf)
