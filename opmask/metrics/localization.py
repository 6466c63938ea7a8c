r"""Whether the model changed the right place: the effective change against the region.

A model that is given no region says where the edit was by what it changes, so its
output alone is enough to score it, whatever operators it used::

    output, image -> effective_change -> above a threshold -> iou with the region
    add masks -> add_mask_iou, as the paper has it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from opmask.metrics.image import check_images

# A change of exactly 4 levels between 8-bit images is not above 4/255, but its float is in one
# case of sixteen. Far below any change that can be seen.
ROUNDING = 1e-6

ADD_THRESHOLD = 1e-4
"""Where the paper's code cuts its add masks, of tensors in [0, 1]."""

SWEEP = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""The thresholds that :func:`iou_sweep` tries by default, in levels of 255."""


def iou(region: Tensor, predicted: Tensor) -> Tensor:
    r"""Intersection over union of two areas, each taken where it is above one half.

    .. math:: \frac{|r \cap p|}{|r \cup p|}

    Args:
        region: The true area :math:`r`, with shape :math:`(B, 1, H, W)`, bool or in
            :math:`[0, 1]`.
        predicted: The predicted area :math:`p`, with the shape and range of `region`.

    Returns:
        The ratio for each image, with shape :math:`(B)`, in :math:`[0, 1]`; 1 where both areas
        are empty.

    Raises:
        ValueError: If `region` is not :math:`(B, 1, H, W)` or the shapes differ.

    Example:
        >>> region = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> predicted = torch.tensor([[[[0.0, 1.0, 1.0, 0.0]]]])
        >>> iou(region, predicted)
        tensor([0.3333])
    """
    if region.ndim != 4 or region.shape[1] != 1:
        raise ValueError(f"'region' must have shape (B, 1, H, W), got {tuple(region.shape)}.")
    if predicted.shape != region.shape:
        raise ValueError(
            f"'predicted' must have the shape of 'region', {tuple(region.shape)}, "
            f"got {tuple(predicted.shape)}."
        )
    a, b = region > 0.5, predicted > 0.5
    intersection, union = (a & b).sum(dim=(1, 2, 3)), (a | b).sum(dim=(1, 2, 3))
    return torch.where(union > 0, intersection / union, 1.0)


def effective_change(output: Tensor, image: Tensor) -> Tensor:
    r"""How much each pixel was changed: its largest channel of the difference.

    .. math:: \max_c |y_c - x_c|

    An add mask alone is no map of the change where a mul mask may undo it; the output is.

    Args:
        output: The retouched image :math:`y`, with shape :math:`(B, 3, H, W)`, in
            :math:`[0, 1]`.
        image: The image :math:`x` before, with the shape and range of `output`.

    Returns:
        The change, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If `output` is not :math:`(B, 3, H, W)` or the shapes differ.

    Example:
        >>> output = torch.tensor([0.5, 0.25, 1.0]).reshape(1, 3, 1, 1)
        >>> effective_change(output, torch.full((1, 3, 1, 1), 0.75))
        tensor([[[[0.5000]]]])
    """
    check_images("output", output, "image", image)
    return (output - image).abs().amax(dim=1, keepdim=True)


def localization_iou(
    output: Tensor, image: Tensor, region: Tensor, threshold: float = 4 / 255
) -> Tensor:
    r"""Intersection over union of what the model changed and what it should have changed.

    The paper binarises its add masks and leaves open how; see :func:`effective_change` for why
    the output is compared here.

    Args:
        output: The retouched image, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.
        image: The image before, with the shape and range of `output`.
        region: The area to be changed, with shape :math:`(B, 1, H, W)`, bool or in
            :math:`[0, 1]`; it is cut at one half.
        threshold: A pixel is changed if its effective change is strictly above this, in image
            units.

    Returns:
        The ratio for each image, with shape :math:`(B)`, in :math:`[0, 1]`; 1 where nothing was
        to be changed and nothing was.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If the shapes do not fit.

    Example:
        >>> image = torch.zeros(1, 3, 4, 4)
        >>> region = torch.zeros(1, 1, 4, 4)
        >>> region[..., :2] = 1
        >>> localization_iou(image + 0.1 * region, image, region)
        tensor([1.])
    """
    return iou(region, effective_change(output, image) > threshold + ROUNDING)


def add_mask_iou(
    masks: Mapping[str, Tensor], region: Tensor, threshold: float = ADD_THRESHOLD
) -> Tensor:
    r"""Intersection over union of where any add mask acts and what should have been changed.

    A pixel is found where some :math:`|m_c|` is above the threshold. The paper's figures are of
    this kind: 51.1, 85.3, 81.5 and 77.9 % for a transformer on iHarmony4, which was *given* the
    region, and 52.9 % on HScene. It leaves open how channels are merged and whether signs count;
    the union of their sizes is our reading. Add masks alone are no map of the change where a mul
    mask may undo them; see :func:`localization_iou` for a score that any model has.

    Args:
        masks: Masks by name, each with shape :math:`(B, 1, H, W)`, in operator units. Those whose
            names end in `_add` count.
        region: The area to be changed, with that shape, bool or in :math:`[0, 1]`; it is cut at
            one half.
        threshold: A pixel is found if a mask is strictly above this, in operator units. The
            paper's 1e-4 is for spaces in :math:`[0, 1]`; take 2e-4 for those in
            :math:`[-1, 1]`, such as :data:`opmask.LAB_CENTERED`.

    Returns:
        The ratio for each image, with shape :math:`(B)`, in :math:`[0, 1]`.

    Raises:
        KeyError: If there is no add mask.
        ValueError: If the shapes do not fit.

    Example:
        >>> region = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> add_mask_iou({"l_add": -0.1 * region, "l_mul": region + 1}, region)
        tensor([1.])
    """
    added = [mask.abs() for name, mask in masks.items() if name.endswith("_add")]
    if not added:
        raise KeyError(f"'masks' must hold one whose name ends in '_add', got {list(masks)}.")
    return iou(region, torch.cat(added, 1).amax(1, keepdim=True) > threshold)


def iou_sweep(
    output: Tensor, image: Tensor, region: Tensor, levels: Iterable[float] = SWEEP
) -> dict[float, Tensor]:
    r"""The localisation IoU at several thresholds, see :func:`localization_iou`.

    One threshold favours the model that happens to be calibrated to it; the sweep tells whether
    another one finds the region better.

    Args:
        output: The retouched image, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.
        image: The image before, with the shape and range of `output`.
        region: The area to be changed, with shape :math:`(B, 1, H, W)`, bool or in
            :math:`[0, 1]`; it is cut at one half.
        levels: The thresholds, in levels of 255.

    Returns:
        For each threshold the ratios, with shape :math:`(B)`, in :math:`[0, 1]`. See
        :func:`best_threshold`.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If the shapes do not fit.

    Example:
        >>> image = torch.zeros(1, 3, 1, 4)
        >>> output = image + torch.tensor([30.0, 10.0, 2.0, 0.0]) / 255
        >>> region = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> iou_sweep(output, image, region, levels=(1, 4, 16))
        {1: tensor([0.6667]), 4: tensor([1.]), 16: tensor([0.5000])}
    """
    change = effective_change(output, image)
    return {level: iou(region, change > level / 255 + ROUNDING) for level in levels}


def best_threshold(sweep: dict[float, Tensor]) -> tuple[float, float]:
    """The threshold at which the mean IoU is highest, and that mean; the lowest one of equals.

    It is chosen with the regions at hand, so it is a bound, and no score to compare models by.

    Args:
        sweep: What :func:`iou_sweep` returned, for all images of the data set: for each threshold
            the ratios, with shape :math:`(N)`, in :math:`[0, 1]`.

    Returns:
        The threshold in levels of 255, and the mean of its ratios.

    Example:
        >>> best_threshold({1: torch.tensor([0.5, 0.7]), 4: torch.tensor([1.0, 0.4])})
        (4, 0.7)
    """
    level = max(sorted(sweep), key=lambda level: sweep[level].mean().item())
    return level, sweep[level].mean().item()
