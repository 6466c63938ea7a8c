r"""Regions as users hand them in, for a model: pictures, arrays and tensors of any size.

Data flow: `region of any kind -> to_plane -> float plane -> shrink -> model`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from opmask.files.exif import upright
from opmask.files.regions import soft, to_region
from opmask.retouch import Retoucher
from opmask.wrapper.model import fit_longer_side

__all__ = ["change_within", "same_aspect", "shrink", "tells_where", "to_plane", "within"]

SLACK = 2  # pixels by which a side may differ between sizes of the same aspect ratio, and
SHARE = 0.2  # the most of a side that this may be, so that a pixel does not fit every photo


def to_plane(
    region: Image.Image | np.ndarray | Tensor, size: tuple[int, int], count: int = 1
) -> Tensor:
    r"""The region of each image of a batch, as models take it but for the size.

    Args:
        region: The region, as :func:`harmonize` takes it.
        size: Height and width of the images, whose aspect ratio the region must have.
        count: How many images there are.

    Returns:
        The region, ``float32``, with shape :math:`(B, 1, h, w)`: 1 inside, 0 outside, -1 unknown.

    Raises:
        TypeError: If `region` is of another kind or data type.
        ValueError: If its shape, range or size is another one, or it is neither grey nor a
            cut-out.

    Example:
        >>> to_plane(Image.new("1", (6, 4), 1), (40, 60)).shape
        torch.Size([1, 1, 4, 6])
    """
    plane = _plane(region)
    if len(plane) not in (1, count):
        raise ValueError(
            f"'region' must be one or as many as the {count} images, got {len(plane)}."
        )
    if not same_aspect(size, (plane.shape[-2], plane.shape[-1])):
        raise ValueError(
            "'region' must have the aspect ratio of the photo, whose height and width are "
            f"{size[0]} and {size[1]}, got {plane.shape[-2]} and {plane.shape[-1]}."
        )
    return plane.expand(count, -1, -1, -1)


def shrink(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean of what is known, so that thin strokes on unknown ground do not get lost."""
    known = (plane >= 0).float()
    weight = F.interpolate(known, size, mode="area")
    total = F.interpolate(plane * known, size, mode="area")
    return torch.where(weight > 0, total / weight, -1.0)


def within(retoucher: Retoucher, masks: Mapping[str, Tensor], region: Tensor) -> dict[str, Tensor]:
    r"""Masks that change nothing but a region, and what its soft edge touches.

    Args:
        retoucher: Whose masks they are.
        masks: The masks by name, each with shape :math:`(B, 1, H, W)`.
        region: What was told, with the same shape: 1 inside, 0 outside, soft between, -1 unknown.

    Returns:
        The masks, at their identity where nothing is to be changed.

    Example:
        >>> from opmask import lab_retoucher
        >>> retoucher, region = lab_retoucher(), torch.zeros(1, 1, 1, 5)
        >>> region[..., 0] = 1
        >>> masks = {name: torch.full((1, 1, 1, 5), 0.5) for name in retoucher.ranges}
        >>> within(retoucher, masks, region)["l_add"].flatten().tolist()
        [0.5, 0.5, 0.0, 0.0, 0.0]
    """
    near = F.max_pool2d((region != 0).float(), 3, stride=1, padding=1)
    return retoucher.edit(masks, strength=0, region=1 - near)


def change_within(before: Tensor, after: Tensor, region: Tensor) -> Tensor:
    r"""How much images were changed in a region.

    Args:
        before: The images, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.
        after: What became of them, with the same shape.
        region: Where, with shape :math:`(B, 1, H, W)`: 1 inside, 0 outside, soft between, -1
            unknown, which counts as inside.

    Returns:
        The root mean square over the region, in levels of 255, with shape :math:`(B)`; 0 where
        there is none. Of a region that is mostly unknown it is a lower bound.

    Example:
        >>> region = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
        >>> change_within(torch.zeros(1, 3, 1, 2), 0.2 * region.expand(1, 3, 1, 2), region)
        tensor([51.])
    """
    weight = region.abs()
    squares = (weight * (after - before).square()).mean((1, 2, 3))
    area = weight.mean((1, 2, 3))
    return 255 * torch.where(area > 0, squares / area, 0.0).sqrt()


def tells_where(region: Tensor) -> bool:
    """Whether a region says more than what is outside: what was changed, or that nothing was."""
    return bool((region > 0).any() or (region == 0).all())


def _plane(region: Image.Image | np.ndarray | Tensor) -> Tensor:
    """The region as floats, with shape (B, 1, h, w), of its own size."""
    if isinstance(region, Image.Image):
        region = to_region(upright(region))
    if isinstance(region, np.ndarray):
        region = torch.from_numpy(np.array(region, order="C"))
    if not isinstance(region, Tensor):
        raise TypeError(
            "'region' must be a PIL image, a NumPy array or a tensor, "
            f"got {type(region).__name__}."
        )
    one = region.ndim == 2 or (region.ndim in (3, 4) and region.shape[-3] == 1)
    if not (one and region.numel()):
        raise ValueError(
            "'region' must have shape (H, W), (1, H, W) or (B, 1, H, W), "
            f"got {tuple(region.shape)}."
        )
    return _soft(region).view(-1, 1, *region.shape[-2:])


def _soft(region: Tensor) -> Tensor:
    if region.dtype == torch.bool:
        return region.float()
    if region.dtype in (torch.uint8, torch.uint16):
        levels = region.cpu().numpy().reshape(-1, *region.shape[-2:])
        # Each by itself: what the others of a batch hold does not say what this one means.
        return torch.from_numpy(np.stack([soft(each) for each in levels])).to(region.device)
    if not region.is_floating_point():
        raise TypeError(
            f"'region' must be bool, uint8, uint16 or floating point, got {region.dtype}."
        )
    if not (((region >= 0) & (region <= 1)) | (region == -1)).all():
        raise ValueError("'region' must lie in [0, 1] or be -1, unknown, got other values.")
    return region.float()


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes have one aspect ratio, but for the rounding of sides.

    The small copy of a very long photo, whose shorter side is as short as models take it, counts
    as having its aspect ratio.
    """
    small, large = sorted((size, other), key=max)
    if small == fit_longer_side(large, max(small)):
        return True
    scale = max(small) / max(large)
    return all(
        abs(s - scale * n) <= min(SLACK, SHARE * s) for s, n in zip(small, large, strict=True)
    )
