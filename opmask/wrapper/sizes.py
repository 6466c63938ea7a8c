r"""Which image sizes a network accepts.

Data flow: `(example image, network) -> find_sizes -> SizeRule`, once, when a wrapper is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["SizeRule", "enlarged", "find_sizes"]

SMALLEST = 16
"""The smallest height or width that a model accepts, in pixels."""


class SizeRule(NamedTuple):
    r"""The sizes that a network accepts.

    Args:
        multiple_of: Height and width must be multiples of this, in pixels.
        least: The smallest height and width that works, in pixels.
        fixed: The only size that works, as height and width, or `None`.
    """

    multiple_of: int
    least: int
    fixed: tuple[int, int] | None = None


@torch.no_grad()
def find_sizes(
    example: Tensor, accepts: Callable[[Tensor], bool], multiple_of: int | None
) -> SizeRule:
    r"""Finds the sizes that a network accepts, from a few small forwards.

    Args:
        example: An image that the network accepts, with shape :math:`(B, 3, H, W)`, in :math:`[0,
            1]`.
        accepts: Whether the network runs on an image and its logits then fit the image.
        multiple_of: The size multiple if it is known.

    Returns:
        The sizes. A network that accepts no size but the example's, or only square ones, has a
        fixed size.

    Raises:
        ValueError: If the network accepts a size that is not square, but no rule for others was
            found; if what it gives for the example does not fit it; or if the known multiple is
            wrong.
    """
    height, width = example.shape[-2:]
    common = math.gcd(height, width)
    divisors = (
        [multiple_of] if multiple_of else [m for m in range(1, common + 1) if common % m == 0]
    )
    for multiple in divisors:
        # One side grows more than the other, so that a network for square images only is found
        # out. Where there is nothing to search for, the smaller of such images will do.
        rows, columns = (multiple, 0) if multiple_of else (multiple, 2 * multiple)
        if accepts(enlarged(example, rows, columns)):
            return SizeRule(multiple, _find_least(example, accepts, multiple))
    if multiple_of:
        raise ValueError(
            f"the network does not accept sizes that are multiples of {multiple_of}. Pass another "
            "multiple_of=, or none to have it searched for"
        )
    if height != width:
        raise ValueError(
            f"it accepts {height}x{width}, but how it rounds other sizes could not be found out. "
            "Pass multiple_of= the size multiple that it needs"
        )
    if not accepts(example):
        raise ValueError(
            f"what it gives for {height}x{width} pixels is no map of them. Pass head= the name of "
            "a layer whose input is one, or example= an image of another size"
        )
    return SizeRule(1, 1, (height, width))


def enlarged(image: Tensor, rows: int, columns: int) -> Tensor:
    """An image with that many more rows and columns, which repeat its last."""
    return F.pad(image, (0, columns, 0, rows), mode="replicate")


def _find_least(example: Tensor, accepts: Callable[[Tensor], bool], multiple: int) -> int:
    """The smallest of 16, 32, 64 ... that works; deep networks need more than one pixel.

    It must work for a single image, whose pixels are all that there is to normalise with, and
    where one side alone is longer: some networks pad in another way as soon as one is short.
    """
    largest = math.ceil(min(example.shape[-2:]) / multiple) * multiple
    size = math.ceil(SMALLEST / multiple) * multiple
    if size >= largest:
        return largest
    rows, columns = (max(2 * largest - side, 0) for side in example.shape[-2:])
    image = enlarged(example[:1], rows, columns + multiple)
    while size <= 2 * largest:
        crops = (image[..., :size, : size + longer].contiguous() for longer in (0, multiple))
        if all(accepts(crop) for crop in crops):
            return size
        size *= 2
    return largest
