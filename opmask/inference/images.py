r"""Photos of all kinds and any size, taken as stored pixels and given back as they were given.

A photo, a PIL image, an array or a tensor is first taken as stored pixels, the numbers of the
picture itself: 8 bits, 16 bits or floating point, grey or RGB. A model sees them shrunk, and
:meth:`opmask.Retoucher.apply_` changes them.

Data flow: `picture -> to_stored -> shrink_photo -> model`, and
`(stored pixels, masks) -> Retoucher.apply_ -> like(picture) -> picture`.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opmask.files.photo import Photo
from opmask.inference.pil import as_photo, as_pil
from opmask.retouch.resizing import resize
from opmask.retouch.strips import WHITE, decode, strips

__all__ = ["Picture", "like", "profile_of", "shrink_photo", "to_stored"]

Picture = Photo | Image.Image | np.ndarray | Tensor
"""What can be retouched."""

T = TypeVar("T", Photo, Image.Image, np.ndarray, Tensor)

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The other types of tensors that are read."""

ARRAYS = ("uint8", "uint16", "float16", "float32", "float64")
"""The types of arrays that are read, in either order of bytes."""


def to_stored(image: Picture) -> Tensor:
    r"""The pixels of a picture as they are stored, without alpha.

    Args:
        image: A photo; a PIL image, see :func:`opmask.inference.pil.as_photo`; an array, with
            shape :math:`(H, W, 3)`, :math:`(H, W, 1)` or :math:`(H, W)`; or a tensor, with shape
            :math:`(3, H, W)` or :math:`(B, 3, H, W)`. Both are ``uint8`` in 0-255, ``uint16`` in
            0-65535, or floating point in :math:`[0, 1]`.

    Returns:
        The pixels, with shape :math:`(B, H, W, C)` and the type of `image`; of photos and tensors,
        a view.
        C is 1 for grey and 3 for RGB.

    Raises:
        TypeError: If it is none of these, or of another data type.
        ValueError: If the mode, the shape or the range is another one.

    Example:
        >>> to_stored(Image.new("RGB", (3, 2), "red"))[0, 0, 0]
        tensor([255,   0,   0], dtype=torch.uint8)
    """
    if isinstance(image, Image.Image):
        image = as_photo(image)
    if isinstance(image, Photo):
        colors = image.pixels[..., : image.channels - (image.alpha is not None)]
        usable = colors.flags.writeable and min(colors.strides) >= 0  # to torch, without a warning
        return torch.from_numpy(colors if usable else colors.copy())[None]
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if not isinstance(image, Tensor):
        raise TypeError(
            "'image' must be a Photo, a PIL image, a NumPy array or a tensor, got "
            f"{type(image).__name__}."
        )
    if image.ndim not in (3, 4) or image.shape[-3] != 3 or not len(image):
        raise ValueError(
            f"'image' must have shape (3, H, W) or (B, 3, H, W), got {tuple(image.shape)}."
        )
    if image.is_meta or image.layout != torch.strided:
        kind = "on the meta device" if image.is_meta else f"of layout {image.layout}"
        raise TypeError(f"'image' must be a dense tensor that holds pixels, got one {kind}.")
    return _checked(image).reshape(-1, *image.shape[-3:]).permute(0, 2, 3, 1)


def like(image: T, stored: Tensor) -> T:
    r"""Stored pixels as a picture of the kind and device of another one.

    Alpha, the ICC profile and the metadata are those of `image`.

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
    if isinstance(image, Image.Image):
        photo = as_photo(image)
        return as_pil(photo.with_pixels(_beside_alpha(array, photo.alpha)), image)
    return array.reshape(image.shape).astype(image.dtype, copy=False)


def profile_of(image: Picture) -> bytes | None:
    """The ICC profile of a picture, if it has one that is read; `None` stands for sRGB."""
    if isinstance(image, Image.Image):
        image = as_photo(image)
    return image.profile if isinstance(image, Photo) else None


def shrink_photo(stored: Tensor, size: tuple[int, int], profile: bytes | None = None) -> Tensor:
    r"""A small copy of a photo, as models take it.

    Args:
        stored: The pixels as they are stored, with shape :math:`(H, W, C)`, see
            :func:`to_stored`.
        size: Height and width wanted, in pixels, at most those of the photo.
        profile: The ICC profile of the colours; sRGB if `None`.

    Returns:
        The copy, in at least float32, with shape :math:`(1, 3, h, w)`, sRGB in :math:`[0, 1]`.

    Example:
        >>> shrink_photo(torch.full((40, 60, 3), 51, dtype=torch.uint8), (20, 30))[0, :, 0, 0]
        tensor([0.2000, 0.2000, 0.2000])
    """
    height, width = stored.shape[:2]
    # Resizing is done along one side and then along the other in any case.
    narrow = [
        resize(part, (part.shape[-2], size[1]))
        for part in (decode(stored[rows], profile).clamp(0, 1) for rows in strips((height, width)))
    ]
    return resize(torch.cat(narrow, -2), size).clamp(0, 1)  # rounded, a mean of 1 is above it


def _beside_alpha(colors: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    return colors if alpha is None else np.concatenate([colors, alpha[..., None]], -1)


def _from_array(image: np.ndarray) -> Tensor:
    native = image.dtype.newbyteorder("=")
    if native.name not in ARRAYS:
        raise TypeError(
            "'image' must be uint8, uint16 or floating point as an array, of at most 64 bits, "
            f"got {image.dtype}."
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"'image' must have shape (H, W, 3) or (H, W), got {image.shape}.")
    # A copy: torch reads no negative strides, and warns of arrays that must not be written to.
    return _checked(torch.from_numpy(np.array(image, native, order="C")))[None]


def _checked(image: Tensor) -> Tensor:
    if image.dtype in WHITE:
        return image
    if image.dtype not in FLOATS:
        raise TypeError(
            f"'image' must be uint8, uint16 or floating point in [0, 1], got {image.dtype}."
        )
    if not ((image >= 0) & (image <= 1)).all():
        raise ValueError(
            f"'image' must lie in [0, 1], got values in [{image.min():.3g}, {image.max():.3g}]. "
            "Divide levels by 255, or pass them as uint8."
        )
    return image
