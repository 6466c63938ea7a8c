r"""Photos of all kinds and any size: read, shrunk and retouched in little memory.

A photo, a PIL image, an array or a tensor is first taken as stored pixels, the numbers of the
picture itself: 8 bits, 16 bits or floating point, grey or RGB. A strip of rows at a time they
become colours, are retouched and are stored again. Masks are small; what they become at the size
of the photo exists for one strip only, which is computed like the whole, so that no border shows.

Data flow: `picture -> to_stored -> decode -> shrink -> model`, and
`(stored pixels, masks) -> decode -> enlarge -> retoucher -> encode -> like(picture) -> picture`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from opmask.files.photo import Photo
from opmask.files.profiles import from_srgb, is_srgb, to_srgb
from opmask.retouch.pil import as_photo, as_pil

if TYPE_CHECKING:
    from opmask.retouch.retoucher import Retoucher

__all__ = [
    "Enlarged",
    "Picture",
    "acting",
    "decode",
    "encode",
    "like",
    "profile_of",
    "retouch_in_place",
    "shrink_photo",
    "strips",
    "to_stored",
]

Picture = Photo | Image.Image | np.ndarray | Tensor
"""What can be retouched."""

T = TypeVar("T", Photo, Image.Image, np.ndarray, Tensor)

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""The other types of tensors that are read."""

ARRAYS = ("uint8", "uint16", "float16", "float32", "float64")
"""The types of arrays that are read, in either order of bytes."""

NO_COMPILER = ("InvalidCxxCompiler", "TritonMissing")
"""What torch names where nothing can be compiled."""

STRIP = 2**16
"""The pixels of a strip: few enough to stay in the cache, and enough to keep the cores busy."""

WHITE = {torch.uint8: 255, torch.uint16: 65535}
"""What white is stored as, in whole numbers."""

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue count in grey (ITU-R BT.601, as in Pillow)."""


def to_stored(image: Picture) -> Tensor:
    r"""The pixels of a picture as they are stored, without alpha.

    Args:
        image: A photo; a PIL image, see :func:`opmask.retouch.pil.as_photo`; an array, with
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
        _shrunk(part, (part.shape[-2], size[1]))
        for part in (decode(stored[rows], profile).clamp(0, 1) for rows in strips((height, width)))
    ]
    return _shrunk(torch.cat(narrow, -2), size).clamp(0, 1)  # rounded, a mean of 1 is above it


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


def retouch_in_place(
    retoucher: Retoucher,
    stored: Tensor,
    masks: Mapping[str, Tensor],
    profile: bytes | None = None,
    *,
    compile: bool = False,
) -> Tensor:
    """Applies masks of any size to a photo; see :meth:`opmask.Retoucher.apply_`."""
    check_stored(stored)
    size = stored.shape[0], stored.shape[1]
    apply: Callable[..., Tensor] = retoucher.unclipped
    if compile:
        apply = _compiled(apply)
    masks = dict(zip(masks, torch.broadcast_tensors(*masks.values()), strict=True))
    maps, act = torch.cat([*masks.values()], 1), acting(retoucher, masks)
    all_act = bool(act.all())
    if not all_act:  # where masks act is a map like them, above 0 if a neighbour does anything
        maps = torch.cat([maps, act.to(maps.dtype)], 1)
    enlarged = Enlarged(maps, size)
    for rows in strips(size) if retoucher.pixelwise else [slice(0, size[0])]:
        planes = enlarged[rows].split(1, 1)
        here = None if all_act else planes[-1][0, 0] > 0
        columns = _extent(here) if here is not None and retoucher.pixelwise else slice(0, size[1])
        if columns is None:  # as beside the region of a guided model
            continue
        before = stored[rows, columns]
        own = {name: plane[..., columns] for name, plane in zip(masks, planes, strict=False)}
        image = apply(decode(before, profile).to(maps.device), own)
        after = encode(image.to(stored.device), before, profile)
        if here is not None:
            after = _chosen(here[:, columns, None].to(stored.device), after, before)
        stored[rows, columns] = after
    return stored


def check_stored(stored: Tensor) -> None:
    """Raises unless these are the pixels of a photo."""
    if not isinstance(stored, Tensor) or stored.ndim != 3 or stored.shape[2] not in (1, 3):
        shape = tuple(stored.shape) if isinstance(stored, Tensor) else type(stored).__name__
        raise ValueError(
            f"'stored' must be a tensor of shape (H, W, 3) or (H, W, 1), got {shape}. "
            "Views will do: torch.from_numpy(array), pixels[..., :3] without alpha."
        )
    if 0 in stored.shape:
        raise ValueError(f"'stored' must hold at least one pixel, got {tuple(stored.shape)}.")
    if not (stored.dtype in WHITE or stored.is_floating_point()):
        raise TypeError(f"'stored' must be uint8, uint16 or floating point, got {stored.dtype}.")


