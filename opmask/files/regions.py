r"""Regions in files: pictures that say where a photo was changed, however they say it.

Data sets, :func:`opmask.harmonize` and the command read them all alike.

Data flow: `picture -> to_region -> array, 1 inside and 0 outside`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from opmask.files.pictures import alpha_of, to_rgb

__all__ = ["GREY", "LABELS", "soft", "to_region"]

LABELS = 0.05
"""Grey levels that stay below this share of white are taken for labels, not for a soft region."""

GREY = 2
"""By how many levels of 255 the channels of grey may differ, because WebP with losses rounds."""


def to_region(picture: Image.Image, name: str = "'region'") -> np.ndarray:
    r"""A picture of a region, as numbers.

    What counts is the grey that is shown. Where that says nothing (colours, or a single grey), it
    is the numbers of a palette, if they are 0 and one other; else the alpha of a cut-out. What
    these levels mean, :func:`soft` says.

    Args:
        picture: The picture, of any mode, upright.
        name: What to call it in messages.

    Returns:
        The region, ``float32``, with shape :math:`(H, W)`: 1 inside, 0 outside, soft between.

    Raises:
        ValueError: If it has colours and no alpha, more than 16 bits, or looks like labels.

    Example:
        >>> to_region(Image.new("1", (2, 1), 1))
        array([[1., 1.]], dtype=float32)
    """
    return soft(_levels(picture, name), name)


def soft(levels: np.ndarray, name: str = "'region'") -> np.ndarray:
    r"""What grey levels say about a region.

    * 0 and one other value, whichever: that value is inside.
    * One value that is not 0: everything is inside.
    * More values: soft, as shares of the largest that the type can hold, which is 255 or 65535.

    Args:
        levels: The levels, ``uint8`` or ``uint16``, with shape :math:`(H, W)`.
        name: What to call them in messages.

    Returns:
        The region, ``float32``, with shape :math:`(H, W)`, in :math:`[0, 1]`.

    Raises:
        ValueError: If there are more values, all below 5 % of the largest possible, so that hardly
            anything would be inside.

    Example:
        >>> soft(np.array([[0, 1]], np.uint8)), soft(np.array([[0, 51, 255]], np.uint8))
        (array([[0., 1.]], dtype=float32), array([[0. , 0.2, 1. ]], dtype=float32))
    """
    largest, top = int(levels.max()), np.iinfo(levels.dtype).max
    if ((levels == 0) | (levels == largest)).all():
        return (levels > 0).astype(np.float32)
    if largest < LABELS * top:
        raise ValueError(
            f"{name} must be 0 and one other value, or soft with {top} for inside, got several "
            f"values of at most {largest}. They look like labels: make the one that is meant "
            f"{top}, and the others 0."
        )
    return levels.astype(np.float32) / np.float32(top)


def _levels(picture: Image.Image, name: str) -> np.ndarray:
    """The levels that say where the region is, (H, W), 8 or 16 bits."""
    if picture.mode.startswith("I;16"):
        return np.array(picture).astype(np.uint16)
    colours = to_rgb(picture, name)
    grey = colours[..., 0]
    agree = bool((colours.max(-1) - colours.min(-1) <= GREY).all())
    if agree and _varies(grey):
        return grey
    if picture.mode in ("P", "PA"):
        numbers = np.array(picture).reshape(*grey.shape, -1)[..., 0]
        two = bool(((numbers == 0) | (numbers == numbers.max())).all())
        if two and (_varies(numbers) or not agree):
            return numbers
    if picture.has_transparency_data and _varies(alpha := alpha_of(picture)):
        return alpha
    if not agree:
        raise ValueError(
            f"{name} must be grey, white inside and black outside, or a cut-out with alpha, got "
            f"several colours (mode {picture.mode!r}). Save it as white and black."
        )
    return grey


def _varies(levels: np.ndarray) -> bool:
    return bool(levels.min() < levels.max())
