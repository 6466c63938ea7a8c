r"""DIRL: finds the region of a composite that does not fit its surroundings.

Data flow: `image (B, 3, H, W) -> DIRL -> how likely each pixel is inside (B, 1, H, W)`. A ResNet
gives features of five sizes, each at half the size of the one before. Every size is made of its
neighbours, weighed by attention, and decoded from the smallest to the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.color import check_image

__all__ = ["DIRL"]

# ImageNet's, of torchvision.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = (3, 4, 6, 3, 3)
"""Residual blocks of each size: those of ResNet-34, and as many as its last for the fifth."""


class _Residual(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Sequential()
        if inputs != outputs:
            self.skip.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.skip.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return (self.layers(x) + self.skip(x)).relu()


class Encoder(nn.Module):
    """A ResNet that keeps the size of the image: features of five sizes, the largest first."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        widths = feature_widths(width)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.deviation: Tensor
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )
        pairs = pairwise([width, *widths])
        self.stages = nn.ModuleList(
            nn.Sequential(_Residual(a, b, stride), *(_Residual(b, b, 1) for _ in range(count - 1)))
            for (a, b), stride, count in zip(pairs, (1, 2, 2, 2, 1), BLOCKS, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        colors = (image[:, :3] - self.mean) / self.deviation
        x = self.stem(torch.cat([colors, image[:, 3:]], 1))
        features: list[Tensor] = []
        for stage in self.stages:
            if len(features) == 4:  # the fifth, which ResNet does not have
                x = F.max_pool2d(x, 3, 2, 1)
            x = stage(x)
            features.append(x)
        return features


class _Fusion(nn.Module):
    """Features of one size, made of those of two or three neighbouring sizes.

    Each is once told what the smaller ones know, which runs from the last to the first, and once
    what the larger ones know, which runs from the first to the last.
    """

    def __init__(self, widths: Sequence[int], target: int, outputs: int) -> None:
        super().__init__()
        self.target = target
        pairs = list(pairwise(widths))
        self.top_down = nn.ModuleList(_fuse(b, a) for a, b in pairs)
        self.bottom_up = nn.ModuleList(_fuse(a, b, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(
            _fuse(2 * width, outputs, stride=2 if level < target else 1)
            for level, width in enumerate(widths)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        downwards, upwards = [features[-1]], [features[0]]
        for layer, x in zip(reversed(self.top_down), reversed(features[:-1]), strict=True):
            downwards.append(x + layer(_repeated(downwards[-1])))
        for layer, x in zip(self.bottom_up, features[1:], strict=True):
            upwards.append(x + layer(upwards[-1]))
        merged = []
        for level, layer in enumerate(self.merge):
            both = torch.cat([downwards[-1 - level], upwards[level]], 1)
            merged.append(layer(_repeated(both) if level > self.target else both))
        return torch.stack(merged).sum(0)


class _DualAttention(nn.Module):
    """Weighs channels, then places; the weights of places are a map of the region."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.places = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, momentum=0.01),
            nn.ReLU(),
            nn.Conv2d(channels, 1, 7, padding=3, bias=False),
            nn.BatchNorm2d(1, momentum=0.01),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x * self.channels(x.mean((2, 3))[:, None]).sigmoid()[:, 0, :, None, None]
        inside = self.places(x)
        return x * inside + x, inside


class _Stage(nn.Module):
    """One size of the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = _plain(channels, channels)
        self.bottom = _plain(channels, channels)
        self.join = _plain(2 * channels, channels)

    def forward(self, x: Tensor, up: Tensor, bottom: Tensor) -> tuple[Tensor, Tensor]:
        bottom = self.bottom(_enlarged(bottom))
        return self.join(torch.cat([self.up(_enlarged(up)) * x, bottom], 1)), bottom


class Decoder(nn.Module):
    """Features of five sizes become the region, and five maps of where attention was."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        widths = feature_widths(width)
        self.fusions = nn.ModuleList(
            _Fusion(widths[max(level - 1, 0) : level + 2], min(level, 1), channels)
            for level in range(5)
        )
        self.attentions = nn.ModuleList(_DualAttention(channels) for _ in range(5))
        # From the fourth size to the second, as they run.
        self.stages = nn.ModuleList(_Stage(channels) for _ in range(3))
        # The published network has these weights, too, and does not use them.
        self.unused = _plain(channels, channels).requires_grad_(False)
        self.out = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        fused = [
            fusion(features[max(level - 1, 0) : level + 2])
            for level, fusion in enumerate(self.fusions)
        ]
        weighed = [attention(x) for attention, x in zip(self.attentions, fused, strict=True)]
        size = features[0].shape[-2:]
        maps = [F.interpolate(inside, size, mode="bilinear") for _, inside in reversed(weighed)]
        up = bottom = weighed[4][0]
        for stage, (x, _) in zip(self.stages, weighed[3:0:-1], strict=True):
            up, bottom = stage(x, up, bottom)
        return [self.out(_enlarged(up)).sigmoid(), *maps]


class DIRL(nn.Module):
    r"""DIRL, which localises the inharmonious region of a composite.

    The first of two stages: what it finds is the region that networks such as
    :class:`DoveNet` are to be told.

    Args:
        in_channels: The number of input channels, RGB first; 3 as published.
        width: The number of channels of the largest features; the smaller ones have 2, 4, 8 and 8
            times as many.
        channels: The number of channels of the decoder.

    Input height and width must be multiples of 16.

    References:
        | Inharmonious Region Localization (Liang et al., 2021)
          https://arxiv.org/abs/2104.09453

    Example:
        >>> import torch
        >>> net = DIRL(width=4, channels=8).eval()
        >>> net(torch.rand(2, 3, 64, 96)).shape
        torch.Size([2, 1, 64, 96])
        >>> sum(p.numel() for p in DIRL().parameters())
        53471354
    """

    def __init__(self, in_channels: int = 3, *, width: int = 64, channels: int = 32) -> None:
        super().__init__()
        self.arguments = {"in_channels": in_channels, "width": width, "channels": channels}
        self.encoder = Encoder(in_channels, width)
        self.decoder = Decoder(width, channels)

    def forward(self, image: Tensor) -> Tensor:
        r"""Finds the region.

        Args:
            image: The composites, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.

        Returns:
            How likely each pixel is inside, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`.

        Raises:
            ValueError: If the shape is wrong, or the size no multiple of 16.
            TypeError: If the image is not of a floating-point type.
        """
        return self.maps(image)[0]

    def maps(self, image: Tensor) -> list[Tensor]:
        r"""Finds the region, and says where attention was, for losses on all of that.

        Args:
            image: As for :meth:`forward`.

        Returns:
            Six maps, each with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`: the region, and the
            attention from the smallest features to the largest.

        Raises:
            ValueError: If the shape is wrong, or the size no multiple of 16.
            TypeError: If the image is not of a floating-point type.
        """
        check_image(image[:, :3])  # there may be more, see with_region_input
        height, width = image.shape[-2:]
        if height % 16 or width % 16:
            raise ValueError(
                f"'image' must have a height and width that are multiples of 16, got "
                f"{(height, width)}. Resize it; the published code takes 224x224."
            )
        return self.decoder(self.encoder(image))


def feature_widths(width: int) -> list[int]:
    """The number of channels of each of the five features."""
    return [width, 2 * width, 4 * width, 8 * width, 8 * width]


def _fuse(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(outputs))


def _plain(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def _repeated(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
