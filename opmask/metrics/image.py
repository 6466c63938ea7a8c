r"""Full-image metrics on the scale of 8-bit images, one value per image.

The images are floats in [0, 1]; the numbers are on the 0-255 scale, on which the papers print
them::

    output, real (B, 3, H, W) in [0, 1] -> mse, psnr, ssim (B,)
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T", float, np.ndarray, Tensor)

SSIM_WINDOW = 11  # pixels: the Gaussian of 1.5 pixels, cut at 3.5 standard deviations


def mse(output: Tensor, real: Tensor) -> Tensor:
    r"""Mean squared error on the 0-255 scale.

    .. math:: \frac{255^2}{3HW} \sum_{c,h,w} (x_{chw} - y_{chw})^2

    Args:
        output: The image :math:`x` to score, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.
        real: The ground truth :math:`y`, with the shape and range of `output`.

    Returns:
        The error of each image, with shape :math:`(B)`, in squared 8-bit levels.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If `output` is not :math:`(B, 3, H, W)` or the shapes differ.

    Example:
        >>> real = torch.zeros(2, 3, 8, 8)
        >>> mse(real + 2 / 255, real)
        tensor([4.0000, 4.0000])
    """
    check_images("output", output, "real", real)
    return (_levels(output) - _levels(real)).square().mean(dim=(1, 2, 3))


def psnr(output: Tensor, real: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio with the peak at 255.

    .. math:: 10 \log_{10} \frac{255^2}{\mathrm{MSE} + 10^{-9}}

    Args:
        output: The image to score, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.
        real: The ground truth, with the shape and range of `output`.

    Returns:
        The ratio of each image, with shape :math:`(B)`, in dB; 138.13 if the two are equal.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If `output` is not :math:`(B, 3, H, W)` or the shapes differ.

    Example:
        >>> real = torch.zeros(2, 3, 8, 8)
        >>> psnr(real + 0.1, real)
        tensor([20.0000, 20.0000])
    """
    return psnr_from_mse(mse(output, real))


def psnr_from_mse(error: T, *, peak: float = 255.0, epsilon: float = 1e-9) -> T:
    r"""The peak signal-to-noise ratio that belongs to a mean squared error.

    .. math:: 10 \log_{10} \frac{P^2}{\mathrm{MSE} + \epsilon}

    Args:
        error: The error, or several as an array or a tensor of any shape, in squared 8-bit levels.
        peak: The peak :math:`P`, in levels.
        epsilon: What is added to the error, so that equal images have a ratio.

    Returns:
        The ratio in dB, of the kind and shape of `error`.

    Example:
        >>> psnr_from_mse(np.array([65.025, 650.25]))
        array([30., 20.])
    """
    ratio = peak**2 / (error + epsilon)
    if isinstance(ratio, Tensor):
        return 10 * ratio.log10()
    with np.errstate(divide="ignore"):  # a peak of 0
        return 10 * np.log10(ratio)


def ssim(output: Tensor, real: Tensor) -> Tensor:
    r"""Structural similarity with a Gaussian window, averaged over pixels and channels.

    .. math:: \frac{(2 \mu_x \mu_y + C_1) (2 \sigma_{xy} + C_2)}
              {(\mu_x^2 + \mu_y^2 + C_1) (\sigma_x^2 + \sigma_y^2 + C_2)}

    The window is 11 x 11 with a standard deviation of 1.5 pixels, the constants are
    :math:`C_1 = (0.01 \cdot 255)^2` and :math:`C_2 = (0.03 \cdot 255)^2`. Only windows that lie
    inside of the image count, as in scikit-image's `structural_similarity` with
    `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255`.

    Args:
        output: The image :math:`x` to score, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`,
            at least 11 pixels high and wide.
        real: The ground truth :math:`y`, with the shape and range of `output`.

    Returns:
        The similarity of each image, with shape :math:`(B)`, in :math:`[-1, 1]`.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If `output` is not :math:`(B, 3, H, W)`, is smaller than the window, or the
            shapes differ.

    References:
        | Image quality assessment: from error visibility to structural similarity
          (Wang et al., 2004)
        | https://doi.org/10.1109/TIP.2003.819861

    Example:
        >>> image = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
        >>> ssim(image, image)
        tensor([1.])
    """
    check_images("output", output, "real", real)
    check_window(output, SSIM_WINDOW)
    from kornia.metrics import ssim as similarity_map

    # The variances are small differences of large squares: float32 is off in the fourth decimal.
    x, y = _levels(output).double(), _levels(real).double()
    similarity = similarity_map(x, y, SSIM_WINDOW, max_val=255.0, eps=0.0, padding="valid")
    return similarity.mean(dim=(1, 2, 3)).to(_dtype(output))


def check_images(name: str, image: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse 8-bit images, whose differences wrap around, and shapes that do not fit."""
    for key, value in ((name, image), (other_name, other)):
        if not value.is_floating_point():
            raise TypeError(
                f"'{key}' must be a floating point image in [0, 1], got {value.dtype}. "
                "Divide 8-bit images by 255."
            )
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"'{name}' must have shape (B, 3, H, W), got {tuple(image.shape)}.")
    if other.shape != image.shape:
        raise ValueError(
            f"'{other_name}' must have the shape of '{name}', {tuple(image.shape)}, "
            f"got {tuple(other.shape)}."
        )


def check_window(output: Tensor, window: int) -> None:
    """Refuse images in which no window of that many pixels fits."""
    if min(output.shape[2:]) < window:
        raise ValueError(
            f"'output' must be at least {window} pixels high and wide for SSIM, "
            f"got {tuple(output.shape)}."
        )


def _dtype(image: Tensor) -> torch.dtype:
    return torch.promote_types(image.dtype, torch.float32)


def _levels(image: Tensor) -> Tensor:
    return 255 * image.to(_dtype(image))
