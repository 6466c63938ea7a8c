r"""The gradients by which filters depend on where a pixel is, as 8-bit weights.

Filters see a gradient only after it was rounded to 8 bits, so that a few hundred keys tell all
places apart. They are computed on the CPU, in the order of operations of pilgram, so that every
device gets the same ones.

Height, width -> ``key_map`` -> one key per pixel, of
:class:`opmask.perturb.filters.lookup.LookupPipeline`.

References:
    | pilgram (Akazawa, 2019), https://github.com/akiomik/pilgram
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from opmask.perturb.filters.blends import Levels

Weights = NDArray[np.uint8]


@dataclass(frozen=True)
class RadialGradient:
    r"""Circles around a point: 255 up to one distance, and falling to 0 at another.

    Args:
        start: Where the weight starts to fall, as a share of the distance of the farthest corner.
        end: Where it is 0.
        center: The point, as shares of width and height.
    """

    start: float
    end: float
    center: tuple[float, float] = (0.5, 0.5)

    def weights(self, height: int, width: int) -> Weights:
        r"""The weights of an image's pixels, with shape :math:`(H, W)`."""
        if height == width and self == RadialGradient(0.0, 1.0):
            # Here pilgram takes a picture of Pillow's.
            picture = Image.fromarray(255 - np.asarray(Image.radial_gradient("L")))
            return np.asarray(picture.resize((width, height)))
        x, farthest_x = _axis(width, self.center[0])
        y, farthest_y = _axis(height, self.center[1])
        distance = np.sqrt(x**2 + y[:, None] ** 2)
        distance /= math.sqrt(farthest_x**2 + farthest_y**2)
        return self.weights_at(distance)

    def weights_at(self, distance: NDArray[np.float64]) -> Weights:
        """The weights at distances that are shares of that of the farthest corner."""
        falling = distance - self.start
        falling /= self.end - self.start
        np.subtract(1, falling, out=falling)
        falling *= 255
        return np.rint(np.clip(falling, 0, 255, out=falling), out=falling).astype(np.uint8)

    def edges(self) -> NDArray[np.float64]:
        """The distances on both sides of every step: the last of a weight and the next float."""
        levels = np.arange(1, 256)
        low, high = np.zeros(255), np.full(255, 2.0)
        for _ in range(64):  # until they are neighbours
            middle = (low + high) / 2
            inside = self.weights_at(middle) >= levels
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        return np.concatenate([low, high])


@dataclass(frozen=True)
class VerticalGradient:
    """From 255 at the top to 0 at the bottom, a picture of Pillow's."""

    def weights(self, height: int, width: int) -> Weights:
        r"""The weights of an image's pixels, with shape :math:`(H, W)`."""
        return np.asarray(_pillows_ramp().resize((width, height)))


@dataclass(frozen=True)
class RotatedGradient:
    """The last fifth of :class:`VerticalGradient`, turned by 90 degrees without changing its size.

    It was meant to be horizontal. On images that are not square, some of it is cut off and the
    rest of the image has weight 0.
    """

    def weights(self, height: int, width: int) -> Weights:
        r"""The weights of an image's pixels, with shape :math:`(H, W)`."""
        ramp = _pillows_ramp().resize((width, height), box=(0, round(256 * 0.8), 256, 256))
        return np.asarray(ramp.rotate(90))


Gradients = tuple[RadialGradient | VerticalGradient | RotatedGradient, ...]


def weights_of_keys(gradients: Gradients) -> tuple[Levels, ...]:
    r"""What the keys of :func:`key_map` stand for.

    Args:
        gradients: One gradient, or several that are radial and have one centre.

    Returns:
        The weight of each gradient for every key :math:`k`, with shape :math:`(K, 1, 1)`.
    """
    if len(gradients) < 2:
        return tuple(np.arange(256).reshape(-1, 1, 1) for _ in gradients)
    radial = [gradient for gradient in gradients if isinstance(gradient, RadialGradient)]
    distances = np.concatenate([gradient.edges() for gradient in radial])
    weights = np.stack([gradient.weights_at(distances) for gradient in radial]).astype(np.int64)
    table = np.zeros((len(radial), 255 * len(radial) + 1), np.int64)
    table[:, weights.sum(0)] = weights
    return tuple(table[..., None, None])


@lru_cache(maxsize=32)
def key_map(gradients: Gradients, height: int, width: int, device: torch.device) -> Tensor:
    r"""Tells apart the pixels that a filter treats differently.

    All weights fall with the distance from the centre, so their sum tells them all.

    Args:
        gradients: The gradients, as for :func:`weights_of_keys`.
        height: The height of the image.
        width: The width of the image.
        device: Where the keys go.

    Returns:
        The key of each pixel, ``int16``, with shape :math:`(H W)`.
    """
    keys = sum(gradient.weights(height, width).astype(np.int16) for gradient in gradients)
    return torch.from_numpy(np.asarray(keys).ravel()).to(device)


def _axis(size: int, center: float) -> tuple[NDArray[np.float64], float]:
    """Coordinates from the centre, in pixels, and the distance of the farther border."""
    before, after = size * center, size * (1 - center)
    return np.linspace(-before, after, size), max(before, after)


def _pillows_ramp() -> Image.Image:
    return Image.fromarray(255 - np.asarray(Image.linear_gradient("L")))
