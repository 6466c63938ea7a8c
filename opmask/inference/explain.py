r"""What an edit does to its photo, in the units of CIELAB and in words.

Masks say what an operator is told; what that comes to depends on the pixel. So the photo and its
edited version are compared, at the size of the masks.

Data flow: `(Edit, photo) -> explain -> Explanation -> sentences, panel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opmask.color import LAB
from opmask.retouch.pixels import LUMA, acting, shrink_photo
from opmask.wrapper.calibration import connected_regions
from opmask.wrapper.model import resize

if TYPE_CHECKING:
    from opmask.inference.edit import Edit

__all__ = ["NOTICEABLE", "ChangedRegion", "Explanation", "compare"]

NOTICEABLE = 2.3
"""One just noticeable difference, as a distance in CIELAB (Mahy et al., 1994)."""

SMALLEST_SHARE = 0.002
"""The share of the photo below which a changed region is not counted."""

UNITS = (100.0, 128.0, 128.0)
"""What 1 in each channel of :data:`opmask.LAB` is in L*, a* and b*."""

WORDS = {"L*": ("lighter", "darker"), "a*": ("redder", "greener"), "b*": ("yellower", "bluer")}
"""What more and less of each channel is called."""


@dataclass(frozen=True)
class ChangedRegion:
    r"""A region that an edit visibly changes.

    Args:
        box: Left, top, right and bottom, in pixels of the photo, the last two exclusive.
        share: The share of the photo, in :math:`[0, 1]`.
        change: The mean change of L*, a* and b* over the region.

    Example:
        >>> ChangedRegion((0, 0, 8, 8), 0.1, (-12.3, 0.2, -9.4)).sentence
        'darker by 12 L*, bluer by 9 b*'
    """

    box: tuple[int, int, int, int]
    share: float
    change: tuple[float, float, float]

    @property
    def sentence(self) -> str:
        """The change in words, the largest first."""
        parts = sorted(zip(WORDS, self.change, strict=True), key=lambda part: -abs(part[1]))
        said = [
            f"{WORDS[unit][value < 0]} by {abs(value):.0f} {unit}"
            for unit, value in parts
            if abs(value) >= 1
        ]
        return ", ".join(said) or "changed here and there, on average by less than 1"


@dataclass(frozen=True, eq=False)
class Explanation:
    r"""What an edit does to its photo.

    Args:
        before: A small copy of the photo, with shape :math:`(1, 3, h, w)`, sRGB in :math:`[0, 1]`.
        after: What the edit makes of it, likewise.
        change: The change of L*, a* and b*, with shape :math:`(1, 3, h, w)`.
        clipped: Where the edit wants a colour that sRGB does not have, ``bool``, with shape
            :math:`(1, 1, h, w)`.
        regions: What is visibly changed, the largest region first.
        labels: Which of `regions` each pixel belongs to, from 1 on, and 0 outside them all,
            ``int64``, with shape :math:`(1, 1, h, w)`.
        size: Height and width of the photo, in pixels.
        region: What the masks were predicted for, with shape :math:`(1, 1, h, w)`: 1 inside, 0
            outside, -1 unknown; `None` if nothing was told.
    """

    before: Tensor
    after: Tensor
    change: Tensor
    clipped: Tensor
    regions: tuple[ChangedRegion, ...]
    labels: Tensor
    size: tuple[int, int]
    region: Tensor | None = None

    @property
    def distance(self) -> Tensor:
        r"""How far each pixel moves, :math:`\Delta E^*_{ab}`, with shape :math:`(1, 1, h, w)`."""
        return self.change.square().sum(1, keepdim=True).sqrt()

    @property
    def sentences(self) -> list[str]:
        """One for each changed region, and one for what is clipped."""
        said = [
            f"Region {i} ({_percent(region.share)} of the photo): {region.sentence}."
            for i, region in enumerate(self.regions, 1)
        ]
        if (clipped := self.clipped.float().mean().item()) >= 0.001:
            said.append(f"{_percent(clipped)} of the pixels are clipped: sRGB ends there.")
        return said or ["Nothing changes visibly."]


def compare(edit: Edit, stored: Tensor, profile: bytes | None) -> Explanation:
    r"""Compares a photo with what an edit makes of it; see :meth:`opmask.Edit.explain`.

    Args:
        edit: The edit.
        stored: The pixels of the photo, with shape :math:`(H, W, C)`.
        profile: The ICC profile of the colours; sRGB if `None`.

    Returns:
        The explanation.
    """
    masks = edit.masks()
    device = next(iter(masks.values())).device
    size = min(stored.shape[0], edit.size[0]), min(stored.shape[1], edit.size[1])
    before = shrink_photo(stored, size, profile).to(device, torch.float32)
    masks = {name: resize(mask, size) for name, mask in masks.items()}
    wanted = edit.retoucher.unclipped(before, masks)
    if stored.shape[-1] < 3:  # grey, which a rendered photo stays
        wanted = (wanted * wanted.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)
        wanted = wanted.expand(-1, 3, -1, -1)
    after = wanted.clamp(0, 1)
    change = (LAB.from_rgb(after) - LAB.from_rgb(before)) * before.new_tensor(UNITS).view(3, 1, 1)
    beyond = (wanted - after).abs().amax(1, keepdim=True) > 1 / 255
    clipped = beyond & acting(edit.retoucher, masks)
    full = stored.shape[0], stored.shape[1]
    region = None if edit.region is None else resize(edit.region.to(before), size)
    return Explanation(before, after, change, clipped, *_regions(change, full), full, region)


def _regions(change: Tensor, full: tuple[int, int]) -> tuple[tuple[ChangedRegion, ...], Tensor]:
    """The regions, the largest first, and which of them each pixel belongs to."""
    distance = change.square().sum(1, keepdim=True).sqrt()
    labels = connected_regions(distance > NOTICEABLE)[0, 0]
    size = labels.shape
    across, down = full[1] / size[1], full[0] / size[0]
    found = []
    numbers, counts = labels.unique(return_counts=True)
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        if number == 0 or count < SMALLEST_SHARE * labels.numel():
            continue
        here = labels == number
        rows, columns = here.any(1).nonzero().flatten(), here.any(0).nonzero().flatten()
        box = (
            int(columns[0] * across),
            int(rows[0] * down),
            round(float((columns[-1] + 1) * across)),
            round(float((rows[-1] + 1) * down)),
        )
        mean = change[0][:, here].mean(1).tolist()
        region = ChangedRegion(box, count / labels.numel(), (mean[0], mean[1], mean[2]))
        found.append((region, here))
    found.sort(key=lambda pair: -pair[0].share)
    ordered = torch.zeros_like(labels)
    for i, (_, here) in enumerate(found, 1):
        ordered[here] = i
    return tuple(region for region, _ in found), ordered[None, None]


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"
