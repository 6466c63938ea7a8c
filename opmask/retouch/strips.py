r"""Photos of any size retouched in little memory: a strip of rows at a time.

The pixels of a strip become colours, are retouched and are stored again. Masks are small; what
they become at the size of the photo exists for one strip only, which is computed like the whole,
so that no border shows.

Data flow: `(stored pixels, masks) -> decode -> enlarge -> retoucher -> encode -> stored pixels`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from opmask.files.profiles import from_srgb, is_srgb, to_srgb
from opmask.retouch.resizing import Enlarged

if TYPE_CHECKING:
    from opmask.retouch.retoucher import Retoucher

__all__ = ["LUMA", "WHITE", "acting", "decode", "encode", "retouch_in_place", "strips"]

NO_COMPILER = ("InvalidCxxCompiler", "TritonMissing")
"""What torch names where nothing can be compiled."""

STRIP = 2**16
"""The pixels of a strip: few enough to stay in the cache, and enough to keep the cores busy."""

WHITE = {torch.uint8: 255, torch.uint16: 65535}
"""What white is stored as, in whole numbers."""

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue count in grey (ITU-R BT.601, as in Pillow)."""


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
            f"'stored' must be a tensor of shape (H, W, 3) or (H, W, 1), got {shape}."
        )
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
