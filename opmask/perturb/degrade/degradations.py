r"""Degradations: noise, blur and JPEG as imgaug makes them, without imgaug.

A degradation holds what was drawn for it and always does the same, on every device. It takes any
three channels: the reference code hands it 8-bit LAB as if it were RGB.

``draw_degradation`` -> degradation: 8-bit image -> 8-bit image, for ``composite``.

References:
    | imgaug (Jung et al., 2020), https://github.com/aleju/imgaug
"""

from __future__ import annotations

import io
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opmask.perturb.degrade.kernels import correlate, gaussian_kernel, motion_kernel
from opmask.perturb.degrade.noise import add_noise, gaussian_cdf, laplace_cdf, poisson_cdf
from opmask.perturb.filters import check_eight_bit


@dataclass(frozen=True)
class Degradation(ABC):
    """What makes a photo worse: a callable that always does the same."""

    name: ClassVar[str]

    def __call__(self, image: Tensor) -> Tensor:
        r"""Degrades an image.

        Args:
            image: The image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.

        Returns:
            The degraded image, with the type, shape and range of `image`.

        Raises:
            ValueError: If the shape is wrong.
            TypeError: If the image is not 8-bit.
        """
        check_eight_bit(image, "image", "(3, H, W)")
        return self._apply(image)

    def to_dict(self) -> dict[str, Any]:
        """The degradation as plain values; ``degradation_from_dict`` reads them."""
        return {"degrade": self.name, **asdict(self)}

    @abstractmethod
    def _apply(self, image: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class GaussianNoise(Degradation):
    r"""Adds noise from a normal distribution, rounded, to each pixel and channel on its own.

    Args:
        scale: The standard deviation, in 8-bit levels.
        seed: The integer that decides the noise.

    Raises:
        ValueError: If `scale` is not positive, or more than 255.

    Example:
        >>> GaussianNoise(9.0, seed=0)(torch.full((3, 1, 1), 128, dtype=torch.uint8)).flatten()
        tensor([132, 119, 128], dtype=torch.uint8)
    """

    name = "gaussian_noise"
    scale: float
    seed: int

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def _apply(self, image: Tensor) -> Tensor:
        return add_noise(image, gaussian_cdf(self.scale), self.seed)


@dataclass(frozen=True)
class LaplaceNoise(Degradation):
    r"""Adds noise from a Laplace distribution, rounded, to each pixel and channel on its own.

    Args:
        scale: The mean absolute deviation, in 8-bit levels.
        seed: The integer that decides the noise.

    Raises:
        ValueError: If `scale` is not positive, or more than 255.

    Example:
        >>> LaplaceNoise(9.0, seed=0)(torch.full((3, 1, 1), 128, dtype=torch.uint8)).flatten()
        tensor([131, 118, 128], dtype=torch.uint8)
    """

    name = "laplace_noise"
    scale: float
    seed: int

    def __post_init__(self) -> None:
        _check_positive("scale", self.scale)

    def _apply(self, image: Tensor) -> Tensor:
        return add_noise(image, laplace_cdf(self.scale), self.seed)


@dataclass(frozen=True)
class PoissonNoise(Degradation):
    r"""Adds or subtracts, as likely, a Poisson number for each pixel and channel on its own.

    Args:
        rate: The mean of the Poisson distribution, in 8-bit levels.
        seed: The integer that decides the noise.

    Raises:
        ValueError: If `rate` is not positive, or more than 255.

    Example:
        >>> PoissonNoise(9.0, seed=0)(torch.full((3, 1, 1), 128, dtype=torch.uint8)).flatten()
        tensor([135, 118, 131], dtype=torch.uint8)
    """

    name = "poisson_noise"
    rate: float
    seed: int

    def __post_init__(self) -> None:
        _check_positive("rate", self.rate)

    def _apply(self, image: Tensor) -> Tensor:
        return add_noise(image, poisson_cdf(self.rate), self.seed)


@dataclass(frozen=True)
class MotionBlur(Degradation):
    r"""Blurs along a line of three pixels, with the weights of imgaug's ``MotionBlur(k=3)``.

    A result halfway between two levels is rounded up; imgaug rounds it either way, so that about
    one value in a thousand differs by 1.

    Args:
        angle: By how much the line is turned out of the vertical, in degrees, clockwise.
        direction: Where the weight lies, from -1, all below the middle, to 1, all above.

    Raises:
        ValueError: If `direction` lies outside [-1, 1], or `angle` is not finite.

    Example:
        >>> image = torch.tensor([0, 0, 90], dtype=torch.uint8).expand(3, 1, 3)
        >>> MotionBlur(90.0, 0.0)(image)[0]
        tensor([[ 0, 30, 30]], dtype=torch.uint8)
    """

    name = "motion_blur"
    angle: float
    direction: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.angle):
            raise ValueError(f"'angle' must be finite, got {self.angle}.")
        if not -1 <= self.direction <= 1:
            raise ValueError(f"'direction' must lie in [-1, 1], got {self.direction}.")

    def _apply(self, image: Tensor) -> Tensor:
        return correlate(image, motion_kernel(self.angle, self.direction))


@dataclass(frozen=True)
class GaussianBlur(Degradation):
    r"""Blurs with a Gaussian, equal to imgaug's and so to OpenCV's for 8-bit images.

    Args:
        sigma: The standard deviation, in pixels. The reference code's is 1.

    Raises:
        ValueError: If `sigma` is not positive, or more than 32.

    Example:
        >>> image = torch.tensor([0, 0, 90], dtype=torch.uint8).expand(3, 1, 3)
        >>> GaussianBlur()(image)[0]
        tensor([[10, 22, 37]], dtype=torch.uint8)
    """

    name = "gaussian_blur"
    sigma: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("sigma", self.sigma, most=32)  # with which a pixel is the mean of 7,000

    def _apply(self, image: Tensor) -> Tensor:
        return correlate(image, gaussian_kernel(self.sigma))


@dataclass(frozen=True)
class JPEG(Degradation):
    r"""Compresses and reads back with Pillow, chroma at half the size.

    Only here do values depend on the version of a library, Pillow's JPEG.

    Args:
        quality: From 1 to 100. The reference code's is 95, imgaug's compression of 5.

    Raises:
        ValueError: If `quality` lies outside [1, 100].

    Example:
        >>> JPEG()(torch.full((3, 2, 2), 128, dtype=torch.uint8)).unique()
        tensor([128], dtype=torch.uint8)
    """

    name = "jpeg"
    quality: int = 95

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"'quality' must lie in [1, 100], got {self.quality}.")

    def _apply(self, image: Tensor) -> Tensor:
        file = io.BytesIO()
        pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality)
        decoded = torch.from_numpy(np.array(Image.open(file)))
        return decoded.permute(2, 0, 1).contiguous().to(image.device)


def _check_positive(argument: str, value: float, most: float = 255) -> None:
    if not value > 0:
        raise ValueError(f"'{argument}' must be positive, got {value}.")
    if value > most:
        raise ValueError(f"'{argument}' must be at most {most}, got {value}.")
