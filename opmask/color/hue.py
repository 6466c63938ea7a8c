r"""Conversions between sRGB and HLS or HSV: hue in turns, and what a saturation of 1 means.

No direction clips but that of the paper's clamped HLS, and every colour comes back, also from out
of gamut. Hue is chosen by factors of 0 and 1, as `torch.where` is slow on a CPU.

Data flow: `sRGB -> hue, lightness or value, saturation`, and back; used by
:mod:`opmask.color.spaces`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opmask.color.blocks import convert

__all__ = ["hls_clamped_to_rgb", "hls_to_rgb", "hsv_to_rgb", "rgb_to_hls", "rgb_to_hsv"]

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
    red, before_blue = (r >= torch.maximum(g, b)).to(r), (g >= b).to(r)
    green, blue = (1 - red) * before_blue, (1 - red) * (1 - before_blue)
    difference = red * (g - b) + green * (b - r) + blue * (r - g)
    start = 2 * green + 4 * blue + 6 * red * (1 - before_blue)
    colored = (chroma > _GREY).to(r)
    return colored * (difference / chroma.clamp(min=_GREY) + start) / 6


def _hls_reach(lightness: Tensor) -> Tensor:
    """The chroma that a saturation of 1 means: twice the distance to black or white, the nearer.

    Both directions use it, so that every colour comes back. In gamut it is the textbooks'
    `1 - |2l - 1|`. That turns negative beyond black and white, where a colour that is brought back
    by its lightness would come back with the opposite hue; a distance does not.
    """
    distance = torch.minimum(lightness.abs(), (1 - lightness).abs())
    return (2 * distance).clamp(min=_LEAST_REACH)


def rgb_to_hls(image: Tensor) -> Tensor:
    """HLS of an image; see :data:`opmask.HLS`."""
    return convert(_to_hls, image)


def hls_to_rgb(image: Tensor) -> Tensor:
    """An image of HLS; see :data:`opmask.HLS`."""
    return convert(_from_hls, image)


def hls_clamped_to_rgb(image: Tensor) -> Tensor:
    """An image of HLS within its bounds; see :data:`opmask.color.HLS_CLAMPED`."""
    return convert(_from_clamped_hls, image)


def rgb_to_hsv(image: Tensor) -> Tensor:
    """HSV of an image; see :data:`opmask.HSV`."""
    return convert(_to_hsv, image)


def hsv_to_rgb(image: Tensor) -> Tensor:
    """An image of HSV; see :data:`opmask.HSV`."""
    return convert(_from_hsv, image)


def _to_hls(image: Tensor) -> Tensor:
    high, low = image.amax(-3), image.amin(-3)
    chroma, lightness = high - low, (high + low) / 2
    return torch.stack([_hue(image, chroma), lightness, chroma / _hls_reach(lightness)], -3)


def _from_hls(image: Tensor) -> Tensor:
    hue, lightness, saturation = image.unbind(-3)
    return _around(lightness, hue, saturation * _hls_reach(lightness))


def _from_clamped_hls(image: Tensor) -> Tensor:
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


def _to_hsv(image: Tensor) -> Tensor:
    value = image.amax(-3)
    chroma = value - image.amin(-3)
    return torch.stack([_hue(image, chroma), chroma / _hsv_reach(value), value], -3)


def _from_hsv(image: Tensor) -> Tensor:
    hue, saturation, value = image.unbind(-3)
    k = torch.stack([6 * hue + 5, 6 * hue + 3, 6 * hue + 1], -3) % 6
    wave = torch.minimum(k, 4 - k).clamp(0, 1)
    return value.unsqueeze(-3) - (_hsv_reach(value) * saturation).unsqueeze(-3) * wave
