r"""Harmonizing a photo of any size and kind, with a model that was trained on small ones.

Masks, unlike pixels, survive being enlarged: they are predicted on a small copy and applied to the
photo itself.

Data flow: `photo -> small copy -> model -> masks -> strength -> enlarge -> retoucher -> photo`.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from opmask.checks import SMALLEST
from opmask.files.pictures import upright
from opmask.files.regions import soft, to_region
from opmask.inference.images import like, to_pixels
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.modes import for_inference
from opmask.wrapper.sizes import fit_longer_side, resize

__all__ = ["check_options", "check_size", "harmonize", "to_plane"]

T = TypeVar("T", Image.Image, np.ndarray, Tensor)

SLACK = 2  # pixels by which a side may differ between sizes of the same aspect ratio


@torch.no_grad()
def harmonize(
    model: OperatorMaskWrapper,
    image: T,
    *,
    region: Image.Image | np.ndarray | Tensor | None = None,
    strength: float | str = "auto",
    work_size: int = 256,
) -> T:
    r"""Harmonizes a photo: predicts operator masks at a small size and applies them at full size.

    What comes back is of the kind, type and size of what was handed in, on the same device. Where
    the masks are at their identity, 8-bit pixels stay exactly as they are.

    A PIL image comes back upright, with its EXIF orientation applied and removed; its alpha, ICC
    profile and other EXIF tags are kept. Grey photos stay grey, and palettes become RGB or RGBA,
    see :func:`opmask.inference.images.like`. Images of 16 bits, CMYK and other modes are refused,
    because 8-bit RGB cannot be had of them without a choice that is yours.

    Args:
        model: The model. It runs where it is, in evaluation mode, and is not changed: several
            threads may share it. Of one in training mode each call runs a copy that shares its
            weights, so call `model.eval()` before many.
        image: A PIL image of mode RGB, RGBA, L, LA, P or PA; an 8-bit array, with shape
            :math:`(H, W, 3)`, in 0-255; or a tensor, with shape :math:`(3, H, W)` or
            :math:`(B, 3, H, W)`, floating point in :math:`[0, 1]` or ``uint8`` in 0-255. Height
            and width at least 16.
        region: Where the photo was changed: 1 inside, 0 outside, soft between, -1 unknown. A PIL
            image of any mode and orientation that is grey or a cut-out, see
            :func:`opmask.files.regions.to_region`; or an array or a tensor, with shape
            :math:`(H, W)`, :math:`(1, H, W)` or :math:`(B, 1, H, W)`: bool, floating point, or
            ``uint8`` or ``uint16``, where 0 and one other value are outside and inside, and more
            values are soft, see :func:`opmask.files.regions.soft`. Another size is fine if the
            aspect ratio is the same. All 0: nothing was changed, and the photo comes back as it
            is. All 1: everything was changed, and the model has nothing to compare with. All -1:
            the same as `None`, the model finds out by itself. Only for models built with
            `region=True`.
        strength: A factor on the distance of every mask from its identity, so that the output
            moves from the input by about as much: 0 changes nothing, 1 does what the model says.
            "auto" is 1 where a region is given; where the model had to find it, it is what
            the model's calibration says of each found region, and 1 without a calibration.
        work_size: The longer side at which masks are predicted, in pixels, at least 16. Smaller
            photos are not enlarged.

    Returns:
        The harmonized photo, without gradient.

    Raises:
        TypeError: If `model` predicts no masks, or `image`, `region` or `strength` is of another
            kind or data type.
        ValueError: If a mode, shape, range or size is another one, the sizes of region and photo
            do not fit, or the model is blind and a region is given.

    Example:
        >>> import opmask, torch
        >>> from PIL import Image
        >>> model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8))
        >>> photo = Image.new("RGB", (640, 480), "teal")
        >>> harmonize(model, photo) == photo  # the model is untrained
        True
    """
    _check(model, region is not None)
    check_options(strength, work_size)
    if isinstance(image, Image.Image):
        image = upright(image)
    pixels = to_pixels(image)
    size = pixels.shape[-2], pixels.shape[-1]
    check_size(size)
    plane = None if region is None else to_plane(region, size, len(pixels))
    return like(image, _retouched(model, pixels, plane, strength, work_size))


def _check(model: OperatorMaskWrapper, guided: bool) -> None:
    if not isinstance(model, OperatorMaskWrapper):
        raise TypeError(
            f"'model' must be an OperatorMaskWrapper, got {type(model).__name__}. Others have no "
            "masks to apply at another size, or hide them."
        )
    if guided and not model.region:
        raise ValueError(
            "'region' must be None for a blind model, one that was built without region=True."
        )


def check_options(strength: float | str, work_size: int) -> None:
    """Raises unless :func:`harmonize` takes these two."""
    if isinstance(strength, str):
        if strength != "auto":
            raise ValueError(f"'strength' must be 'auto' or a number, got {strength!r}.")
    elif not 0 <= strength < math.inf:
        raise ValueError(f"'strength' must be 'auto' or at least 0 and finite, got {strength}.")
    if work_size < SMALLEST:
        raise ValueError(f"'work_size' must be at least {SMALLEST} pixels, got {work_size}.")


def check_size(size: tuple[int, int]) -> None:
    """Raises unless :func:`harmonize` takes images of that height and width."""
    if min(size) < SMALLEST:
        raise ValueError(
            f"'image' must be at least {SMALLEST}x{SMALLEST} pixels, got {size[0]}x{size[1]}."
        )


def _retouched(
    model: OperatorMaskWrapper,
    pixels: Tensor,
    plane: Tensor | None,
    strength: float | str,
    work_size: int,
) -> Tensor:
    device = next(model.backbone.parameters()).device
    full = pixels.shape[-2], pixels.shape[-1]
    size = fit_longer_side(full, work_size)
    pixels = pixels.to(device)
    plane = None if plane is None else plane.to(device)
    given = None if plane is None else _shrunk(plane, size)
    masks = for_inference(model).predict(resize(pixels, size), given, size=size)
    guided = plane is not None and bool((plane >= 0).any())
    masks = _scaled(model, {name: m.float() for name, m in masks.items()}, strength, guided)
    result = model.retoucher(pixels, {name: resize(m, full) for name, m in masks.items()})
    if plane is None:
        return result
    # Where nothing is selected, pixels of floating point stay as they are to the last bit, too.
    return torch.where(plane.flatten(1).any(1).view(-1, 1, 1, 1), result, pixels)


def _scaled(
    model: OperatorMaskWrapper, masks: dict[str, Tensor], strength: float | str, guided: bool
) -> dict[str, Tensor]:
    where: Tensor | float
    if strength != "auto":
        amount, where = float(strength), 1.0
    elif guided or model.calibration is None or "gate" not in masks:
        return masks
    else:  # back to the identity, by as much as the found region is not trusted
        amount, where = 0.0, 1 - model.calibration.strengths(masks["gate"])
    return model.retoucher.edit(masks, strength=amount, region=where)


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
    if not _same_aspect(size, (plane.shape[-2], plane.shape[-1])):
        raise ValueError(
            f"'region' must have the size of the photo, {size[0]}x{size[1]}, or its aspect ratio, "
            f"got {plane.shape[-2]}x{plane.shape[-1]}."
        )
    return plane.expand(count, -1, -1, -1)


def _same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    small, large = sorted((size, other), key=max)
    scale = max(small) / max(large)
    return all(abs(s - scale * n) <= SLACK for s, n in zip(small, large, strict=True))


def _shrunk(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean of what is known, so that thin strokes on unknown ground do not get lost."""
    known = (plane >= 0).float()
    weight = F.interpolate(known, size, mode="area")
    total = F.interpolate(plane * known, size, mode="area")
    return torch.where(weight > 0, total / weight, -1.0)
