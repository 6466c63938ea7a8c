r"""S2AM's network: a U-Net that treats what is inside the region apart from what is around it.

Data flow: `image (B, 3, H, W), region (B, 1, H, W) -> S2AD -> image (B, 3, H, W)`. The U-Net is
that of :class:`opmask.backbones.DoveNet` without dropout; in the place of gates it has attention
over channels, one for the region and one for its surroundings.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.backbones._region import split
from opmask.backbones.attention_unet import GatedUNet
from opmask.color import check_image

__all__ = ["S2AD"]

REDUCTION = 16
"""How many channels a channel gate squeezes into one."""


class _ChannelGate(nn.Module):
    """Weighs every channel by a number in (0, 1) that depends on the means and maxima of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // REDUCTION
        self.mlp = nn.Sequential(
            nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mlp(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))[..., None, None]


class _Given(nn.Module):
    """Where the region lies among smaller features, and where it does not, both blurred."""

    def __init__(self) -> None:
        super().__init__()
        # (o / 2)^2 as published: a standard deviation of sqrt(2). Files hold the kernel.
        bell = (-(torch.arange(-2.0, 3.0) / 2).square()).exp()
        kernel = torch.outer(bell, bell) / bell.sum().square()
        self.register_buffer("kernel", kernel[None, None])
        self.kernel: Tensor

    def forward(self, x: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
        stride = region.shape[-2] // x.shape[-2]
        # The first 2x2 pixels of each cell stand for it, of which a half counts as outside: so
        # does the published code. The region of a wrapper is -1 where it is unknown.
        inside = F.avg_pool2d(region.clamp_min(0), 2, stride).round()
        return self._blurred(inside), self._blurred(1 - inside)

    def _blurred(self, plane: Tensor) -> Tensor:
        return F.conv2d(F.pad(plane, (2, 2, 2, 2), mode="reflect"), self.kernel)


class _Found(nn.Module):
    """Where the region seems to lie, for networks that are given none."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 16, 7, padding=3), nn.ReLU(), nn.Conv2d(16, 1, 7, padding=3), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inside = self.layers(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))
        return inside, 1 - inside


class _RegionAttention(nn.Module):
    """Gated features around the region; within, gated ones and others made of gated ones."""

    def __init__(self, channels: int, guided: bool) -> None:
        super().__init__()
        self.where = _Given() if guided else _Found()
        self.around = _ChannelGate(channels)
        self.kept = _ChannelGate(channels)
        self.changed = _ChannelGate(channels)
        self.change = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ELU(),
            nn.Conv2d(2 * channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ELU(),
        )

    def forward(self, x: Tensor, *region: Tensor) -> Tensor:
        inside, outside = self.where(x, *region)
        within = self.change(self.changed(x)) + self.kept(x)
        return self.around(x) * outside + within * inside


class S2AD(GatedUNet):
    r"""S2AM's network with attention in its decoder, `rascv2` in the published code.

    Where :math:`z` are the features of an outer level after its concatenation, :math:`m` is the
    region at their size, and :math:`m, \bar m` are blurred:

    .. math:: \bar m \, G_b(z) + m \, (N(G_s(z)) + G_m(z))

    with three gates :math:`G` over channels and two convolutions :math:`N`. It paints the whole
    image; what is outside the region is to be pasted back.

    Args:
        in_channels: The number of channels of image and region together, 4 as published. With 3
            there is no region: then the network finds one by itself in each attention, which is
            `urasc` in the published code, for images without a mask.
        out_channels: The number of output channels.
        width: The number of channels of the outermost level, at least 8; the levels below have 2,
            4 and then 8 times as many.
        depth: The number of levels, at least 5; 8 as published.

    Input height and width must be multiples of `2**depth`.

    Raises:
        ValueError: If `width` is less than 8 or `depth` less than 5.

    References:
        | Improving the Harmony of the Composite Image by Spatial-Separated Attention Module
          (Cun and Pun, 2020)
          https://arxiv.org/abs/1907.06406

    Example:
        >>> import torch
        >>> net = S2AD(width=8, depth=5).eval()
        >>> image, region = torch.rand(2, 3, 64, 96), torch.ones(2, 1, 64, 96)
        >>> net(image, region).shape
        torch.Size([2, 3, 64, 96])
        >>> S2AD(3, width=8, depth=5).eval()(image).shape  # without a region
        torch.Size([2, 3, 64, 96])
        >>> sum(p.numel() for p in S2AD().parameters())
        67003051
    """

    def __init__(
        self, in_channels: int = 4, out_channels: int = 3, *, width: int = 64, depth: int = 8
    ) -> None:
        if width < 8:
            raise ValueError(f"'width' must be at least 8, got {width}.")
        self.guided = in_channels > 3
        super().__init__(
            in_channels, width, depth, _down, _up, lambda c: _RegionAttention(c, self.guided)
        )
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
        }
        self.out = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * width, out_channels, 4, 2, 1))

    def forward(self, image: Tensor, region: Tensor | None = None) -> Tensor:
        r"""Harmonizes images.

        Args:
            image: The composites, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            region: Where they were changed, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`.
                If `None`, it is the last channel of `image`, as a wrapper with `region=True`
                hands it on; a network that takes none is given none.

        Returns:
            The images as the network paints them, not pasted, with shape :math:`(B, C, H, W)`;
            values may leave :math:`[0, 1]`.

        Raises:
            ValueError: If a shape is wrong, or a region is handed to a network that takes none.
            TypeError: If the image is not of a floating-point type.
        """
        if not self.guided:
            if region is not None:
                raise ValueError(
                    "'region' must be None, because the network was built for 3 channels and "
                    "finds the region by itself. Build it with in_channels=4."
                )
            check_image(image)
            return self.out(self.decoded(image))
        image, region = split(image, region, self.arguments["in_channels"] - 1)
        return self.out(self.decoded(torch.cat([image, region], 1), gate=(region,)))


def _down(inputs: int, outputs: int, normalized: bool) -> nn.Sequential:
    norm = nn.BatchNorm2d(outputs) if normalized else nn.Identity()
    convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(0.2))


def _up(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """A decoder level; it has no dropout."""
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(outputs))