def _compiled(apply: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The compiled function, or where there is no compiler the function itself, which is said."""
    compiled = torch.compile(apply, dynamic=True)
    chosen: list[Callable[..., Tensor]] = []

    def call(image: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        if chosen:
            return chosen[0](image, masks)
        try:
            result = compiled(image, masks)
        except RuntimeError as error:
            said = f"{type(error).__name__}: {error}"
            if not any(name in said for name in NO_COMPILER):
                raise
            _say_once(f"retouching is not compiled, but as right: {said.splitlines()[0]}")
            chosen.append(apply)
            return apply(image, masks)
        chosen.append(compiled)
        return result

    return call


@cache
def _say_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def _chosen(here: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """New pixels here and old ones elsewhere, also of 16 bits, which torch.where may not know."""
    if after.dtype != torch.uint16:
        return torch.where(here, after, before)
    chosen = torch.where(here, after.view(torch.int16), before.view(torch.int16))
    return chosen.view(torch.uint16)


def _extent(here: Tensor) -> slice | None:
    """From the first to the last column of a plane (H, W) that has anything; none if none has."""
    found = here.any(0).nonzero()
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else None


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
    dtype = torch.promote_types(dtype, torch.float32)
    colors = torch.empty(1, 3, *stored.shape[:2], dtype=dtype, device=stored.device)
    colors.copy_(stored.permute(2, 0, 1))
    return colors.div_(WHITE[stored.dtype]) if stored.dtype in WHITE else colors


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
    colors = image[0]
    if like.shape[2] == 1:
        colors = (colors * colors.new_tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    if profile is not None and not is_srgb(profile):
        turned = np.ascontiguousarray(colors.permute(1, 2, 0).numpy())
        colors = torch.from_numpy(from_srgb(turned, profile)).permute(2, 0, 1)
    colors = colors.clamp(0, 1)
    if like.dtype in WHITE:
        colors = colors.mul_(WHITE[like.dtype]).round_()
        # 16 bits by way of int32, because torch computes little in them without a sign.
        colors = colors if like.dtype == torch.uint8 else colors.to(torch.int32)
        if not colors.is_cuda:  # five times as fast as by torch
            return torch.from_numpy(np.stack(list(colors.to(like.dtype).numpy()), -1))
    return colors.to(like.dtype).permute(1, 2, 0)


def strips(size: tuple[int, int]) -> Iterator[slice]:
    """The rows of each strip of a photo, from top to bottom."""
    rows = max(1, STRIP // size[1])
    return (slice(top, min(top + rows, size[0])) for top in range(0, size[0], rows))


def acting(retoucher: Retoucher, masks: Mapping[str, Tensor]) -> Tensor:
    r"""Where masks do anything: one is off its identity, and if there are gates, one is open.

    Args:
        retoucher: What the masks belong to.
        masks: The masks by name, each with shape :math:`(1, 1, H, W)`.

    Returns:
        ``bool``, with the shape of a mask.
    """
    found = torch.zeros_like(next(iter(masks.values())), dtype=torch.bool)
    for operator in retoucher.operators:
        ranges = operator.ranges
        acting = [m != ranges[n].identity for n, m in operator.effective(masks).items()]
        here = torch.cat(acting, 1).any(1, keepdim=True)
        found |= here.any() if operator.spreads else here
    return found


def _planes(colors: Tensor) -> Tensor:
    """Colours of shape (H, W, C) as an image of shape (1, 3, H, W)."""
    return colors.permute(2, 0, 1)[None].expand(1, 3, -1, -1).contiguous()


class Enlarged:
    r"""Maps at the size of a photo, of which only the rows that are asked for are computed.

    Bilinear, like `F.interpolate` without corners aligned; where the photo is smaller than the
    maps, they are shrunk with antialiasing. Between equal values it gives that value exactly.

    Args:
        maps: The maps, with shape :math:`(1, M, h, w)`.
        size: Height and width of the photo, in pixels.

    Example:
        >>> maps = torch.rand(1, 6, 32, 48)
        >>> whole = torch.nn.functional.interpolate(maps, size=(97, 131), mode="bilinear")
        >>> torch.testing.assert_close(Enlarged(maps, (97, 131))[8:16], whole[:, :, 8:16])
    """

    def __init__(self, maps: Tensor, size: tuple[int, int]) -> None:
        height, width = (min(s, n) for s, n in zip(maps.shape[-2:], size, strict=True))
        maps = _shrunk(maps, (height, width))
        # Wide already: few rows are little, and are needed again and again.
        wide = F.interpolate(maps, (height, size[1]), mode="bilinear", align_corners=False)
        self.lines = wide[0].unbind(1)
        self.shape = maps.shape[1], size[1]
        places = [(row + 0.5) * (height / size[0]) - 0.5 for row in range(size[0])]
        self.places = [min(max(place, 0.0), height - 1.0) for place in places]

    def __getitem__(self, rows: slice) -> Tensor:
        """Some rows, with shape :math:`(1, M, n, W)`."""
        maps, width = self.shape
        places = self.places[rows]
        result = self.lines[0].new_empty(1, maps, len(places), width)
        for row, place in zip(result[0].unbind(1), places, strict=True):
            above = int(place)
            below = min(above + 1, len(self.lines) - 1)
            torch.lerp(self.lines[above], self.lines[below], place - above, out=row)
        return result


def _shrunk(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps at a size that is no larger, bilinear and antialiased."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", antialias=True)
