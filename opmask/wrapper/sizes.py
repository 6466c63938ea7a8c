r"""Sizes: which image sizes a network accepts, and how to give it one of them.

Data flow: `image (any size) -> pad or resize -> backbone -> logits -> crop -> masks (any size)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.checks import SMALLEST

__all__ = ["Accepted", "find_sizes", "fit_longer_side", "pad_to_multiple", "resize"]


class Accepted(NamedTuple):
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
) -> Accepted:
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
            found; or if the known multiple is wrong.
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
        if accepts(_enlarged(example, rows, columns)):
            return Accepted(multiple, _find_least(example, accepts, multiple))
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
    return Accepted(1, 1, (height, width))


def _enlarged(image: Tensor, rows: int, columns: int) -> Tensor:
    return F.pad(image, (0, columns, 0, rows), mode="replicate")


def _find_least(example: Tensor, accepts: Callable[[Tensor], bool], multiple: int) -> int:
    """The smallest of 16, 32, 64 ... that works; deep networks need more than one pixel."""
    size = math.ceil(SMALLEST / multiple) * multiple
    limit = min(example.shape[-2:])
    while size < limit and not accepts(example[..., :size, :size].contiguous()):
        size *= 2
    return min(size, math.ceil(limit / multiple) * multiple)


def pad_to_multiple(image: Tensor, accepted: Accepted) -> Tensor:
    r"""Repeats the last row and column until the network accepts the size; a copy in any case.

    Args:
        image: An image, with shape :math:`(B, C, H, W)`.
        accepted: The sizes that the network accepts.

    Returns:
        The padded image, with shape :math:`(B, C, H', W')`; the image itself lies at its top left.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.rand(1, 3, 97, 131), Accepted(32, 32)).shape
        torch.Size([1, 3, 128, 160])
    """
    # A copy, because some networks change their input in place.
    multiple = accepted.multiple_of
    rows, columns = (max(-s % multiple, accepted.least - s) for s in image.shape[-2:])
    return _enlarged(image, rows, columns) if rows or columns else image.clone()


def check_multiple(multiple_of: int) -> None:
    """Raises unless `multiple_of` is a number that sizes can be multiples of."""
    if not isinstance(multiple_of, int) or multiple_of < 1:
        raise ValueError(f"'multiple_of' must be at least 1, got {multiple_of!r}.")


def check_size(size: int | tuple[int, int]) -> None:
    """Raises unless `size` is a longer side, or a height and a width."""
    sides = (size, size) if isinstance(size, int) else size
    whole = isinstance(sides, tuple) and all(isinstance(side, int) for side in sides)
    if not whole or len(sides) != 2 or min(sides) < SMALLEST:
        raise ValueError(
            "'size' must be the longer side or height and width, in whole pixels from "
            f"{SMALLEST}, got {size!r}."
        )


def fit_longer_side(size: tuple[int, int], longer: int) -> tuple[int, int]:
    r"""The size with the given longer side and the same aspect ratio; it only shrinks.

    Args:
        size: Height and width, in pixels.
        longer: The longer side wanted, in pixels.

    Returns:
        Height and width, in pixels, each at least 16.

    Example:
        >>> fit_longer_side((1080, 1920), 256)
        (144, 256)
    """
    scale = min(1.0, longer / max(size))
    height, width = (max(round(s * scale), min(s, SMALLEST)) for s in size)
    return height, width


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    r"""Resizes maps bilinearly, antialiased where they shrink.

    Args:
        maps: Images or maps, with shape :math:`(B, C, h, w)`.
        size: Height and width wanted, in pixels.

    Returns:
        The maps, with shape :math:`(B, C, H, W)`; those given if they have that size.

    Example:
        >>> import torch
        >>> resize(torch.rand(1, 6, 32, 48), (97, 131)).shape
        torch.Size([1, 6, 97, 131])
    """
    if maps.shape[-2:] == size:
        return maps
    shrinks = maps.shape[-2] > size[0] or maps.shape[-1] > size[1]
    return F.interpolate(maps, size=size, mode="bilinear", antialias=shrinks)
