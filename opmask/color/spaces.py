r"""Colour spaces: where operators do their arithmetic.

A :class:`ColorSpace` is a name, its channels and two functions, `from_rgb` and `to_rgb`. Every
space is normalised so that one unit means about the same everywhere, and none of them clips but
the paper's `HLS_CLAMPED` and `LAB_UNIT_CLAMPED`: a value pushed out of gamut by one operator can
be brought back by the next.

Data flow: `image (RGB) -> from_rgb -> operators -> to_rgb -> image (RGB)`;
:class:`opmask.Retoucher` does both conversions once for each run of operators that share a space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from opmask.color import hue, lab

__all__ = [
    "HLS",
    "HLS_CLAMPED",
    "HSV",
    "LAB",
    "LAB_CENTERED",
    "LAB_UNIT",
    "LAB_UNIT_CLAMPED",
    "LINEAR_RGB",
    "OKLAB",
    "RGB",
    "ColorSpace",
    "check_image",
    "to_levels",
    "with_lab",
]


@dataclass(frozen=True)
class ColorSpace:
    r"""A colour space, as two functions between it and RGB.

    Both functions take and return tensors of shape :math:`(*, 3, H, W)` and must be defined at
    module level, so that models pickle.

    Args:
        name: The name of the space, in lower case.
        channels: One short name for each channel, from which mask names such as `"l_mul"` are
            built.
        from_rgb: Maps RGB in :math:`[0, 1]` to the space.
        to_rgb: Maps the space back to RGB, without clipping.

    Example:
        >>> import opmask, torch
        >>> grey = torch.full((1, 3, 2, 2), 0.5)
        >>> opmask.LAB.from_rgb(grey)[0, :, 0, 0].mul(100).round().tolist()
        [53.0, 0.0, 0.0]
    """

    name: str
    channels: tuple[str, ...]
    from_rgb: Callable[[Tensor], Tensor] = field(repr=False)
    to_rgb: Callable[[Tensor], Tensor] = field(repr=False)


def _same(image: Tensor) -> Tensor:
    return image


RGB = ColorSpace("rgb", ("r", "g", "b"), _same, _same)
"""sRGB as displayed, in [0, 1]. A multiplication pivots at black."""

LINEAR_RGB = ColorSpace("linear_rgb", ("r", "g", "b"), lab.rgb_to_linear, lab.linear_to_rgb)
"""Linear light with the primaries of sRGB, in [0, 1]. Exposure and white balance are
multiplications here."""

LAB = ColorSpace("lab", ("l", "a", "b"), lab.rgb_to_lab, lab.lab_to_rgb)
"""CIE LAB as `L*/100, a*/128, b*/128`. A multiplication pivots at black for `l`, at neutral for
`a` and `b`."""

LAB_CENTERED = ColorSpace(
    "lab_centered", ("l", "a", "b"), lab.rgb_to_lab_centered, lab.lab_centered_to_rgb
)
"""CIE LAB as the paper's U-Net sees it, `L*/50 - 1, (a* + 0.5)/127.5, (b* + 0.5)/127.5`. A
multiplication pivots at mid-grey (L* = 50) for `l`, so it changes contrast, and at
a* = b* = -0.5."""

LAB_UNIT = ColorSpace("lab_unit", ("l", "a", "b"), lab.rgb_to_lab_unit, lab.lab_unit_to_rgb)
"""CIE LAB as the paper's Harmony Transformer sees it, `L*/100, (a* + 128)/255, (b* + 128)/255`. A
multiplication pivots at black for `l`, at -128 for `a` and `b`, so it shifts greys too."""

LAB_UNIT_CLAMPED = ColorSpace(
    "lab_unit_clamped", ("l", "a", "b"), lab.rgb_to_lab_unit, lab.lab_unit_clamped_to_rgb
)
"""`LAB_UNIT` as the paper has it: on the way back all three channels are clamped to [0, 1]."""

OKLAB = ColorSpace("oklab", ("l", "a", "b"), lab.rgb_to_oklab, lab.oklab_to_rgb)
"""OKLAB by Ottosson (2020), in which lightness and hue are more even than in CIE LAB, above all
of blues. `l` lies in [0, 1], `a` and `b` within 0.33 for colours of sRGB. A multiplication pivots
at black for `l`, at neutral for `a` and `b`."""

HLS = ColorSpace("hls", ("h", "l", "s"), hue.rgb_to_hls, hue.hls_to_rgb)
"""Hue in turns (it wraps), lightness and saturation in [0, 1]; out of gamut the saturation exceeds
1, the more the nearer the lightness is to 0 or 1. A multiplication of `l` pivots at black, of `s`
at grey."""

HLS_CLAMPED = ColorSpace("hls_clamped", ("h", "l", "s"), hue.rgb_to_hls, hue.hls_clamped_to_rgb)
"""`HLS` as the paper has it: on the way back all three channels, hue included, are clamped to
[0, 1] instead of wrapped, so that no shift of hue goes past red (0 and 1 are the same red, and a
hue of 0.95 can be raised by 0.05 at most). For new models `HLS` is better: red lies in the middle
of the warm colours, and there the two ends of a clamped hue tear one object's colours apart."""

