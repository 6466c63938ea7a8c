r"""Pictures of all kinds as stored pixels, and back: photos, PIL images, arrays, tensors.

Stored pixels are the numbers of the picture itself, 8 bits, 16 bits or floating point, grey or
RGB. They become colours, and colours become them, for a strip at a time.

Data flow: `picture -> to_stored -> decode -> sRGB -> encode -> like(picture) -> picture`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opmask.files.photo import Photo
from opmask.files.pictures import alpha_of, to_rgb
from opmask.files.profiles import check_profile, from_srgb, is_srgb, to_srgb

__all__ = [
    "CHANGED",
    "MODES",
    "Picture",
    "changed_share",
    "check_mode",
    "decode",
    "encode",
    "kept_info",
    "like",
    "profile_of",
    "to_stored",
]

Picture = Photo | Image.Image | np.ndarray | Tensor
"""What can be retouched."""

T = TypeVar("T", Photo, Image.Image, np.ndarray, Tensor)

MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "I;16")
"""The modes of PIL images that can be retouched."""

KEPT = ("icc_profile", "exif")
"""What comes with a PIL image, and is true of the retouched one, too."""

CHANGED = 4
"""The levels of 255 above which a pixel counts as changed, as in :mod:`opmask.metrics`."""

WHITE = {torch.uint8: 255, torch.uint16: 65535}
"""What white is stored as, in whole numbers."""

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue count in grey (ITU-R BT.601, as in Pillow)."""


