r"""How the paper's published script scores: its 8-bit pictures and its structural similarity.

The numbers of the paper's tables come from saved pictures that went through 8-bit LAB, and from a
similarity whose scale is the output's own range. Both are here for comparing with those tables,
and for nothing else::

    LAB_CENTERED tensor -> reference_panel -> score(..., protocol="reference")
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.color.opencv_lab import lab8_to_rgb
from opmask.metrics.image import check_window

WINDOW = 7  # pixels, all weighted alike
K1, K2 = 0.01, 0.03  # of the similarity's stabilising constants


def reference_panel(lab: Tensor) -> np.ndarray:
    r"""The picture that the reference code saves of a LAB tensor.

    The codes :math:`\lfloor 255 (x/2 + 1/2) \rfloor` as OpenCV's 8-bit LAB, converted to 8-bit
    RGB. In float32, 63 of the 256 codes come back one level lower when they are normalised and
    truncated, so the reference's pictures are off even where its model changes nothing: photos by
    a mean squared error of about 0.7. The real image goes through the same chain, which is, for
    an 8-bit RGB tensor `image`::

        reference_panel((rgb_to_lab8(image).float() / 255 - 0.5) / 0.5)

    The pictures of its RGB models are not converted: use :func:`reference_rgb_panel`. So the rows
    of the paper's tables are measured against slightly different targets.

    Args:
        lab: The image :math:`x` in :data:`opmask.LAB_CENTERED`, with shape :math:`(*, 3, H, W)`,
            in :math:`[-1, 1]`; values outside are clipped.

    Returns:
        The 8-bit RGB picture, an array with shape :math:`(*, H, W, 3)`.

    Example:
        >>> codes = torch.tensor([137.0, 128.0, 128.0]).reshape(3, 1, 1)
        >>> reference_panel((codes / 255 - 0.5) / 0.5)
        array([[[128, 128, 128]]], dtype=uint8)
    """
    return _array(lab8_to_rgb(_truncate(lab)))


def reference_rgb_panel(rgb: Tensor) -> np.ndarray:
    r"""The picture that the reference code saves of an RGB tensor: truncated, not converted.

    .. math:: \lfloor 255 (x/2 + 1/2) \rfloor

    Args:
        rgb: The image :math:`x`, RGB with shape :math:`(*, 3, H, W)`, in :math:`[-1, 1]`, that is
            `2 * image - 1`; values outside are clipped.

    Returns:
        The 8-bit RGB picture, an array with shape :math:`(*, H, W, 3)`. See
        :func:`reference_panel`.

    Example:
        >>> reference_rgb_panel(torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1))
        array([[[  0, 127, 255]]], dtype=uint8)
    """
    return _array(_truncate(rgb))


def reference_ssim(output: Tensor, real: Tensor) -> Tensor:
    """Structural similarity as in the reference's script, for each image and channel.

    With a uniform window of 7 x 7, sample covariances, and as data range the *output's* largest
    less its smallest value: scikit-image's `structural_similarity` with that `data_range`. A
    channel of the output that is constant has the range 0, where scikit-image gives NaN; here it
    has the limit of small ranges, in which a ratio 0/0 is 1.

    Args:
        output: The image to score, with shape (B, 3, H, W), whole values in 0-255, float64.
        real: The ground truth, with the kind and shape of `output`.

    Returns:
        The similarities, with shape (B, 3), in [-1, 1].
    """
    check_window(output, WINDOW)
    data_range = output.amax((2, 3), keepdim=True) - output.amin((2, 3), keepdim=True)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    count = WINDOW**2
    # kornia, whose window is a Gaussian, has no such similarity.
    # Sums of whole numbers are exact, so that a constant window has a variance of exactly 0.
    x, y, xx, yy, xy = map(_sum, (output, real, output**2, real**2, output * real))
    luminance = _ratio(2 * x * y / count**2 + c1, (x**2 + y**2) / count**2 + c1)
    spread = count * (count - 1)
    covariance = (count * xy - x * y) / spread
    variances = (count * xx - x**2 + count * yy - y**2) / spread
    return (luminance * _ratio(2 * covariance + c2, variances + c2)).mean((2, 3))


def _truncate(image: Tensor) -> Tensor:
    # In float32 and in this order, as the reference does: it decides what is lost.
    levels = (image.detach().float() * 0.5 + 0.5) * 255
    return levels.clamp(0, 255).to(torch.uint8)


def _array(image: Tensor) -> np.ndarray:
    return image.movedim(-3, -1).cpu().numpy()


def _sum(image: Tensor) -> Tensor:
    """The sum over each window that lies inside of the image."""
    return F.avg_pool2d(image, WINDOW, stride=1, divisor_override=1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator > 0, numerator / denominator, 1.0)
