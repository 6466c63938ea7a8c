r"""A small U-Net that trains on a CPU.

Data flow: `image (B, 3, H, W) -> SmallUNet -> (B, C, H, W)`. A pixel-unshuffle stem makes the
first level cheap, a globally pooled vector at the bottom tells every place about the whole picture
(a colour cast can only be seen against the rest). The decoder enlarges bilinearly and repeats its
border: sub-pixel convolutions would leave checkerboards in masks, and zero padding frames.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SmallUNet"]

Padding = Literal["zeros", "replicate"]


def _block(
    inputs: int, outputs: int, stride: int = 1, padding: Padding = "zeros"
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False, padding_mode=padding)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())


class _Context(nn.Module):
    """Adds a function of the whole picture to every place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * channels, channels),
            nn.SiLU(),
            nn.Linear(channels, channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return x + self.mlp(pooled)[..., None, None]


class SmallUNet(nn.Module):
    r"""A U-Net of about 2 M parameters with a pixel-unshuffle stem and global context.

    Args:
        in_channels: The number of input channels.
        out_channels: The number of output channels; there is no activation after the last layer.
        width: The number of channels at half resolution; the four levels below have 2, 4, 8 and 8
            times as many.

    Input height and width must be multiples of 32.

    Example:
        >>> import torch
        >>> net = SmallUNet(out_channels=6)
        >>> net(torch.rand(2, 3, 64, 96)).shape
        torch.Size([2, 6, 64, 96])
        >>> sum(p.numel() for p in net.parameters())
        1938282
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 3, *, width: int = 24) -> None:
        super().__init__()
        self.arguments = {"in_channels": in_channels, "out_channels": out_channels, "width": width}
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), _block(4 * in_channels, width))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(
            nn.Sequential(_block(a, b, stride=2), _block(b, b)) for a, b in pairs
        )
        self.context = _Context(widths[-1])
        # No biases here, nor at the end of the context: the norms that follow would cancel them.
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1, bias=False) for a, b in reversed(pairs))
        self.fuse = nn.ModuleList(_block(a, a, padding="replicate") for a, _ in reversed(pairs))
        fine = max(width // 2, 12)  # at full resolution every channel is dear
        self.fine = _block(in_channels + width, fine, padding="replicate")
        self.out = nn.Conv2d(fine, out_channels, 3, padding=1, padding_mode="replicate")

    def forward(self, image: Tensor) -> Tensor:
        r"""Maps an image to as many maps as there are output channels.

        Args:
            image: The image, with shape :math:`(B, C, H, W)`, in the range it is trained with,
                such as RGB in :math:`[0, 1]`.

        Returns:
            The maps, with shape :math:`(B, M, H, W)`, unbounded.
        """
        x = self.stem(image)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        x = self.context(x)
        for up, fuse, skip in zip(self.up, self.fuse, reversed(skips), strict=True):
            # 1x1 before enlarging: the same result for a quarter of the work.
            x = fuse(skip + F.interpolate(up(x), scale_factor=2, mode="bilinear"))
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        return self.out(self.fine(torch.cat([image, x], 1)))
