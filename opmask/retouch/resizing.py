r"""Maps at another size: whole, or only the rows that are asked for.

Data flow: `small masks -> Enlarged -> a strip of masks -> retoucher`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Enlarged", "resize"]


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
        maps = resize(maps, (height, width))
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
