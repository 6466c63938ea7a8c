r"""Photos of any size in little memory: a strip of rows at a time is read, retouched and stored.

Masks are small; what they become at the size of the photo exists for one strip only. A strip is
computed like the whole photo, so that no border shows.

Data flow: `stored pixels -> decode -> shrink -> model`, and
`(stored pixels, masks) -> decode -> enlarge -> retoucher -> encode -> stored pixels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from opmask.inference.images import decode, encode
from opmask.retouch import Retoucher
from opmask.wrapper.model import resize

__all__ = ["retouch", "shrink_photo"]

STRIP = 2**16
"""The pixels of a strip: few enough to stay in the cache, and enough to keep the cores busy."""


def strips(size: tuple[int, int]) -> Iterator[slice]:
    """The rows of each strip of a photo, from top to bottom."""
    rows = max(1, STRIP // size[1])
    return (slice(top, min(top + rows, size[0])) for top in range(0, size[0], rows))


def shrink_photo(stored: Tensor, size: tuple[int, int], profile: bytes | None = None) -> Tensor:
    r"""A small copy of a photo, as models take it.

    Args:
        stored: The pixels as they are stored, with shape :math:`(H, W, C)`, see
            :func:`opmask.inference.images.to_stored`.
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
    return resize(torch.cat(narrow, -2), size)


def retouch(
    retoucher: Retoucher,
    stored: Tensor,
    masks: Mapping[str, Tensor],
    profile: bytes | None = None,
    *,
    compile: bool = False,
) -> Tensor:
    r"""Applies masks of any size to a photo.

    Pixels all of whose masks are at their identity stay as they are stored, to the last bit.

    Args:
        retoucher: What the masks do. If one of its operators is not pixelwise, there is one strip,
            the whole photo.
        stored: The pixels as they are stored, with shape :math:`(H, W, C)`, see
            :func:`opmask.inference.images.to_stored`.
        masks: The masks by name, each with shape :math:`(1, 1, h, w)`, in operator units. They are
            computed on the device where they are.
        profile: The ICC profile of the colours; sRGB if `None`.
        compile: Whether the retoucher is compiled.

    Returns:
        The retouched pixels, with the shape, type and device of `stored`.

    Example:
        >>> import opmask
        >>> retoucher = opmask.Retoucher(opmask.Add(opmask.RGB, "r"))
        >>> stored = torch.full((40, 60, 3), 51, dtype=torch.uint8)
        >>> retouch(retoucher, stored, {"r_add": torch.full((1, 1, 4, 6), 0.2)})[0, 0]
        tensor([102,  51,  51], dtype=torch.uint8)
    """
    size = stored.shape[0], stored.shape[1]
    apply: Callable[..., Tensor] = retoucher.unclipped
    if compile:
        apply = torch.compile(apply, dynamic=True)
    enlarged = Enlarged(torch.cat([*masks.values()], 1), size)
    result = torch.empty_like(stored, memory_format=torch.contiguous_format)
    for rows in strips(size) if retoucher.pixelwise else [slice(0, size[0])]:
        maps = dict(zip(masks, enlarged[rows].split(1, 1), strict=True))
        before = stored[rows]
        here = acting(retoucher, maps)[0, 0, ..., None].to(stored.device)
        if not here.any():  # as beside the region of a guided model
            result[rows] = before
            continue
        image = apply(decode(before, profile).to(enlarged.device), maps)
        after = encode(image.to(stored.device), before, profile)
        result[rows] = torch.where(here, after, before)
    return result


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
        names = [name for name in operator.ranges if name not in operator.gates]
        moved = torch.cat([masks[n] != operator.ranges[n].identity for n in names], 1)
        here = moved.any(1, keepdim=True)
        if operator.gates:
            here &= torch.cat([masks[name] != 0 for name in operator.gates], 1).any(
                1, keepdim=True
            )
        found |= here
    return found


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
        self.maps = resize(maps, (height, width))
        self.device = maps.device
        self.above, self.below, self.down = _neighbours(height, size[0], maps)
        self.left, self.right, self.across = _neighbours(width, size[1], maps)

    def __getitem__(self, rows: slice) -> Tensor:
        """Some rows, with shape :math:`(1, M, n, W)`."""
        above, below = self.above[rows], self.below[rows]
        first = int(above[0])
        few = self.maps[..., first : int(below[-1]) + 1, :]
        wide = few[..., self.left].lerp(few[..., self.right], self.across)
        down = self.down[rows, None]
        return wide[..., above - first, :].lerp(wide[..., below - first, :], down)


def _neighbours(count: int, wanted: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Between which two of the old places each new one lies, and how far from the first."""
    new = torch.arange(wanted, device=like.device, dtype=torch.float64)
    place = ((new + 0.5) * (count / wanted) - 0.5).clamp(0, count - 1)
    first = place.floor().long()
    return first, (first + 1).clamp(max=count - 1), (place - first).to(like.dtype)
