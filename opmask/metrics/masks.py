r"""How far predicted operator masks are from the masks that would have undone the change.

Two sets of masks can give the same image, so this is no substitute for comparing images; it says
whether the *explanation* is right, in the units of the operators::

    predicted masks, opmask.fit_masks -> mask_error -> error per mask, and its share
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class MaskError(NamedTuple):
    r"""The error of one mask.

    Attributes:
        error: The mean absolute error within the region of each image, with shape :math:`(B)`, in
            operator units; NaN where the region is empty.
        identity: The same error for a mask that changes nothing, with the shape and units of
            `error`.
    """

    error: Tensor
    identity: Tensor

    @property
    def share(self) -> float:
        """The error as a share of the identity's, both averaged over the images.

        0 is perfect; above 1, doing nothing would have been closer. NaN if nothing was to be done.
        """
        return (self.error.nanmean() / self.identity.nanmean()).item()


def mask_error(
    masks: Mapping[str, Tensor],
    fitted: Mapping[str, Tensor],
    identity: Mapping[str, Tensor],
    region: Tensor,
) -> dict[str, MaskError]:
    r"""Compares masks with fitted ones within the region.

    .. math:: \frac{1}{|R|} \sum_{(h,w) \in R} |m_{hw} - f_{hw}|

    Args:
        masks: The predicted masks :math:`m` by name, each with shape :math:`(B, 1, H, W)`, in
            operator units.
        fitted: The masks :math:`f` to find, with the names, shapes and units of `masks`, as of
            :func:`opmask.fit_masks`.
        identity: The masks that do nothing, see :meth:`opmask.Retoucher.identity`.
        region: The area :math:`R` that was changed, with shape :math:`(B, 1, H, W)`, bool or in
            :math:`[0, 1]`; it is cut at one half.

    Returns:
        The error of each mask.

    Raises:
        KeyError: If the names differ.
        ValueError: If a shape differs from the shape of `region`.

    Example:
        >>> flat = torch.ones(1, 1, 2, 2)
        >>> region = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
        >>> off = mask_error({"l_mul": 1.1 * flat}, {"l_mul": 1.4 * flat}, {"l_mul": flat}, region)
        >>> off["l_mul"].error, off["l_mul"].share
        (tensor([0.3000]), 0.75)
    """
    for name, others in (("fitted", fitted), ("identity", identity)):
        if others.keys() != masks.keys():
            raise KeyError(f"'{name}' must have the masks {list(masks)}, got {list(others)}.")
    return {
        name: MaskError(
            _within(name, mask, fitted[name], region),
            _within(name, identity[name], fitted[name], region),
        )
        for name, mask in masks.items()
    }


def _within(name: str, mask: Tensor, fitted: Tensor, region: Tensor) -> Tensor:
    for values in (mask, fitted):
        if values.shape != region.shape:
            raise ValueError(
                f"{name!r} must have the shape of 'region', {tuple(region.shape)}, "
                f"got {tuple(values.shape)}."
            )
    inside = region > 0.5
    distance = torch.where(inside, (mask - fitted).abs(), 0.0)
    return distance.sum((1, 2, 3)) / inside.sum((1, 2, 3))
