r"""Conversions between sRGB and linear light, CIE LAB and OKLAB: matrices and curves.

No direction clips, and every gradient is finite, also out of gamut. Each is one definition with
three ways to compute it: exactly, in float64; by powers of two, in float32, in blocks on a CPU;
and by polynomials, where it is compiled for a CPU. For colours in gamut they agree to 2e-5 in RGB.

Data flow: `sRGB -> linear light -> XYZ or cones -> roots -> LAB`, and back; used by
:mod:`opmask.color.spaces`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from opmask.color.blocks import convert, is_plain
from opmask.color.curves import CUBE, DECODE, ENCODE, OK_CUBE, OK_ROOT, ROOT, Curve, Signed

__all__ = [
    "Conversion",
    "lab_centered_to_rgb",
    "lab_to_rgb",
    "lab_unit_clamped_to_rgb",
    "lab_unit_to_rgb",
    "linear_to_rgb",
    "oklab_to_rgb",
    "rgb_to_lab",
    "rgb_to_lab_centered",
    "rgb_to_lab_unit",
    "rgb_to_linear",
    "rgb_to_oklab",
]


_DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Affine:
    r"""Mixes three channels, :math:`y = M x + o`.

    Not by the products of matrices of torch, which may be of low precision.

    Args:
        rows: The rows of the matrix :math:`M`, each with its offset behind it.
    """

    rows: tuple[tuple[float, ...], ...]
    columns: dict[torch.dtype, Tensor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # As constants that belong to no mode or device that happens to be set.
        with torch.inference_mode(False):
            columns = torch.tensor(self.rows, dtype=torch.float64, device="cpu").T
            both = {dtype: columns[..., None].to(dtype) for dtype in _DTYPES}
        object.__setattr__(self, "columns", both)

    def __call__(self, x: Tensor) -> Tensor:
        """Mixes the channels of pixels on a CPU, with shape (3, N)."""
        red, green, blue, offset = self.columns[x.dtype].unbind(0)
        mixed = (x[0] * red).addcmul(x[1], green).addcmul(x[2], blue)
        return mixed + offset if self.moves else mixed

    def in_place(self, x: Tensor) -> Tensor:
        """The same without gradients."""
        red, green, blue, offset = self.columns[x.dtype].unbind(0)
        mixed = (x[0] * red).addcmul_(x[1], green).addcmul_(x[2], blue)
        return mixed.add_(offset) if self.moves else mixed

    @property
    def moves(self) -> bool:
        """Whether there is an offset."""
        return any(row[3] for row in self.rows)

    def each(self, channels: Sequence[Tensor]) -> list[Tensor]:
        """The same for channels on any device, each by itself."""
        mixed = []
        for *row, offset in self.rows:
            first, *others = [w * c for w, c in zip(row, channels, strict=True) if w]
            total = sum(others, start=first)
            mixed.append(total + offset if offset else total)
        return mixed


@dataclass(frozen=True)
class Clamp:
    r"""Clamps channels to :math:`[0, 1]`; gradients pass as if it did not."""

    def __call__(self, x: Tensor) -> Tensor:
        """Clamps a tensor of any shape."""
        return x + (x.clamp(0, 1) - x).detach()

    def in_place(self, x: Tensor) -> Tensor:
        """The same without gradients; the first step of a conversion leaves its input alone."""
        return x.clamp(0, 1)

    def each(self, channels: Sequence[Tensor]) -> list[Tensor]:
        """The same for channels on any device, each by itself."""
        return [self(channel) for channel in channels]


@dataclass(frozen=True)
class Conversion:
    r"""A conversion of colours, one step after the other.

    Args:
        *steps: The steps.
    """

    steps: tuple[Clamp | Curve | Signed | Affine, ...]

    def __init__(self, *steps: Clamp | Curve | Signed | Affine) -> None:
        object.__setattr__(self, "steps", steps)

    def __call__(self, image: Tensor) -> Tensor:
        """Converts an image, with shape (*, 3, H, W)."""
        return convert(self._convert, image)

    def each(self, channels: Sequence[Tensor]) -> list[Tensor]:
        """Converts the channels of an image, each by itself, which compilers make one loop of."""
        for step in self.steps:
            channels = step.each(channels)
        return [*channels]

    def _convert(self, image: Tensor) -> Tensor:
        if not is_plain(image):
            return torch.stack(self.each(image.unbind(1)), 1)
        x = image.transpose(0, 1).reshape(3, -1)
        learns = torch.is_grad_enabled() and image.requires_grad
        for step in self.steps:
            x = step(x) if learns else step.in_place(x)
        return x.view(3, len(image), *image.shape[2:]).transpose(0, 1)


def channels_of(
    conversion: Callable[[Tensor], Tensor], channels: Sequence[Tensor]
) -> list[Tensor]:
    """Converts channels of shape (B, H, W), each by itself if there is a way."""
    if isinstance(conversion, Conversion):
        return conversion.each(channels)
    return [*conversion(torch.stack([*channels], 1)).unbind(1)]


def both_ways(
    matrix: Sequence[Sequence[float]], offset: Sequence[float] = (0.0, 0.0, 0.0)
) -> tuple[Affine, Affine]:
    """What mixes three channels, and what takes them apart again."""
    inverse = np.linalg.inv(np.array(matrix))
    pairs = (matrix, offset), (inverse.tolist(), (-inverse @ np.array(offset)).tolist())
    there, back = (
        Affine(tuple((*row, o) for row, o in zip(rows, offsets, strict=True)))
        for rows, offsets in pairs
    )
    return there, back


_WHITE = (0.95047, 1.0, 1.08883)  # X, Y, Z of D65, as in kornia and scikit-image
_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
# X, Y and Z each as a share of white's.
TO_XYZ, FROM_XYZ = both_ways(
    [[x / white for x in row] for row, white in zip(_XYZ, _WHITE, strict=True)]
)


def _cie(scale: Sequence[float], offset: Sequence[float]) -> tuple[Affine, Affine]:
    """From roots of X, Y and Z to L*, a* and b*, scaled and moved, and back."""
    (lightness, a, b), (first, *others) = scale, offset
    matrix = (0, 116 * lightness, 0), (500 * a, -500 * a, 0), (0, 200 * b, -200 * b)
    return both_ways(matrix, (first - 16 * lightness, *others))


TO_LAB, FROM_LAB = _cie((1 / 100, 1 / 128, 1 / 128), (0, 0, 0))
TO_CENTERED, FROM_CENTERED = _cie((1 / 50, 1 / 127.5, 1 / 127.5), (-1, 0.5 / 127.5, 0.5 / 127.5))
TO_UNIT, FROM_UNIT = _cie((1 / 100, 1 / 255, 1 / 255), (0, 128 / 255, 128 / 255))

# A perceptual color space for image processing (Ottosson, 2020), with its matrices of 2021.
TO_CONES, FROM_CONES = both_ways(
    (
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    )
)
TO_OKLAB, FROM_OKLAB = both_ways(
    (
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    )
)


rgb_to_linear, linear_to_rgb = Conversion(DECODE), Conversion(ENCODE)
rgb_to_lab = Conversion(DECODE, TO_XYZ, ROOT, TO_LAB)
lab_to_rgb = Conversion(FROM_LAB, CUBE, FROM_XYZ, ENCODE)
rgb_to_lab_centered = Conversion(DECODE, TO_XYZ, ROOT, TO_CENTERED)
lab_centered_to_rgb = Conversion(FROM_CENTERED, CUBE, FROM_XYZ, ENCODE)
rgb_to_lab_unit = Conversion(DECODE, TO_XYZ, ROOT, TO_UNIT)
lab_unit_to_rgb = Conversion(FROM_UNIT, CUBE, FROM_XYZ, ENCODE)
lab_unit_clamped_to_rgb = Conversion(Clamp(), FROM_UNIT, CUBE, FROM_XYZ, ENCODE)
rgb_to_oklab = Conversion(DECODE, TO_CONES, OK_ROOT, TO_OKLAB)
oklab_to_rgb = Conversion(FROM_OKLAB, OK_CUBE, FROM_CONES, ENCODE)
