r"""Rough regions made finer: of a box or a few strokes, the part that a model sees was changed.

What people draw is quickly drawn. A model with a gate was trained to tell which part of it was
changed: its gate, within what was told, is the region that masks are then predicted for.

Data flow: `region -> told_roughly -> to_refine`, and `small photo, region -> model -> gate ->
refined_region -> joined -> model -> masks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.inference.grabcut import cut
from opmask.inference.regions import change_within
from opmask.inference.warning import warn
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.calibration import connected_regions

__all__ = [
    "BRIDGE",
    "is_rough",
    "joined",
    "refined",
    "refined_region",
    "to_refine",
    "told_roughly",
    "told_strengths",
]

EMPTY = "the model finds nothing to refine in the region, which is taken as it is."
"""What is said where the gate stays shut."""

SHORT, SHORT_SHARE = 2, 1 / 64
"""Pixels, and a share of the longer side, up to which a straight piece of an outline is short."""

BRIDGE = 2
"""Half the width in pixels, at the size at which masks are predicted, that parts are joined by."""

UNEVEN = 0.3
"""The share of short pieces above which an outline is a thing's."""


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
    within = gate.to(region.dtype) * region.abs()  # soft edges stay soft
    return torch.where(_strokes(region) & (region > 0), region, within)


def joined(finer: Tensor, region: Tensor) -> Tensor:
    r"""Of a region that strokes became, what is joined to a stroke.

    A model may see that something else was changed as well. Nobody pointed at that, and a bridge
    of a few pixels between the two does not make them one.

    Args:
        finer: What :func:`refined_region` made of a region, with shape :math:`(B, 1, H, W)`, in
            :math:`[0, 1]`.
        region: What was told, with the same shape: 1 inside, 0 outside, soft between, -1 unknown.

    Returns:
        The finer region, with the same shape. It is as it was in parts above a half that are
        joined to a stroke by more than a bridge, see :data:`BRIDGE`, and one pixel around them;
        and 0 elsewhere. Where nothing was unknown it is as it was everywhere.

    Example:
        >>> row = torch.tensor([0.75, 0.75, 0.25, 0.25, 0.25, 0.25, 0.75])
        >>> finer = row.expand(1, 1, 5, 7)
        >>> strokes = torch.full_like(finer, -1.0)
        >>> strokes[..., 0] = 1
        >>> joined(finer, strokes)[0, 0, 0].tolist()
        [0.75, 0.75, 0.25, 0.0, 0.0, 0.0, 0.0]
    """
    strokes = _strokes(region)
    if not strokes.any():
        return finer
    stroke = region > 0
    inside = ((finer > 0.5) | stroke).float()
    marked = _grown(stroke.float(), BRIDGE) * inside
    labels = connected_regions((-_grown(-inside, BRIDGE) > 0) | (marked > 0))
    part = torch.isin(labels, labels[stroke])  # labels of a batch are all different
    kept = (_grown(part.float(), BRIDGE + 1) > 0) & (_grown(inside, 1) > 0)
    return torch.where(strokes & ~kept, 0.0, finer)


def _strokes(region: Tensor) -> Tensor:
    """Which regions of a batch are told by strokes, with some unknown, (B, 1, 1, 1)."""
    return (region < 0).flatten(1).any(1)[:, None, None, None]


def _grown(maps: Tensor, by: int) -> Tensor:
    """Maps whose large values have spread by that many pixels."""
    return F.max_pool2d(maps, 2 * by + 1, stride=1, padding=by)


def is_rough(region: Tensor) -> bool:
    r"""Whether a region was quickly drawn: of boxes, or by strokes on unknown ground.

    Outlines of boxes are straight for long; those of things turn after a pixel or two somewhere,
    whatever their size. What of an outline lies at the border of the photo is not looked at.

    Args:
        region: The region at the size at which it was told, with shape :math:`(1, h, w)`: 1
            inside, 0 outside, soft between, -1 unknown.

    Returns:
        Whether it is. One that is inside everywhere, or nowhere, is not.

    Example:
        >>> box = torch.zeros(1, 32, 32)
        >>> box[:, 8:20, 8:24] = 1
        >>> disc = torch.hypot(*torch.meshgrid(*[torch.arange(32.0) - 16] * 2, indexing="ij")) < 9
        >>> is_rough(box), is_rough(disc[None].float())
        (True, False)
    """
    if (region < 0).any():
        return bool((region > 0).any())
    # Where it begins: farther in, soft edges round corners off.
    inside = (region[0] > 0.05).cpu().numpy()
    lengths = np.concatenate([_runs(inside), _runs(inside.T)])
    if not lengths.size:
        return False
    short = lengths <= max(SHORT, max(inside.shape) * SHORT_SHARE)
    return bool(lengths.size <= 4 or short.mean() <= UNEVEN)  # four are one box of any size


