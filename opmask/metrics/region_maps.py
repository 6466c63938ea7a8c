r"""How well a map finds the region: the measures of networks that localise, such as DIRL.

map of a network, region -> localization_scores -> AP, F1, IoU (B,)
"""

from __future__ import annotations

import torch
from torch import Tensor

from opmask.metrics.localization import iou

LEAST_RANGE = 1e-2
"""A map whose values differ by less is shifted, but not stretched."""


def localization_scores(
    predicted: Tensor, region: Tensor, *, stretched: bool = True
) -> dict[str, Tensor]:
    r"""Average precision, F1 and IoU of a map of the region.

    .. math:: \mathrm{AP} = \sum_n (R_n - R_{n-1}) P_n, \qquad
        \mathrm{F1} = \frac{2 |p \cap r|}{|p| + |r|}, \qquad
        \mathrm{IoU} = \frac{|p \cap r|}{|p \cup r|}

    with precision :math:`P_n` and recall :math:`R_n` at each value of the map, as scikit-learn's
    `average_precision_score`, and with the map :math:`p` cut at one half. DIRL's test stretches
    each map to :math:`[0, 1]` first, so that its threshold is half of the largest value; so does
    this. The measures are averaged over images, as there.

    Args:
        predicted: How likely each pixel is inside, with shape :math:`(B, 1, H, W)`, in
            :math:`[0, 1]`.
        region: The true area :math:`r`, with the shape of `predicted`, bool or in :math:`[0, 1]`;
            it is cut at one half.
        stretched: Whether each map is stretched first. Without, a map of nothing stays one.

    Returns:
        `"ap"`, `"f1"` and `"iou"` of each image, with shape :math:`(B)`, in :math:`[0, 1]`. Where
        the region is empty AP is 0, and the others are 1 if nothing was found.

    Raises:
        TypeError: If `predicted` is not floating point.
        ValueError: If `region` is not :math:`(B, 1, H, W)` or the shapes differ.

    References:
        | Inharmonious Region Localization (Liang et al., 2021)
          https://arxiv.org/abs/2104.09453

    Example:
        >>> region = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> predicted = torch.tensor([[[[0.4, 0.1, 0.3, 0.0]]]])
        >>> localization_scores(predicted, region)
        {'ap': tensor([0.8333]), 'f1': tensor([0.5000]), 'iou': tensor([0.3333])}
    """
    if not predicted.is_floating_point():
        raise TypeError(f"'predicted' must be a floating point map, got {predicted.dtype}.")
    found = _stretched(predicted) if stretched else predicted
    overlap = iou(region, found)  # which checks the shapes
    inside = region > 0.5
    return {
        "ap": _average_precision(found.flatten(1), inside.flatten(1)).to(overlap.dtype),
        "f1": 2 * overlap / (1 + overlap),
        "iou": overlap,
    }


def _stretched(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / torch.where(high - low < LEAST_RANGE, 1, high - low)


def _average_precision(values: Tensor, inside: Tensor) -> Tensor:
    """Of maps (B, N): the precision at each value, weighed by the recall that it adds."""
    ordered, order = values.sort(dim=1, descending=True)
    hits = inside.gather(1, order).double().cumsum(1)
    count = torch.arange(1, values.shape[1] + 1, device=values.device)
    # Pixels of one value are found together: the last of them stands for all.
    last = torch.cat([ordered.diff(dim=1) != 0, torch.ones_like(inside[:, :1])], 1)
    reached = torch.where(last, hits, 0).cummax(1).values
    added = reached.diff(dim=1, prepend=torch.zeros_like(hits[:, :1]))
    return (added * hits / count).sum(1) / hits[:, -1].clamp_min(1)
