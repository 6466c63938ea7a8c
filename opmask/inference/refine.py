r"""Rough regions made finer: of a box or a few strokes, the part that a model sees was changed.

What people draw is quickly drawn. A model with a gate was trained to tell which part of it was
changed: its gate, within what was told, is the region that masks are then predicted for.

Data flow: `small photo, region -> model -> gate -> refined_region -> model -> masks`.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.wrapper import OperatorMaskWrapper

__all__ = ["is_rough", "refined", "refined_region"]

EMPTY = "the model finds nothing to refine in the region, which is taken as it is."
"""What is said where the gate stays shut."""

STRAIGHT = 8.0
"""The mean length of the straight runs of an outline from which it is one of boxes, in pixels."""


def refined_region(gate: Tensor, region: Tensor) -> Tensor:
    r"""The gate of a model within what it was told of the region.

    Strokes are sure and boxes are not: where something is unknown, what is inside stays inside.

    Args:
        gate: What the model says given the region, with shape :math:`(B, 1, H, W)`, in
            :math:`[0, 1]`.
        region: What was told, with the same shape: 1 inside, 0 outside, soft between, -1 unknown.

    Returns:
        The finer region, with the same shape, in :math:`[0, 1]`.

    Example:
        >>> gate = torch.tensor([0.9, 0.2, 0.7, 0.8]).view(1, 1, 1, 4)
        >>> refined_region(gate, torch.tensor([1.0, 1, 1, 0]).view(1, 1, 1, 4)).tolist()
        [[[[0.9, 0.2, 0.7, 0.0]]]]
        >>> refined_region(gate, torch.tensor([-1.0, 1, -1, 0]).view(1, 1, 1, 4)).tolist()
        [[[[0.9, 1.0, 0.7, 0.0]]]]
    """
    some_unknown = (region < 0).flatten(1).any(1)[:, None, None, None]
    within = gate.to(region.dtype) * region.abs()  # soft edges stay soft
    return torch.where(some_unknown & (region > 0), region, within)


def is_rough(region: Tensor) -> bool:
    r"""Whether a region was quickly drawn: of boxes, or with unknown parts.

    Outlines of boxes run straight for long, those of things turn after a pixel or two.

    Args:
        region: The region, with shape :math:`(1, h, w)`: 1 inside, 0 outside, soft between, -1
            unknown.

    Returns:
        Whether it is. One that is inside everywhere, outside everywhere or all unknown is not.

    Example:
        >>> box = torch.zeros(1, 32, 32)
        >>> box[:, 8:20, 8:24] = 1
        >>> disc = torch.hypot(*torch.meshgrid(*[torch.arange(32.0) - 16] * 2, indexing="ij")) < 9
        >>> is_rough(box), is_rough(disc[None].float())
        (True, False)
    """
    if (region < 0).any():
        return bool((region > 0).any())
    inside = (region > 0.5).int()
    if inside.all() or not inside.any():
        return False
    padded = F.pad(inside, (1, 1, 1, 1))
    length = padded.diff(dim=1).abs().sum() + padded.diff(dim=2).abs().sum()
    # Of the four pixels around a point of the grid one or three are inside where outlines turn.
    four = padded[:, 1:, 1:] + padded[:, :-1, 1:] + padded[:, 1:, :-1] + padded[:, :-1, :-1]
    turns = ((four == 1) | (four == 3)).sum()
    return bool(turns == 4 or length >= STRAIGHT * turns)  # four turns are one box of any size


def refined(
    model: OperatorMaskWrapper,
    image: Tensor,
    region: Tensor,
    wanted: bool | str,
    size: int | tuple[int, int] | None,
) -> Tensor:
    r"""The regions of a batch, finer where that is wanted and the model finds something.

    Args:
        model: The model, in evaluation mode.
        image: The photos, with shape :math:`(B, 3, h, w)`, sRGB in :math:`[0, 1]`.
        region: What was told, with shape :math:`(B, 1, h, w)`: 1 inside, 0 outside, soft between,
            -1 unknown.
        wanted: As `refine` of :func:`opmask.plan`.
        size: At which the model works, see :meth:`opmask.OperatorMaskWrapper.predict`.

    Returns:
        The regions, with the shape of `region`.

    Raises:
        ValueError: If `wanted` is true and the model has no gate.
    """
    some = torch.tensor(_places(model, region, wanted), device=region.device, dtype=torch.int64)
    if not some.numel():
        return region
    told = region[some]
    finer = refined_region(model.predict(image[some], told, size=size)["gate"].float(), told)
    found = (finer > 0.5).flatten(1).any(1)
    if not found.all():
        warnings.warn(EMPTY, stacklevel=5)
    finer = torch.where(found[:, None, None, None], finer, told)
    return region.index_copy(0, some, finer)


def _places(model: OperatorMaskWrapper, region: Tensor, wanted: bool | str) -> list[int]:
    """The places in a batch of the regions that are to be made finer."""
    if wanted is True and "gate" not in model.retoucher.ranges:
        raise ValueError(
            "'refine' must be False or 'auto' for a model without a mask 'gate', which says where."
        )
    if wanted == "auto":
        able = model.calibration is not None and model.calibration.refines
        return [i for i, one in enumerate(region) if able and is_rough(one)]
    told = (region > 0).flatten(1).any(1).tolist()
    return [i for i, some in enumerate(told) if wanted and some]