def _runs(inside: np.ndarray) -> np.ndarray:
    """The lengths of the straight pieces of an outline that run along rows."""
    steps = np.pad(np.diff(inside.astype(np.int8), axis=0), ((0, 0), (0, 1))).ravel()
    starts = np.flatnonzero(np.diff(steps, prepend=0))
    lengths = np.diff(np.append(starts, steps.size))
    return lengths[steps[starts] != 0]


def told_roughly(region: Tensor, refine: bool | str) -> list[bool]:
    r"""Which regions of a batch are taken as rough.

    Args:
        region: What was told, at the size at which it was, with shape :math:`(B, 1, h, w)`: 1
            inside, 0 outside, soft between, -1 unknown.
        refine: As :func:`opmask.plan` takes it: true says that all are, false that none is; or
            "never", which is "auto" here, as "grabcut" is.

    Returns:
        Of each whether it is. One of which no part is inside never is.

    Example:
        >>> box = torch.zeros(1, 1, 32, 32)
        >>> box[..., 8:20, 8:24] = 1
        >>> told_roughly(box, "auto"), told_roughly(box, False), told_roughly(0 * box, True)
        ([True], [False], [False])
    """
    if isinstance(refine, str):
        return [is_rough(one) for one in region]
    return [bool(refine and (one > 0).any()) for one in region]


def to_refine(model: OperatorMaskWrapper, rough: Sequence[bool], refine: bool | str) -> list[bool]:
    r"""Which regions of a batch are to be made finer.

    Args:
        model: The model.
        rough: Which are rough, see :func:`told_roughly`.
        refine: As :func:`opmask.plan` takes it, or "never".

    Returns:
        Of each whether it is.

    Raises:
        ValueError: If `refine` is true or "grabcut" and the model has no gate.
    """
    able = "gate" in model.retoucher.ranges
    if refine == "auto":
        able = able and model.calibration is not None and model.calibration.refines
    elif refine == "never":
        return [False for _ in rough]
    elif refine and not able:
        raise ValueError(
            "'refine' must be False or 'auto' for a model without a mask 'gate', which says where."
        )
    return [able and one for one in rough]


def told_strengths(
    model: OperatorMaskWrapper,
    image: Tensor,
    masks: Mapping[str, Tensor],
    region: Tensor,
    rough: Sequence[bool],
) -> Tensor:
    r"""As far as a model is trusted with each region of a batch that is told.

    Args:
        model: The model.
        image: The photos, with shape :math:`(B, 3, h, w)`, sRGB in :math:`[0, 1]`.
        masks: What it predicted for them, each with shape :math:`(B, 1, h, w)`.
        region: For which region, with the same shape: 1 inside, 0 outside, soft between, -1
            unknown.
        rough: Which are told roughly, see :func:`told_roughly`.

    Returns:
        The strengths, ``float64``, with shape :math:`(B)`, in :math:`[0, 1]`; 1 without a
        calibration.
    """
    if model.calibration is None:
        return torch.ones(len(rough), dtype=torch.float64)
    change = change_within(image, model.retoucher(image, masks), region).cpu().double()
    return model.calibration.told_strengths(change, rough)


def refined(
    model: OperatorMaskWrapper,
    image: Tensor,
    region: Tensor,
    chosen: Sequence[bool],
    size: int | tuple[int, int] | None,
    *,
    grabcut: bool = False,
) -> Tensor:
    r"""The regions of a batch, some of them finer if the model finds something.

    Args:
        model: The model, with a gate, in evaluation mode.
        image: The photos, with shape :math:`(B, 3, h, w)`, sRGB in :math:`[0, 1]`.
        region: What was told, with shape :math:`(B, 1, h, w)`: 1 inside, 0 outside, soft between,
            -1 unknown.
        chosen: Which are to be made finer, see :func:`to_refine`.
        size: At which the model works, see :meth:`opmask.OperatorMaskWrapper.predict`.
        grabcut: Whether GrabCut goes over what the model says, see
            :func:`opmask.inference.grabcut.cut`.

    Returns:
        The regions, with the shape of `region`. Where nothing is found within boxes, or around
        strokes, they are as they were, and a warning says so.
    """
    places = torch.tensor(chosen, device=region.device).nonzero()[:, 0]
    if not places.numel():
        return region
    told = region[places]
    gate = model.predict(image[places], told, size=size)["gate"].float()
    seen = refined_region(gate, told)
    finer = joined(seen, told)
    open_to_it = torch.where(_strokes(told), told < 0, told > 0)
    found = ((finer > 0.5) & open_to_it).flatten(1).any(1)
    if not found.all():
        warn(EMPTY)
    if grabcut:
        each = zip(image[places], told, seen, strict=True)
        finer = joined(torch.stack([cut(*one) for one in each]), told)
    finer = torch.where(found[:, None, None, None], finer, told)
    return region.index_copy(0, places, finer)
