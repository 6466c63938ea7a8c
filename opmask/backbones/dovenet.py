r"""DoveNet's generator: the attention U-Net that most harmonization networks are made of.

Data flow: `image (B, 3, H, W), region (B, 1, H, W) -> DoveNet -> image (B, 3, H, W)`. As in
:class:`opmask.backbones.AttentionUNet`, which the paper made of it, each encoder level hands on
one tensor, *after* its leaky ReLU, to the next level and to the decoder alike.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from opmask.backbones._region import split
from opmask.backbones.attention_unet import GatedUNet, down

__all__ = ["DoveNet"]

NORMS: dict[str, type[nn.Module]] = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}


class DoveNet(GatedUNet):
    r"""DoveNet's generator, an attention U-Net that is told the region.

    .. math:: y = \frac{1 + \tanh f([2 x - 1, r])}{2}

    with the composite :math:`x`, the region :math:`r` and a U-Net :math:`f`. It paints the whole
    image, its surroundings included; its losses and published figures are those of that image.

    Args:
        in_channels: The number of channels of image and region together, 4 as published.
        out_channels: The number of output channels.
        width: The number of channels of the outermost level; the levels below have 2, 4 and then 8
            times as many.
        depth: The number of levels, at least 5; 8 as published.
        norm: `"instance"`, as the published command trains it, or `"batch"`, as in the published
            weights. Convolutions have a bias with instance norms alone.

    Input height and width must be multiples of `2**depth`.

    Raises:
        ValueError: If `depth` is less than 5, or there is no such norm.

    References:
        | DoveNet: Deep Image Harmonization via Domain Verification (Cong et al., 2020)
          https://arxiv.org/abs/1911.13239

    Example:
        >>> import torch
        >>> net = DoveNet(width=8, depth=5).eval()
        >>> image, region = torch.rand(2, 3, 64, 96), torch.ones(2, 1, 64, 96)
        >>> net(image, region).shape
        torch.Size([2, 3, 64, 96])
        >>> sum(p.numel() for p in DoveNet().parameters())
        54755587
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        *,
        width: int = 64,
        depth: int = 8,
        norm: str = "instance",
    ) -> None:
        if norm not in NORMS:
            raise ValueError(f"'norm' must be one of {', '.join(NORMS)}, got {norm!r}.")
        layers = NORMS[norm], norm == "instance"
        super().__init__(in_channels, width, depth, partial(down, *layers), partial(up, *layers))
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
            "norm": norm,
        }
        self.channels = in_channels - 1
        self.out = last(width, out_channels)

    def forward(self, image: Tensor, region: Tensor | None = None) -> Tensor:
        r"""Harmonizes images.

        Args:
            image: The composites, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            region: Where they were changed, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`.
                If `None`, it is the last channel of `image`, as a wrapper with `region=True`
                hands it on.

        Returns:
            The images as the network paints them, not pasted, with shape :math:`(B, C, H, W)`, in
            :math:`[0, 1]`.

        Raises:
            ValueError: If a shape is wrong.
            TypeError: If the image is not of a floating-point type.
        """
        image, region = split(image, region, self.channels)
        return (1 + self.out(self.decoded(torch.cat([2 * image - 1, region], 1)))) / 2


def up(
    norm: type[nn.Module], bias: bool, inputs: int, outputs: int, dropout: float
) -> nn.Sequential:
    """A decoder level: twice the size."""
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)
    return nn.Sequential(nn.ReLU(), convolution, norm(outputs), nn.Dropout(dropout))


def last(width: int, outputs: int) -> nn.Sequential:
    """The outermost decoder level, which paints colours in (-1, 1)."""
    convolution = nn.ConvTranspose2d(2 * width, outputs, 4, 2, 1)
    return nn.Sequential(nn.ReLU(), convolution, nn.Tanh())
