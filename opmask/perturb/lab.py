r"""The paper's own perturbation: each channel of LAB times a factor.

It comes twice. :class:`LabScaling8` is that of the reference code, on the 8-bit codes of OpenCV;
:class:`LabScaling` is the same operation without the losses of 8-bit LAB. In both, a and b are
multiplied with their offset of 128, so that the factors tint greys as well.

8-bit image -> LAB -> times factors -> 8-bit image, for :func:`opmask.perturb.composite.composite`.

References:
    | Semantic-guided Multi-mask Image Harmonization (Ren and Liu, 2022), equation 1
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from opmask.color import LAB_UNIT, to_levels
from opmask.color.opencv_lab import lab8_to_rgb, rgb_to_lab8
from opmask.perturb.filters import check_eight_bit
from opmask.perturb.filters.cpu_lookup import look_up_bytes

Factors = tuple[float, float, float]


@dataclass(frozen=True)
class _Scaling(ABC):
    """What both scalings share: their factors, and the check of what they are given."""

    factors: Factors

    def __post_init__(self) -> None:
        if not all(math.isfinite(factor) and factor >= 0 for factor in self.factors):
            raise ValueError(f"'factors' must be finite and at least 0, got {self.factors}.")

    def __call__(self, image: Tensor) -> Tensor:
        r"""Scales an image.

        Args:
            image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.

        Returns:
            The scaled image, with the type, shape and range of `image`.

        Raises:
            ValueError: If the shape is wrong.
            TypeError: If the image is not 8-bit.
        """
        check_eight_bit(image, "image", "(3, H, W)")
        factors = torch.tensor(self.factors, dtype=torch.float64, device=image.device)
        return self.scale(image, factors.view(3, 1, 1))

    @staticmethod
    @abstractmethod
    def scale(image: Tensor, factors: Tensor) -> Tensor:
        r"""Scales each pixel by factors of its own.

        Args:
            image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
            factors: The factors of L, a and b, ``float64``, with that shape or one that expands.

        Returns:
            The scaled image, with the type, shape and range of `image`.
        """


@dataclass(frozen=True)
class LabScaling8(_Scaling):
    r"""Multiplies the 8-bit codes of L, a and b, as the reference code does.

    .. math:: \lfloor \min(255, f_i \, v_i) \rfloor

    with :math:`v` the codes of :func:`opmask.color.opencv_lab.rgb_to_lab8`. Cutting off the
    fraction darkens a little and pulls towards green and blue; 8-bit LAB alone can be several
    levels off.

    Args:
        factors: The factors :math:`f` of L, a and b, at least 0.

    Raises:
        ValueError: If a factor is negative or not finite.

    Example:
        >>> grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
        >>> LabScaling8((1.0, 0.8, 1.0))(grey).flatten()
        tensor([ 68, 141, 128], dtype=torch.uint8)
    """

    @staticmethod
    def scale(image: Tensor, factors: Tensor) -> Tensor:
        """Scales each pixel by factors of its own, see :meth:`LabScaling.scale`."""
        # D-04: a and b include their offset, and the fraction is cut off, not rounded.
        codes = rgb_to_lab8(image)
        if factors.numel() == 3 and not image.is_cuda:
            scaled = torch.arange(256) * factors.view(3, 1)
            table = scaled.clamp(max=255).to(torch.uint8).numpy()
            codes = torch.from_numpy(look_up_bytes(table, codes.flatten(1).numpy())).view_as(codes)
        else:
            codes = (codes * factors).clamp(max=255).to(torch.uint8)
        return lab8_to_rgb(codes)

    def to_dict(self) -> dict[str, Any]:
        """The scaling as plain values, for JSON."""
        return {"lab8": list(self.factors)}


@dataclass(frozen=True)
class LabScaling(_Scaling):
    r"""Multiplies L, a and b, in :data:`opmask.LAB_UNIT`.

    .. math:: \min(1, f_i \, v_i)

    with :math:`v` the channels, which are the codes of 8-bit LAB over 255, but not rounded. The
    result is clipped to RGB and rounded to 8 bits.

    Args:
        factors: The factors :math:`f` of L, a and b, at least 0.

    Raises:
        ValueError: If a factor is negative or not finite.

    Example:
        >>> grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
        >>> LabScaling((1.0, 0.8, 1.0))(grey).flatten()
        tensor([ 69, 140, 127], dtype=torch.uint8)
    """

    @staticmethod
    def scale(image: Tensor, factors: Tensor) -> Tensor:
        r"""Scales each pixel by factors of its own, by the formula of the class.

        Args:
            image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
            factors: The factors of L, a and b, at least 0, ``float64``, with the shape of `image`
                or one that expands to it.

        Returns:
            The scaled image, with the type, shape and range of `image`.
        """
        # In float64, so that no device and no number of threads changes a rounded level.
        lab = LAB_UNIT.from_rgb(image.double() / 255) * factors
        rgb = LAB_UNIT.to_rgb(lab.clamp(max=1))
        return to_levels(rgb)

    def to_dict(self) -> dict[str, Any]:
        """The scaling as plain values, for JSON."""
        return {"lab": list(self.factors)}