def to_stored(image: Picture) -> Tensor:
    r"""The pixels of a picture as they are stored, without alpha.

    Args:
        image: A photo; a PIL image of one of :data:`MODES`, upright; an array, with shape
            :math:`(H, W, 3)`, :math:`(H, W, 1)` or :math:`(H, W)`; or a tensor, with shape
            :math:`(3, H, W)` or :math:`(B, 3, H, W)`. Both are ``uint8`` in 0-255, ``uint16`` in
            0-65535, or floating point in :math:`[0, 1]`.

    Returns:
        The pixels, with shape :math:`(B, H, W, C)` and the type of `image`; of photos and tensors,
        a view.
        C is 1 for grey and 3 for RGB; palettes are looked up.

    Raises:
        TypeError: If it is none of these, or of another data type.
        ValueError: If the mode, the shape or the range is another one.

    Example:
        >>> to_stored(Image.new("RGB", (3, 2), "red"))[0, 0, 0]
        tensor([255,   0,   0], dtype=torch.uint8)
    """
    if isinstance(image, Photo):
        colors = image.pixels[..., : image.channels - (image.alpha is not None)]
        return torch.from_numpy(colors if colors.flags.writeable else colors.copy())[None]
    if isinstance(image, Image.Image):
        check_mode(image)
        if image.mode in ("L", "LA", "I;16"):
            image = np.array(image.getchannel("L") if image.mode == "LA" else image)[..., None]
        else:
            image = to_rgb(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if not isinstance(image, Tensor):
        raise TypeError(
            "'image' must be a Photo, a PIL image, a NumPy array or a tensor, got "
            f"{type(image).__name__}."
        )
    if image.ndim not in (3, 4) or image.shape[-3] != 3:
        raise ValueError(
            f"'image' must have shape (3, H, W) or (B, 3, H, W), got {tuple(image.shape)}."
        )
    return _checked(image).reshape(-1, *image.shape[-3:]).permute(0, 2, 3, 1)


def like(image: T, stored: Tensor) -> T:
    r"""Stored pixels as a picture of the kind and device of another one.

    A palette cannot hold new colours, so `P` and `PA` become `RGB` or, if anything is transparent,
    `RGBA`. Alpha, the ICC profile and the EXIF tags are those of `image`; a single transparent
    colour becomes an alpha channel.

    Args:
        image: The picture that :func:`to_stored` was given.
        stored: The new pixels, with the shape and type of what :func:`to_stored` made of it.

    Returns:
        The new picture, with the size of `image`.

    Example:
        >>> photo = Image.new("L", (3, 2), 100)
        >>> like(photo, to_stored(photo) + 51).getpixel((0, 0))
        151
    """
    if isinstance(image, Tensor):
        pixels = stored.permute(0, 3, 1, 2).contiguous()
        return pixels.to(image.device).view(image.shape)
    array = stored[0].cpu().numpy()
    if isinstance(image, Photo):
        return image.with_pixels(_beside_alpha(array, image.alpha))
    if isinstance(image, np.ndarray):
        return array.reshape(image.shape)
    picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    if image.has_transparency_data:
        picture.putalpha(Image.fromarray(alpha_of(image)))
    picture.info.update(kept_info(image))
    return picture


def decode(stored: Tensor, profile: bytes | None = None) -> Tensor:
    r"""Stored pixels as colours.

    Args:
        stored: The pixels, with shape :math:`(H, W, C)`.
        profile: The ICC profile of the colours; sRGB if `None`.

    Returns:
        The colours, in at least float32, with shape :math:`(1, 3, H, W)`, sRGB; those of a wide
        gamut lie partly beyond :math:`[0, 1]`.
    """
    if profile is not None and not is_srgb(profile):
        own = decode(stored)[0, : stored.shape[2]].permute(1, 2, 0).float()
        return _planes(torch.from_numpy(to_srgb(own.numpy(), profile)))
    dtype = stored.dtype if stored.is_floating_point() else torch.float32
    colors = stored.to(torch.promote_types(dtype, torch.float32))
    if stored.dtype in WHITE:
        colors = colors / WHITE[stored.dtype]
    return _planes(colors)


def encode(image: Tensor, like: Tensor, profile: bytes | None = None) -> Tensor:
    r"""Colours as stored pixels: the inverse of :func:`decode`.

    Args:
        image: The colours, with shape :math:`(1, 3, H, W)`, sRGB; what the type or the profile
            cannot hold is clipped.
        like: The pixels that they were, whose shape and type the new ones get.
        profile: The ICC profile of the colours; sRGB if `None`.

    Returns:
        The pixels, with shape :math:`(H, W, C)`; whole numbers are rounded, halves to even.
    """
    colors = image[0].permute(1, 2, 0)
    if like.shape[2] == 1:
        colors = (colors * colors.new_tensor(LUMA)).sum(2, keepdim=True)
    if profile is not None and not is_srgb(profile):
        colors = torch.from_numpy(from_srgb(colors.numpy(), profile))
    colors = colors.clamp(0, 1)
    if like.dtype in WHITE:
        # By way of int32, because torch computes little in 16 bits without a sign.
        colors = (colors * WHITE[like.dtype]).round().to(torch.int32)
    return colors.to(like.dtype)


def profile_of(image: object) -> bytes | None:
    """The ICC profile of a picture, if it has one that is read; `None` stands for sRGB."""
    if isinstance(image, Photo):
        return image.profile
    if not isinstance(image, Image.Image) or not image.info.get("icc_profile"):
        return None
    profile = image.info["icc_profile"]
    try:
        check_profile(profile, 1 if image.mode in ("L", "LA", "I;16") else 3)
    except ValueError:  # damaged, or of tables: what shows it without a profile has done so, too
        return None
    return bytes(profile)


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


def changed_share(before: np.ndarray, after: np.ndarray, white: float = 255) -> float:
    r"""The share of a picture's pixels of which a channel has changed visibly.

    Args:
        before: The pixels, with shape :math:`(H, W, C)`.
        after: What became of them, with the same shape and type.
        white: The level of white.

    Returns:
        The share of pixels that moved by more than :data:`CHANGED` of 255 levels, in
        :math:`[0, 1]`.

    Example:
        >>> grey = np.full((1, 4, 3), 100, np.uint8)
        >>> changed_share(grey, grey + np.array([0, 5, 0], np.uint8))
        1.0
    """
    count = 0
    for old, new in zip(before, after, strict=True):  # a row at a time, in little memory
        moved = np.abs(new.astype(np.float32) - old.astype(np.float32)).max(-1)
        count += int((moved > CHANGED / 255 * white).sum())
    return count / (before.shape[0] * before.shape[1])


def _planes(colors: Tensor) -> Tensor:
    """Colours of shape (H, W, C) as an image of shape (1, 3, H, W)."""
    return colors.permute(2, 0, 1)[None].expand(1, 3, -1, -1).contiguous()


def _beside_alpha(colors: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    return colors if alpha is None else np.concatenate([colors, alpha[..., None]], -1)


def _from_array(image: np.ndarray) -> Tensor:
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != "f":
        raise TypeError(
            f"'image' must be uint8, uint16 or floating point as an array, got {image.dtype}."
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"'image' must have shape (H, W, 3) or (H, W), got {image.shape}.")
    # A copy: torch reads no negative strides, and warns of arrays that must not be written to.
    return _checked(torch.from_numpy(np.array(image, order="C")))[None]


def _checked(image: Tensor) -> Tensor:
    if image.dtype in WHITE:
        return image
    if not image.is_floating_point():
        raise TypeError(
            f"'image' must be uint8, uint16 or floating point in [0, 1], got {image.dtype}."
        )
    if not ((image >= 0) & (image <= 1)).all():
        raise ValueError(
            f"'image' must lie in [0, 1], got values in [{image.min():.3g}, {image.max():.3g}]. "
            "Divide levels by 255, or pass them as uint8."
        )
    return image
