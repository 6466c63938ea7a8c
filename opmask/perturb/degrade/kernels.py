r"""Small blurs with whole-number weights, so that every device rounds alike.

What was drawn -> kernel -> ``correlate`` -> blurred image, for
``opmask.perturb.degrade.degradations``.

References:
    | imgaug (Jung et al., 2020), https://github.com/aleju/imgaug
    | OpenCV, modules/imgproc/src/{imgwarp,smooth.dispatch}.cpp (OpenCV team, Apache License 2.0)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def correlate(image: Tensor, weights: Tensor) -> Tensor:
    r"""Replaces each pixel by a weighted mean of its surroundings, rounded half up.

    Beyond the border the image is mirrored about its outermost pixels, as OpenCV does it by
    default (``BORDER_REFLECT_101``).

    Args:
        image: The image, ``uint8``, with shape :math:`(*, H, W)`.
        weights: Whole numbers that are not negative, ``int32``, with shape :math:`(K, K)`,
            :math:`K` odd. They are divided by their sum, which must be below :math:`2^{23}`.

    Returns:
        The blurred image, with the type and shape of `image`.

    Example:
        >>> image = torch.tensor([[0, 0, 90, 0, 0]], dtype=torch.uint8)
        >>> correlate(image, torch.tensor([[0, 0, 0], [1, 1, 1], [0, 0, 0]]))
        tensor([[ 0, 30, 30, 30,  0]], dtype=torch.uint8)
    """
    height, width = image.shape[-2:]
    reach = len(weights) // 2
    rows, columns = (_mirrored(size, reach).to(image.device) for size in (height, width))
    padded = image[..., rows, :][..., columns]
    total = torch.zeros_like(image, dtype=torch.int32)
    for i, row in enumerate(weights.tolist()):
        for j, weight in enumerate(row):
            total.add_(padded[..., i : i + height, j : j + width], alpha=weight)
    scale = int(weights.sum())
    return ((total + scale // 2) // scale).to(torch.uint8)


def gaussian_kernel(sigma: float) -> Tensor:
    r"""The weights of a Gaussian blur, with imgaug's width and OpenCV's rounding.

    Args:
        sigma: The standard deviation, in pixels.

    Returns:
        The weights, ``int32``, with shape :math:`(K, K)` and sum :math:`2^{16}`; :math:`K` is 5
        for a `sigma` of 1.

    Example:
        >>> gaussian_kernel(1.0).sum(0) // 256
        tensor([ 14,  62, 104,  62,  14])
    """
    width = 3.3 if sigma < 3 else 2.9 if sigma < 5 else 2.6
    reach = int(max(width * sigma, 5)) // 2
    heights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-reach, reach + 1)]
    side: list[int] = []
    error = 0.0
    for height in heights[:reach]:
        exact = 256 * height / sum(heights) + error
        side.append(round(exact))
        error = exact - side[-1]
    row = torch.tensor([*side, 256 - 2 * sum(side), *reversed(side)], dtype=torch.int32)
    return row[:, None] * row


def motion_kernel(angle: float, direction: float) -> Tensor:
    r"""The weights of imgaug's motion blur of three pixels.

    A line of three weights, from :math:`d = (\text{direction} + 1) / 2` above to :math:`1 - d`
    below, is turned about the middle pixel. imgaug turns it as an 8-bit image, with OpenCV, so
    weights are rounded to 1/255 and, up to OpenCV 4, places to 1/32 pixel: so they are here.

    Args:
        angle: By how much to turn it, in degrees, clockwise.
        direction: Where the weight lies, from -1, all below the middle, to 1, all above.

    Returns:
        The weights, ``int32``, with shape :math:`(3, 3)`.

    Example:
        >>> motion_kernel(0.0, 1.0)
        tensor([[  0, 255,   0],
                [  0, 127,   0],
                [  0,   0,   0]], dtype=torch.int32)
    """
    above = (direction + 1) / 2
    line = [int(255 * weight) for weight in (above, 0.5, 1 - above)]
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    weights = torch.zeros(3, 3, dtype=torch.int32)
    for row in range(3):
        for column in range(3):
            # Where the weight comes from, in 1/32 pixel; OpenCV rounds the two terms on their own.
            x = (round(1024 * (sin * row + 1 - cos - sin)) + round(1024 * cos * column) + 16) >> 5
            y = (round(1024 * (cos * row + 1 - cos + sin)) - round(1024 * sin * column) + 16) >> 5
            near = sum(weight * max(0, 32 - abs(y - 32 * i)) for i, weight in enumerate(line))
            weights[row, column] = (near * max(0, 32 - abs(x - 32)) + 512) >> 10
    return weights


def _mirrored(size: int, reach: int) -> Tensor:
    """The places -reach to size + reach, reflected until they lie inside."""
    period = max(2 * size - 2, 1)
    places = torch.arange(-reach, size + reach).abs() % period
    return torch.minimum(places, period - places) if size > 1 else places
