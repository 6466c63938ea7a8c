r"""Pictures as tensors, and back to what they were: PIL images, NumPy arrays, tensors.

Data flow: `picture -> to_pixels -> float tensor -> ... -> like(picture) -> picture`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opmask.color import to_levels
from opmask.files.pictures import alpha_of, to_rgb

__all__ = ["CHANGED", "MODES", "changed_share", "check_mode", "kept_info", "like", "to_pixels"]

T = TypeVar("T", Image.Image, np.ndarray, Tensor)

MODES = ("RGB", "RGBA", "L", "LA", "P", "PA")
"""The modes of PIL images that can be retouched."""

KEPT = ("icc_profile", "exif")
"""What comes with a PIL image, and is true of the retouched one, too."""

CHANGED = 4
"""The levels of 255 above which a pixel counts as changed, as in :mod:`opmask.metrics`."""


def to_pixels(image: Image.Image | np.ndarray | Tensor) -> Tensor:
    r"""A picture as a batch of floating-point RGB images.

    Args:
        image: A PIL image of one of :data:`MODES`, upright; an 8-bit array, with shape
            :math:`(H, W, 3)`, in 0-255; or a tensor, with shape :math:`(3, H, W)` or
            :math:`(B, 3, H, W)`, floating point in :math:`[0, 1]` or ``uint8`` in 0-255.

    Returns:
        The pixels, in at least float32, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.
        Grey is repeated, palettes are looked up, alpha is left out.

    Raises:
        TypeError: If it is none of these, or of another data type.
        ValueError: If the mode, the shape or the range is another one.

    Example:
        >>> to_pixels(Image.new("RGB", (3, 2), "red"))[0, :, 0, 0]
        tensor([1., 0., 0.])
    """
    if isinstance(image, Image.Image):
        check_mode(image)
        return _from_array(to_rgb(image))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if not isinstance(image, Tensor):
        raise TypeError(
            f"'image' must be a PIL image, a NumPy array or a tensor, got {type(image).__name__}."
        )
    if image.ndim not in (3, 4) or image.shape[-3] != 3:
        raise ValueError(
            f"'image' must have shape (3, H, W) or (B, 3, H, W), got {tuple(image.shape)}."
        )
    return _to_unit(image).view(-1, *image.shape[-3:])


def like(image: T, pixels: Tensor) -> T:
    r"""Pixels as a picture of the kind, type and device of another one.

    A PIL image of grey (`L`, `LA`) becomes grey again, by the usual weights for brightness; a
    palette cannot hold new colours, so `P` and `PA` become `RGB` or, if anything is transparent,
    `RGBA`. Alpha, the ICC profile and the EXIF tags are those of `image`; a single transparent
    colour becomes an alpha channel.

    Args:
        image: The picture that :func:`to_pixels` was given.
        pixels: The new pixels, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`, on any device.

    Returns:
        The new picture, with the size of `image`; 8-bit values are rounded.

    Example:
        >>> photo = Image.new("L", (3, 2), 100)
        >>> like(photo, to_pixels(photo) + 0.2).getpixel((0, 0))
        151
    """
    if isinstance(image, Tensor):
        typed = to_levels(pixels) if image.dtype == torch.uint8 else pixels.to(image.dtype)
        return typed.to(image.device).view(image.shape)
    levels = to_levels(pixels)[0].permute(1, 2, 0).cpu().numpy()
    if isinstance(image, np.ndarray):
        return np.ascontiguousarray(levels)
    picture = Image.fromarray(np.ascontiguousarray(levels))
    if image.mode in ("L", "LA"):
        picture = picture.convert("L")
    if image.has_transparency_data:
        picture.putalpha(Image.fromarray(alpha_of(image)))
    picture.info.update(kept_info(image))
    return picture


def kept_info(picture: Image.Image) -> dict[str, Any]:
    """What comes with a picture and stays when its colours change: ICC profile and EXIF."""
    return {name: picture.info[name] for name in KEPT if picture.info.get(name)}


def check_mode(picture: Image.Image) -> None:
    """Raises unless a PIL image has one of :data:`MODES`."""
    if picture.mode not in MODES:
        raise ValueError(
            f"'image' must have one of the modes {', '.join(MODES)}, got {picture.mode!r}. "
            "Convert it to 8-bit RGB, by its colour profile if it has one."
        )


def changed_share(before: Image.Image, after: Image.Image) -> float:
    r"""The share of a picture's pixels of which a channel has changed visibly.

    Args:
        before: The picture.
        after: The picture that it became, of the same size.

    Returns:
        The share of pixels that moved by more than :data:`CHANGED` levels, in :math:`[0, 1]`.

    Example:
        >>> grey = Image.new("RGB", (4, 1), (100, 100, 100))
        >>> changed_share(grey, Image.new("RGB", (4, 1), (100, 105, 100)))
        1.0
    """
    old, new = (np.asarray(picture.convert("RGBA"), np.int16) for picture in (before, after))
    return float((abs(new - old).max(-1) > CHANGED).mean())


def _from_array(image: np.ndarray) -> Tensor:
    if image.dtype != np.uint8:
        raise TypeError(f"'image' must be 8-bit (uint8) as an array, got {image.dtype}.")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"'image' must have shape (H, W, 3) as an array, got {image.shape}.")
    # A copy: torch reads no negative strides, and warns of arrays that must not be written to.
    return _to_unit(torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1))[None]


def _to_unit(image: Tensor) -> Tensor:
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point():
        raise TypeError(f"'image' must be floating point or uint8, got {image.dtype}.")
    if not ((image >= 0) & (image <= 1)).all():
        raise ValueError(
            f"'image' must lie in [0, 1], got values in [{image.min():.3g}, {image.max():.3g}]. "
            "Divide levels by 255, or pass them as uint8."
        )
    return image.to(torch.promote_types(image.dtype, torch.float32))
