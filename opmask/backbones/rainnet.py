r"""RainNet: an attention U-Net whose decoder gives the foreground the look of its background.

Data flow: `image (B, 3, H, W), region (B, 1, H, W) -> RainNet -> image (B, 3, H, W)`. The U-Net is
DoveNet's, but it does not see the region: that enters through the norms of the decoder, `RAIN`,
alone.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.backbones._region import split
from opmask.backbones.attention_unet import GatedUNet, down
from opmask.backbones.dovenet import last

__all__ = ["RAIN", "RainNet"]


class RAIN(nn.Module):
    r"""Region-aware adaptive instance normalization.

    The foreground gets the mean and the deviation of the background, channel by channel and image
    by image:

    .. math::
        y = (1 - r) \left[ (1 + \gamma_b) \frac{x - \mu_b}{\sigma_b} + \beta_b \right]
          + r \left[ (1 + \gamma_f)
            \left( \sigma_b \frac{x - \mu_f}{\sigma_f} + \mu_b \right) + \beta_f \right]

    Here :math:`r` is the region at the size of the features, by nearest neighbour, and with the
    weight :math:`w = r` for the foreground and :math:`w = 1 - r` for the background

    .. math::
        \mu = \frac{\sum w x}{\sum w + \epsilon}, \qquad
        \sigma^2 = \frac{\sum (w (x - \mu))^2}{\sum w + \epsilon} + \epsilon

    Sums run in single precision at least. Where there is no foreground, or no background, results
    are finite.

    Args:
        channels: The number of channels of the features.
        eps: The constant :math:`\epsilon`.

    References:
        | Region-aware Adaptive Instance Normalization for Image Harmonization (Ling et al., 2021)
          https://arxiv.org/abs/2106.02853

    Example:
        >>> import torch
        >>> features, region = 3 + torch.rand(1, 8, 16, 16), torch.zeros(1, 1, 64, 64)
        >>> region[..., 32:] = 1
        >>> features[..., 8:] *= 2
        >>> y = RAIN(8)(features, region)
        >>> means = features[..., :8].mean((2, 3)), y[..., 8:].mean((2, 3))
        >>> torch.allclose(*means, atol=1e-4)  # the foreground has the background's mean
        True
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.foreground_gamma = nn.Parameter(torch.zeros(channels))
        self.foreground_beta = nn.Parameter(torch.zeros(channels))
        self.background_gamma = nn.Parameter(torch.zeros(channels))
        self.background_beta = nn.Parameter(torch.zeros(channels))

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"{self.foreground_gamma.numel()}, eps={self.eps}"

    def forward(self, x: Tensor, region: Tensor) -> Tensor:
        r"""Normalises features.

        Args:
            x: The features, with shape :math:`(B, C, H, W)`.
            region: The foreground, with shape :math:`(B, 1, H', W')`, in :math:`[0, 1]`.

        Returns:
            The normalised features, with the shape and type of `x`.
        """
        # Half precision ends at 65,504: a sum over an image of 256x256 would not fit.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        inside = F.interpolate(region.to(wide.dtype), size=x.shape[-2:], mode="nearest")
        outside = 1 - inside
        mean, deviation = self._statistics(wide, outside)
        background = _affine(
            (wide - mean) / deviation, self.background_gamma, self.background_beta
        )
        own_mean, own_deviation = self._statistics(wide, inside)
        foreground = _affine(
            (wide - own_mean) / own_deviation * deviation + mean,
            self.foreground_gamma,
            self.foreground_beta,
        )
        return (outside * background + inside * foreground).to(x.dtype)

    def _statistics(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel, (B, C, 1, 1), where the weight is 1."""
        area = weight.sum((2, 3), keepdim=True) + self.eps
        mean = (weight * x).sum((2, 3), keepdim=True) / area
        variance = (weight * (x - mean)).square().sum((2, 3), keepdim=True) / area
        return mean, (variance + self.eps).sqrt()


def _affine(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    return x * (1 + gamma[:, None, None]) + beta[:, None, None]


class RainNet(GatedUNet):
    r"""RainNet's generator: DoveNet's U-Net, with the region in its norms alone.

    .. math:: y = \frac{1 + \tanh f(2 x - 1; r)}{2}

    with the composite :math:`x`, the region :math:`r` and a U-Net :math:`f` whose decoder levels
    are normalised by :class:`RAIN`. It paints the whole image; the losses that the published
    network was trained with saw that image pasted, :math:`r y + (1 - r) x`.

    Args:
        in_channels: The number of input channels of the U-Net: 3, the image alone, as published,
            or 4, where the region is one of them, which is the default of the published code.
        out_channels: The number of output channels.
        width: The number of channels of the outermost level; the levels below have 2, 4 and then 8
            times as many.
        depth: The number of levels, at least 5; 8 as published.

    Input height and width must be multiples of `2**depth`.

    Raises:
        ValueError: If `in_channels` is neither 3 nor 4, or `depth` is less than 5.

    References:
        | Region-aware Adaptive Instance Normalization for Image Harmonization (Ling et al., 2021)
          https://arxiv.org/abs/2106.02853

    Example:
        >>> import torch
        >>> net = RainNet(width=8, depth=5).eval()
        >>> image, region = torch.rand(2, 3, 64, 96), torch.ones(2, 1, 64, 96)
        >>> net(image, region).shape
        torch.Size([2, 3, 64, 96])
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in RainNet().parameters())
        54759043
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, *, width: int = 64, depth: int = 8
    ) -> None:
        if in_channels not in (3, 4):
            raise ValueError(
                f"'in_channels' must be 3, the image alone, or 4, the region too, "
                f"got {in_channels}."
            )
        super().__init__(in_channels, width, depth, partial(down, nn.InstanceNorm2d, False), _Up)
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
        }
        self.out = last(width, out_channels)

    def forward(self, image: Tensor, region: Tensor | None = None) -> Tensor:
        r"""Harmonizes images.

        Args:
            image: The composites, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            region: Where they were changed, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`;
                -1, unknown, counts as unchanged. If `None`, it is the last channel of `image`, as
                a wrapper with `region=True` hands it on.

        Returns:
            The images as the network paints them, not pasted, with shape :math:`(B, C, H, W)`, in
            :math:`[0, 1]`.

        Raises:
            ValueError: If a shape is wrong.
            TypeError: If the image is not of a floating-point type.
        """
        image, region = split(image, region)
        x = 2 * image - 1
        if self.arguments["in_channels"] == 4:
            x = torch.cat([x, region], 1)
        return (1 + self.out(self.decoded(x, up=(region.clamp(0, 1),)))) / 2


class _Up(nn.Module):
    """A decoder level: twice the size, normalised by region."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        self.norm = RAIN(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, region: Tensor) -> Tensor:
        return self.dropout(self.norm(self.conv(x.relu()), region))
