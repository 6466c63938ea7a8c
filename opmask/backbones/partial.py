r"""Partial convolutions: what lies outside of a region has no say in the features.

Data flow: `features (B, C, H, W), region (B, 1, H, W) -> PartialConv2d -> features, region`, both
smaller. Networks that describe a region, or judge it, are made of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PartialConv2d", "PartialLevel", "PartialStack", "check_size"]

SIDE = 3
"""The side of a window, in pixels."""

EPS = 1e-8
"""What keeps windows without a pixel of the region from a division by zero, in pixels."""


class PartialConv2d(nn.Conv2d):
    r"""A 3x3 convolution, without padding, of the part of each window that lies in a region.

    .. math::
        y = s \left( \frac{9 s}{\sum r} \, W (r x) + b \right), \qquad
        s = \min\left(1, \sum r\right)

    Sums run over the window. The result is that of a whole window of such pixels, and 0 where the
    window has none of the region; :math:`s` is the region of the result. Where all of the image is
    the region, this is an ordinary convolution.

    Args:
        in_channels: The number of channels of the features.
        out_channels: The number of channels of the result.
        stride: The distance of windows, in pixels.
        bias: Whether there is a bias :math:`b`.

    References:
        | Image Inpainting for Irregular Holes Using Partial Convolutions (Liu et al., 2018)
          https://arxiv.org/abs/1804.07723

    Example:
        >>> import torch
        >>> image, region = torch.rand(1, 3, 7, 9), torch.zeros(1, 1, 7, 9)
        >>> region[..., :3] = 1
        >>> y, smaller = PartialConv2d(3, 8)(image, region)
        >>> y.shape, smaller[0, 0, 0].tolist()
        (torch.Size([1, 8, 3, 4]), [1.0, 1.0, 0.0, 0.0])
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 2, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, SIDE, stride, bias=bias)

    def forward(self, x: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        r"""Convolves what lies in a region.

        Args:
            x: The features, with shape :math:`(B, C, H, W)`.
            region: The region, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`.

        Returns:
            The features of the windows, and their region in single precision at least.
        """
        # Half precision has no number as small as EPS.
        region = region.to(torch.promote_types(region.dtype, torch.float32))
        area = SIDE**2 * F.avg_pool2d(region, SIDE, self.stride)
        smaller = area.clamp(max=1)
        y = F.conv2d(x * region.to(x.dtype), self.weight, None, self.stride)
        y = y * (SIDE**2 * smaller / (area + EPS)).to(y.dtype)
        if self.bias is not None:
            y = (y + self.bias[:, None, None].to(y.dtype)) * smaller.to(y.dtype)
        return y, smaller


class PartialLevel(nn.Module):
    """A partial convolution and what comes after it, such as a norm."""

    def __init__(self, convolution: nn.Module, *after: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution
        self.after = nn.Sequential(*after)

    def forward(self, x: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
        """Maps features and their region to those of the next level."""
        x, region = self.convolution(x, region)
        return self.after(x), region


class PartialStack(nn.Sequential):
    """Levels one after the other; gives the features alone."""

    def forward(self, x: Tensor, region: Tensor) -> Tensor:  # type: ignore[override]
        """Maps features and their region to features."""
        for level in self:
            x, region = level(x, region)
        return x


def check_size(image: Tensor, halvings: int) -> None:
    """Raises unless so many convolutions of stride 2 leave a pixel of an image."""
    least = 2 ** (halvings + 1) - 1
    if min(image.shape[-2:]) < least:
        raise ValueError(
            f"'image' must be at least {least}x{least} pixels, got {tuple(image.shape[-2:])}. "
            "With fewer partial convolutions, see depth= or code_depth=, it can be smaller."
        )
