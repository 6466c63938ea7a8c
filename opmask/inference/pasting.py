r"""Pasting a cut-out into a photo: the composite, and the region for the model.

Data flow: `(photo, cut-out) -> paste_into -> (composite, region) -> plan -> Edit`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.files.photo import Photo
from opmask.retouch.pixels import decode, encode, profile_of, to_stored

__all__ = ["paste_into"]

LARGEST_CUTOUT = 200_000_000
"""The most pixels of an enlarged cut-out, which is there in floats, as a whole."""


def paste_into(
    photo: Photo, cutout: Photo, *, at: tuple[int, int] = (0, 0), scale: float = 1.0
) -> tuple[Photo, Tensor]:
    r"""Pastes a cut-out into a photo, by its alpha.

    What lies beyond the photo is cut off. Colours are converted from the profile of the cut-out to
    that of the photo.

    Args:
        photo: The photo.
        cutout: The cut-out, with alpha.
        at: Where the upper left corner of the cut-out goes, x and y in pixels of the photo; may be
            negative.
        scale: The factor on the size of the cut-out.

    Returns:
        The composite, with the type and all else of `photo`; and the region, how opaque the
        cut-out is at each pixel, with shape :math:`(1, 1, H, W)`, in :math:`[0, 1]`.

    Raises:
        ValueError: If the cut-out has no alpha, nothing of it lies in the photo, or `scale` makes
            it less than a pixel, larger than 30,000, or more than `LARGEST_CUTOUT` in all.

    Example:
        >>> photo = Photo(np.full((40, 60, 3), 90, np.uint8))
        >>> cutout = Photo(np.full((10, 10, 4), 255, np.uint8))
        >>> composite, region = paste_into(photo, cutout, at=(5, 20))
        >>> composite.pixels[20, 5].tolist(), region.sum().item()
        ([255, 255, 255], 100.0)
    """
    if cutout.alpha is None:
        raise ValueError("the cut-out must have alpha, got a picture without.")
    if not 0 < scale < math.inf:
        raise ValueError(f"'scale' must be a number above 0, got {scale}.")
    height, width = (round(side * scale) for side in cutout.size)
    if not 1 <= min(height, width) <= max(height, width) <= 30_000:
        raise ValueError(
            f"'scale' must make the cut-out 1 to 30000 pixels a side, got {scale}, which makes it "
            f"{width}x{height}."
        )
    if height * width > LARGEST_CUTOUT:
        raise ValueError(
            f"'scale' must make the cut-out at most {LARGEST_CUTOUT:,} pixels in all, got "
            f"{scale}, which makes it {width}x{height}."
        )
    alpha = torch.from_numpy(cutout.alpha.astype(np.float32) / cutout.levels)[None, None]
    colors = decode(to_stored(cutout)[0], profile_of(cutout)).float() * alpha
    alpha, colors = _resized(alpha, (height, width)), _resized(colors, (height, width))
    x, y = at
    here = slice(max(y, 0), min(y + height, photo.size[0])), _across(x, width, photo)
    if here[0].start >= here[0].stop or here[1].start >= here[1].stop:
        raise ValueError(f"'at' must leave some of the cut-out in the photo, got {x},{y}.")
    inside = slice(here[0].start - y, here[0].stop - y), slice(here[1].start - x, here[1].stop - x)
    alpha, colors = alpha[..., inside[0], inside[1]], colors[..., inside[0], inside[1]]
    if not (alpha > 0).any():
        raise ValueError(f"'at' must leave some of the cut-out in the photo, got {x},{y}.")
    pixels = photo.pixels.copy()
    under = to_stored(photo)[0][here]
    mixed = colors + (1 - alpha) * decode(under, photo.profile).float()
    new = encode(mixed, under, photo.profile)
    own = pixels[here]
    own[..., : new.shape[2]] = torch.where(alpha[0, 0, ..., None] > 0, new, under).numpy()
    if photo.alpha is not None:
        own[..., -1] = np.maximum(own[..., -1], (alpha[0, 0].numpy() * photo.levels).round())
    region = torch.zeros(1, 1, *photo.size)
    region[..., here[0], here[1]] = alpha
    return photo.with_pixels(pixels), region


def _across(x: int, width: int, photo: Photo) -> slice:
    return slice(max(x, 0), min(x + width, photo.size[1]))


def _resized(planes: Tensor, size: tuple[int, int]) -> Tensor:
    if planes.shape[-2:] == size:
        return planes
    return F.interpolate(planes, size, mode="bilinear", antialias=True).clamp(0, 1)
