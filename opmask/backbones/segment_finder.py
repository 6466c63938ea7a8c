r"""A network that says of each piece of a picture how likely it is that it was changed.

What was changed are whole things, and a change leaves its mark in the statistics of their colours
rather than in edges or textures: so pieces, not pixels, are what is compared here.

Data flow: `image, region -> superpixels -> statistics and features of each -> transformer ->
logit of each -> (B, 1, H, W)`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.backbones.attention import HEAD_WIDTH, SelfAttention
from opmask.backbones.imagenet import Trunk
from opmask.backbones.merging import merge
from opmask.backbones.statistics import STATISTICS, borders, piece_statistics
from opmask.backbones.superpixels import feature_means, mean_of_each, superpixels
from opmask.color import LAB

__all__ = ["Pieces", "SegmentFinder"]

SIZE = 128
"""Height and width at which pictures are looked at, whatever theirs are."""

COMPARED = 3 * STATISTICS
"""How many numbers :meth:`SegmentFinder.compare` gives."""

LARGEST = 6.0
"""Deviations from the mean beyond which a statistic counts as so many."""

NOISE = 0.1
"""What is added to statistics in training, in their deviations."""

BLIND = 0.25
"""The share of pictures of which the features are withheld in training."""


class Pieces(NamedTuple):
    r"""The pieces of pictures.

    Attributes:
        labels: The number of the piece of each pixel, with shape :math:`(B, h, w)`.
        tokens: The statistics and features of each, with shape :math:`(B, n + 1, F)`, those of the
            picture as a whole last.
        told: How much of each is told to be inside of the region, and outside, with shape
            :math:`(B, n + 1, 2)`.
        borders: What lies between each two, with shape :math:`(B, n, n, 5)`, see
            :func:`opmask.backbones.statistics.borders`.
    """

    labels: Tensor
    tokens: Tensor
    told: Tensor
    borders: Tensor


class SegmentFinder(nn.Module):
    r"""Finds what was changed in a picture, among its superpixels.

    Args:
        features: The number of channels of the features of a trunk, all of them together.
        width: The number of channels, a multiple of 32.
        depth: The number of transformer blocks.
        side: The number of superpixels in a row and in a column.
        count: How many pieces they are joined into.
        dropout: The share of the channels that are dropped in training.

    Raises:
        ValueError: If `width` is something else, or there are fewer superpixels than pieces.

    References:
        | SLIC Superpixels Compared to State-of-the-Art Superpixel Methods (Achanta et al., 2012)
        | Attention Is All You Need (Vaswani et al., 2017)

    Example:
        >>> from opmask.backbones.imagenet import Lite0
        >>> trunk = Lite0()
        >>> finder = SegmentFinder(sum(trunk.channels)).eval()
        >>> image, nothing = torch.rand(1, 3, 96, 64), -torch.ones(1, 1, 96, 64)
        >>> finder(image, nothing, trunk).shape
        torch.Size([1, 1, 96, 64])
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        features: int,
        *,
        width: int = 128,
        depth: int = 4,
        side: int = 14,
        count: int = 96,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if width < HEAD_WIDTH or width % HEAD_WIDTH:
            raise ValueError(f"'width' must be a multiple of {HEAD_WIDTH}, got {width}.")
        if not 0 < count <= side**2:
            raise ValueError(f"'count' must be from 1 to {side**2}, side by side, got {count}.")
        self.side, self.count = side, count
        self.register_buffer("mean", torch.zeros(STATISTICS + features))
        self.register_buffer("deviation", torch.ones(STATISTICS + features))
        self.statistics = nn.Sequential(
            nn.Linear(3 * STATISTICS + 5, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        self.features = nn.Linear(features, width)
        self.whole = nn.Parameter(torch.zeros(width))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(SelfAttention(width) for _ in range(depth))
        self.borders = nn.Sequential(
            nn.Linear(6, 32), nn.SiLU(), nn.Linear(32, width // HEAD_WIDTH)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @torch.no_grad()
    def pieces(self, image: Tensor, region: Tensor, trunk: Trunk) -> Pieces:
        r"""Divides pictures, and describes each piece.

        Args:
            image: The pictures, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            region: What was told, with shape :math:`(B, 1, H, W)`: 1 inside, 0 outside, soft
                between, -1 unknown.
            trunk: What gives the features.

        Returns:
            The pieces.
        """
        known = (region >= 0).float()
        planes = _small(torch.cat([image.float(), known * region, known * (1 - region)], 1))
        rgb, told = planes[:, :3].clamp(0, 1), planes[:, 3:]
        lab, count = LAB.from_rgb(rgb), self.count
        # Found at half the size, which is precise enough for a quarter of the work.
        half = F.avg_pool2d(lab, 2)
        coarse = merge(half, superpixels(half, self.side), self.side**2, count)
        labels = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
        tokens = [piece_statistics(rgb, lab, labels, count)]
        for feature in trunk(rgb.to(next(trunk.parameters()).dtype)):
            means = feature_means(feature.float(), labels, count)
            tokens.append(torch.cat([means, feature.float().mean((2, 3))[:, None]], 1))
        inside, _ = mean_of_each(told, labels, count)
        inside = torch.cat([inside, told.mean((2, 3))[:, None]], 1)
        return Pieces(labels, torch.cat(tokens, -1), inside, borders(half, coarse, count))

    @torch.no_grad()
    def compare(self, image: Tensor, inside: Tensor) -> Tensor:
        r"""The statistics of a region as a whole, beside those of what is around it.

        Args:
            image: The pictures, with shape :math:`(B, 3, H, W)`, RGB in :math:`[0, 1]`.
            inside: How much of each pixel is inside, with shape :math:`(B, 1, H, W)`.

        Returns:
            The statistics of what is inside by more than half, of the rest, and their difference,
            on one scale, with shape :math:`(B, 3 \cdot 87)`.
        """
        planes = _small(torch.cat([image, inside], 1).float())
        rgb, labels = planes[:, :3].clamp(0, 1), (planes[:, 3] > 0.5).long()
        found = piece_statistics(rgb, LAB.from_rgb(rgb), labels, 2)[:, :2]
        around, within = self._scaled(found).unbind(1)
        return torch.cat([within, around, within - around], 1)

    def logits(self, pieces: Pieces) -> Tensor:
        r"""How likely it is that each piece was changed, as logits, with shape :math:`(B, n)`."""
        tokens = self._scaled(pieces.tokens)
        if self.training:
            tokens = tokens + NOISE * torch.randn_like(tokens)
        own, features = tokens[..., :STATISTICS], tokens[..., STATISTICS:]
        if self.training:
            features = features * (torch.rand_like(features[:, :1, :1]) >= BLIND)
        lengths = pieces.borders[..., 0]
        shares = lengths / lengths.sum(-1, keepdim=True).clamp_min(1)
        told = torch.cat([pieces.told, _around(pieces.told, shares)], -1)
        unknown = 1 - pieces.told.sum(-1, keepdim=True)
        compared = own - own[:, -1:], own - _around(own, shares)
        precision = self.out.weight.dtype
        described = torch.cat([own, *compared, told, unknown], -1).to(precision)
        x = self.drop(self.statistics(described) + self.features(features.to(precision)))
        x = torch.cat([x[:, :-1], x[:, -1:] + self.whole], 1)
        bias = self._bias(pieces.borders).to(precision)
        for block in self.blocks:
            x = block(x, bias)
        return self.out(self.norm(x))[:, :-1, 0]

    def _scaled(self, tokens: Tensor) -> Tensor:
        """Statistics, and features if there are any, on one scale."""
        count = tokens.shape[-1]
        scaled = (tokens - self.mean[:count].float()) / self.deviation[:count].float()
        return scaled.clamp(-LARGEST, LARGEST)

    def _bias(self, between: Tensor) -> Tensor:
        """By how much more a piece looks at those that it touches, (B, heads, n + 1, n + 1)."""
        touching = (between[..., :1] > 0).to(between.dtype)
        scaled = between * between.new_tensor([0.0, 4.0, 4.0, 4.0, 4.0])
        length = between[..., :1].log1p() / 3
        found = self.borders(
            torch.cat([touching, length, scaled[..., 1:]], -1).to(self.out.weight.dtype)
        )
        return F.pad((found * touching).permute(0, 3, 1, 2), (0, 1, 0, 1))

    def forward(self, image: Tensor, region: Tensor, trunk: Trunk) -> Tensor:
        """Logits for each pixel, with shape (B, 1, H, W), see :meth:`pieces`."""
        pieces = self.pieces(image, region, trunk)
        return self.paint(
            self.logits(pieces).float(), pieces.labels, (image.shape[-2], image.shape[-1])
        )

    def paint(self, logits: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
        """The logits of pieces as a plane (B, 1, H, W)."""
        plane = logits.gather(1, labels.flatten(1)).unflatten(1, (1, *labels.shape[1:]))
        return F.interpolate(plane, size, mode="bilinear")


def _small(planes: Tensor) -> Tensor:
    """Planes at the size at which pictures are looked at."""
    if planes.shape[-2:] == (SIZE, SIZE):
        return planes
    return F.interpolate(planes, (SIZE, SIZE), mode="bilinear", antialias=True)


def _around(values: Tensor, shares: Tensor) -> Tensor:
    """The mean of the neighbours of each piece, by their shares; of the whole itself."""
    return torch.cat([shares @ values[:, :-1], values[:, -1:]], 1)
