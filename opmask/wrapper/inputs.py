r"""What goes into a network: checks, the region plane, and padding.

Data flow: `(image, region) -> padded input`, in every call of a model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.color import check_image
from opmask.wrapper.sizes import SMALLEST, SizeRule

__all__ = ["check_inputs", "check_size", "pad_to_multiple", "with_region"]


def check_inputs(image: Tensor, region: Tensor | None, takes_region: bool) -> None:
    """Raises unless a model that takes a region, or not, can work with these two."""
    check_image(image)
    if min(image.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"'image' must be at least {SMALLEST}x{SMALLEST} pixels, "
            f"got {tuple(image.shape[-2:])}."
        )
    if region is None:
        return
    if not takes_region:
        raise ValueError(
            "this model is blind: it was built without region=True, so 'region' must be None. "
            "Use edit(..., region=region) if you only want to confine the masks."
        )
    if not isinstance(region, Tensor):
        raise TypeError(f"'region' must be a tensor, got {type(region).__name__}.")
    want = (image.shape[0], 1, *image.shape[-2:])
    if region.shape != want:
        raise ValueError(
            f"'region' must have shape {want} to fit the image, got {tuple(region.shape)}."
        )


def with_region(x: Tensor, region: Tensor | None) -> Tensor:
    """A network's input with the region as one more channel; -1, unknown, if there is none."""
    plane = torch.full_like(x[:, :1], -1.0) if region is None else region.to(x.dtype)
    return torch.cat([x, plane], 1)


def pad_to_multiple(image: Tensor, rule: SizeRule) -> Tensor:
    r"""Repeats the last row and column until the network accepts the size; a copy in any case.

    Args:
        image: An image, with shape :math:`(B, C, H, W)`.
        rule: The sizes that the network accepts.

    Returns:
        The padded image, with shape :math:`(B, C, H', W')`; the image itself lies at its top left.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.rand(1, 3, 97, 131), SizeRule(32, 32)).shape
        torch.Size([1, 3, 128, 160])
    """
    multiple = rule.multiple_of
    rows, columns = (max(-s % multiple, rule.least - s) for s in image.shape[-2:])
    if not (rows or columns):
        return image.clone()  # because some networks change their input in place
    return F.pad(image, (0, columns, 0, rows), mode="replicate")


def check_size(size: int | tuple[int, int]) -> None:
    """Raises unless `size` is a longer side, or a height and a width."""
    sides = (size, size) if isinstance(size, int) else size
    whole = isinstance(sides, tuple) and all(isinstance(side, int) for side in sides)
    if not whole or len(sides) != 2 or min(sides) < SMALLEST:
        raise ValueError(
            "'size' must be the longer side or height and width, in whole pixels from "
            f"{SMALLEST}, got {size!r}."
        )
