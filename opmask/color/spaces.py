r"""Colour spaces: where operators do their arithmetic.

A :class:`ColorSpace` is a name, its channels and two functions, `from_rgb` and `to_rgb`. Every
space is normalised so that one unit means about the same everywhere, and none of them clips but
`HLS_CLAMPED`, the paper's: a value pushed out of gamut by one operator can be brought back by the
next.

Data flow: `image (RGB) -> from_rgb -> operators -> to_rgb -> image (RGB)`;
:class:`opmask.Retoucher` does both conversions once for each run of operators that share a space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import kornia.color
import torch
from torch import Tensor

__all__ = [
    "HLS",
    "HLS_CLAMPED",
    "HSV",
    "LAB",
    "LAB_CENTERED",
    "LAB_UNIT",
    "LINEAR_RGB",
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


# --- CIE LAB, D65, 2 degrees ---

_WHITE = (0.95047, 1.0, 1.08883)  # X, Y, Z of D65, as in kornia and scikit-image
_BEND = 0.04045  # where the curve of sRGB turns into a straight line
_KNEE = 6 / 29  # where the cube root of CIE LAB turns into a straight line


def _affine(image: Tensor, scale: tuple[float, ...], shift: tuple[float, ...]) -> Tensor:
    return image * image.new_tensor(scale).view(3, 1, 1) + image.new_tensor(shift).view(3, 1, 1)


def _rgb_to_linear(image: Tensor) -> Tensor:
    # Not kornia's: below 0.9 its gradient is NaN for colours below black.
    power = ((image.clamp(min=_BEND) + 0.055) / 1.055) ** 2.4
    return torch.where(image > _BEND, power, image / 12.92)


def _rgb_to_cie(image: Tensor) -> Tensor:
    xyz = kornia.color.rgb_to_xyz(_rgb_to_linear(image))
    xyz = xyz / image.new_tensor(_WHITE).view(3, 1, 1)
    root = xyz.clamp(min=_KNEE**3) ** (1 / 3)
    x, y, z = torch.where(xyz > _KNEE**3, root, xyz / (3 * _KNEE**2) + 4 / 29).unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def _cie_to_rgb(lab: Tensor) -> Tensor:
    # Not kornia's: it clips z at 0, and so is not the inverse for strong blues.
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], -3)
    xyz = torch.where(f > _KNEE, f**3, (f - 4 / 29) * (3 * _KNEE**2))
    linear = kornia.color.xyz_to_rgb(xyz * lab.new_tensor(_WHITE).view(3, 1, 1))
    return kornia.color.linear_rgb_to_rgb(linear)


def _rgb_to_lab(image: Tensor) -> Tensor:
    return _affine(_rgb_to_cie(image), (1 / 100, 1 / 128, 1 / 128), (0, 0, 0))


def _lab_to_rgb(image: Tensor) -> Tensor:
    return _cie_to_rgb(_affine(image, (100, 128, 128), (0, 0, 0)))


def _rgb_to_lab_centered(image: Tensor) -> Tensor:
    lab = _rgb_to_cie(image)
    return _affine(lab, (1 / 50, 1 / 127.5, 1 / 127.5), (-1, 0.5 / 127.5, 0.5 / 127.5))


def _lab_centered_to_rgb(image: Tensor) -> Tensor:
    return _cie_to_rgb(_affine(image, (50, 127.5, 127.5), (50, -0.5, -0.5)))


def _rgb_to_lab_unit(image: Tensor) -> Tensor:
    lab = _rgb_to_cie(image)
    return _affine(lab, (1 / 100, 1 / 255, 1 / 255), (0, 128 / 255, 128 / 255))


def _lab_unit_to_rgb(image: Tensor) -> Tensor:
    return _cie_to_rgb(_affine(image, (100, 255, 255), (0, -128, -128)))


# --- HLS and HSV ---
# Not kornia's: at exact grey its round trip sends the whole gradient to the red channel. With amax
# and amin, which share a gradient among equals, a grey pixel's gradient is spread over the three
# channels.

_GREY = 1e-12  # below this chroma a colour is grey: its hue is 0 and carries no gradient
# The chroma that a saturation of 1 means is never less than this, or gradients would grow without
# bound at black and white: the rounding of float32, so that white with any saturation is white.
_LEAST_REACH = 1e-7


def _hue(image: Tensor, chroma: Tensor) -> Tensor:
    """Hue in turns, in [0, 1)."""
    r, g, b = image.unbind(-3)
    divisor = torch.where(chroma > _GREY, chroma, torch.ones_like(chroma))
    sixths = torch.where(
        (r >= g) & (r >= b),
        (g - b) / divisor,
        torch.where(g >= b, (b - r) / divisor + 2, (r - g) / divisor + 4),
    )
    return torch.where(chroma > _GREY, (sixths / 6) % 1.0, torch.zeros_like(chroma))


def _hls_reach(lightness: Tensor) -> Tensor:
    """The chroma that a saturation of 1 means: twice the distance to black or white, the nearer.

    Both directions use it, so that every colour comes back. In gamut it is the textbooks'
    `1 - |2l - 1|`. That turns negative beyond black and white, where a colour that is brought back
    by its lightness would come back with the opposite hue; a distance does not.
    """
    distance = torch.minimum(lightness.abs(), (1 - lightness).abs())
    return (2 * distance).clamp(min=_LEAST_REACH)


def _rgb_to_hls(image: Tensor) -> Tensor:
    high, low = image.amax(-3), image.amin(-3)
    chroma, lightness = high - low, (high + low) / 2
    return torch.stack([_hue(image, chroma), lightness, chroma / _hls_reach(lightness)], -3)


def _hls_to_rgb(image: Tensor) -> Tensor:
    hue, lightness, saturation = image.unbind(-3)
    return _around(lightness, hue, saturation * _hls_reach(lightness))


def _hls_clamped_to_rgb(image: Tensor) -> Tensor:
    # Unlike the paper's, the clamp passes gradients as if it were not there (straight through):
    # else a hue that was pushed past red would stay there for the rest of the training.
    hue, lightness, saturation = (image + (image.clamp(0, 1) - image).detach()).unbind(-3)
    # Black and white stay what they are, whatever their saturation.
    return _around(lightness, hue, saturation * 2 * torch.minimum(lightness, 1 - lightness))


def _around(lightness: Tensor, hue: Tensor, chroma: Tensor) -> Tensor:
    """The colour whose channels lie `chroma` apart, half of it on either side of `lightness`."""
    k = torch.stack([12 * hue, 12 * hue + 8, 12 * hue + 4], -3) % 12
    wave = torch.minimum(k - 3, 9 - k).clamp(-1, 1)
    return lightness.unsqueeze(-3) - chroma.unsqueeze(-3) / 2 * wave


def _hsv_reach(value: Tensor) -> Tensor:
    """The chroma that a saturation of 1 means: the distance to black."""
    return value.abs().clamp(min=_LEAST_REACH)


def _rgb_to_hsv(image: Tensor) -> Tensor:
    value = image.amax(-3)
    chroma = value - image.amin(-3)
    return torch.stack([_hue(image, chroma), chroma / _hsv_reach(value), value], -3)


def _hsv_to_rgb(image: Tensor) -> Tensor:
    hue, saturation, value = image.unbind(-3)
    k = torch.stack([6 * hue + 5, 6 * hue + 3, 6 * hue + 1], -3) % 6
    wave = torch.minimum(k, 4 - k).clamp(0, 1)
    return value.unsqueeze(-3) - (_hsv_reach(value) * saturation).unsqueeze(-3) * wave


RGB = ColorSpace("rgb", ("r", "g", "b"), _same, _same)
"""sRGB as displayed, in [0, 1]. A multiplication pivots at black."""

LINEAR_RGB = ColorSpace(
    "linear_rgb",
    ("r", "g", "b"),
    _rgb_to_linear,
    kornia.color.linear_rgb_to_rgb,
)
"""Linear light with the primaries of sRGB, in [0, 1]. Exposure and white balance are
multiplications here."""

LAB = ColorSpace("lab", ("l", "a", "b"), _rgb_to_lab, _lab_to_rgb)
"""CIE LAB as `L*/100, a*/128, b*/128`. A multiplication pivots at black for `l`, at neutral for
`a` and `b`."""

LAB_CENTERED = ColorSpace(
    "lab_centered", ("l", "a", "b"), _rgb_to_lab_centered, _lab_centered_to_rgb
)
"""CIE LAB as the paper's U-Net sees it, `L*/50 - 1, (a* + 0.5)/127.5, (b* + 0.5)/127.5`. A
multiplication pivots at mid-grey (L* = 50) for `l`, so it changes contrast, and at
a* = b* = -0.5."""

LAB_UNIT = ColorSpace("lab_unit", ("l", "a", "b"), _rgb_to_lab_unit, _lab_unit_to_rgb)
"""CIE LAB as the paper's Harmony Transformer sees it, `L*/100, (a* + 128)/255, (b* + 128)/255`. A
multiplication pivots at black for `l`, at -128 for `a` and `b`, so it shifts greys too."""

HLS = ColorSpace("hls", ("h", "l", "s"), _rgb_to_hls, _hls_to_rgb)
"""Hue in turns (it wraps), lightness and saturation in [0, 1]; out of gamut the saturation exceeds
1, the more the nearer the lightness is to 0 or 1. A multiplication of `l` pivots at black, of `s`
at grey."""

HLS_CLAMPED = ColorSpace("hls_clamped", ("h", "l", "s"), _rgb_to_hls, _hls_clamped_to_rgb)
"""`HLS` as the paper has it: on the way back all three channels, hue included, are clamped to
[0, 1] instead of wrapped, so that no shift of hue goes past red (0 and 1 are the same red, and a
hue of 0.95 can be raised by 0.05 at most). For new models `HLS` is better: red lies in the middle
of the warm colours, and there the two ends of a clamped hue tear one object's colours apart."""

HSV = ColorSpace("hsv", ("h", "s", "v"), _rgb_to_hsv, _hsv_to_rgb)
"""Hue in turns (it wraps), saturation and value in [0, 1]; where a channel is below 0 the
saturation exceeds 1, the more the nearer the value is to 0. A multiplication of `v` pivots at
black, of `s` at grey."""


def with_lab(image: Tensor) -> Tensor:
    r"""RGB and LAB side by side, as a `preprocess` for networks that see both.

    Args:
        image: The image, with shape :math:`(*, 3, H, W)`, RGB in :math:`[0, 1]`.

    Returns:
        RGB and :data:`LAB`, with shape :math:`(*, 6, H, W)`.

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
        The levels, ``uint8``, with the shape of `image`, rounded, halves to even.

    Example:
        >>> to_levels(torch.tensor([-0.1, 0.2, 1.1]))
        tensor([  0,  51, 255], dtype=torch.uint8)
    """
    return (image * 255).round().clamp(0, 255).to(torch.uint8)


def check_image(image: Tensor, name: str = "image", channels: int = 3) -> None:
    """Raises unless `image` is a floating-point batch of images with that many channels."""
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