HSV = ColorSpace("hsv", ("h", "s", "v"), hue.rgb_to_hsv, hue.hsv_to_rgb)
"""Hue in turns (it wraps), saturation and value in [0, 1]; where a channel is below 0 the
saturation exceeds 1, the more the nearer the value is to 0. A multiplication of `v` pivots at
black, of `s` at grey."""


def with_lab(image: Tensor) -> Tensor:
    r"""RGB and LAB side by side, as a `preprocess` for networks that see both.

    Args:
        image: The image, with shape :math:`(*, 3, H, W)`, RGB in :math:`[0, 1]`.

    Returns:
        RGB and :data:`LAB`, with shape :math:`(*, 6, H, W)`, in the units of each.

    Example:
        >>> with_lab(torch.ones(1, 3, 1, 1))[0, :, 0, 0].round(decimals=3).abs()
        tensor([1., 1., 1., 1., 0., 0.])
    """
    return torch.cat([image, LAB.from_rgb(image)], -3)


def to_levels(image: Tensor) -> Tensor:
    r"""An image in 8 bits.

    Args:
        image: The image, with any shape, in :math:`[0, 1]`; values beyond are clipped.

    Returns:
        The levels, ``uint8``, with the shape of `image`, in 0-255, rounded, halves to even.

    Example:
        >>> to_levels(torch.tensor([-0.1, 0.2, 1.1]))
        tensor([  0,  51, 255], dtype=torch.uint8)
    """
    return (image * 255).round().clamp(0, 255).to(torch.uint8)


def check_image(image: Tensor, name: str = "image", channels: int = 3) -> None:
    r"""Raises unless an image is a floating-point batch with so many channels.

    Args:
        image: What should be an image, with shape :math:`(B, C, H, W)`. Its range is not looked
            at.
        name: What to call it in messages.
        channels: The number of channels wanted.

    Raises:
        TypeError: If it is no tensor, or not of floating point.
        ValueError: If its shape is another one, or it is empty.

    Example:
        >>> check_image(torch.rand(2, 3, 8, 8))
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"'{name}' must be a tensor, got {type(image).__name__}.")
    if not image.is_floating_point():
        raise TypeError(
            f"'{name}' must be floating point in [0, 1], got {image.dtype}. "
            "Divide 8-bit values by 255."
        )
    if image.ndim != 4 or image.shape[1] != channels:
        raise ValueError(
            f"'{name}' must have shape (B, {channels}, H, W), got {tuple(image.shape)}."
        )
    if 0 in image.shape:
        raise ValueError(f"'{name}' must hold at least one image, got {tuple(image.shape)}.")


def check_region(region: Tensor, image: Tensor, name: str = "image") -> None:
    r"""Raises unless a region is a batch of maps, bool or floating point, that fits the images.

    Args:
        region: What should be a region, with shape :math:`(B, 1, H, W)`. Its range is not looked
            at.
        image: The images, with shape :math:`(B, C, H, W)`, of any range.
        name: What to call the images in messages.

    Raises:
        TypeError: If it is no tensor, or of another type.
        ValueError: If its shape is another one, or the images have none of that kind.

    Example:
        >>> check_region(torch.zeros(2, 1, 8, 8), torch.rand(2, 3, 8, 8))
    """
    if not isinstance(region, Tensor):
        raise TypeError(f"'region' must be a tensor, got {type(region).__name__}.")
    if not (region.is_floating_point() or region.dtype == torch.bool):
        raise TypeError(
            f"'region' must be bool or floating point in [0, 1], got {region.dtype}. "
            "Divide an 8-bit region by 255."
        )
    if image.ndim != 4:
        raise ValueError(f"'{name}' must have shape (B, C, H, W), got {tuple(image.shape)}.")
    wanted = (image.shape[0], 1, *image.shape[2:])
    if region.shape != wanted:
        raise ValueError(
            f"'region' must have shape {wanted} to fit the {name}, got {tuple(region.shape)}."
        )
