"""The published Harmony Transformers, derived anew from their description, in their layout.

Tokens come first, images second; positions are a table, and attention computes all its weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def table(rows: int, columns: int, width: int) -> Tensor:
    """The positions (rows * columns, 1, width), number by number."""
    each = width // 2

    def number(coordinate: int, i: int) -> float:
        angle = coordinate / 10000 ** (2 * (i // 2) / each)
        return math.cos(angle) if i % 2 else math.sin(angle)

    return torch.tensor(
        [
            [number(y, i) for i in range(each)] + [number(x, i) for i in range(each)]
            for y in range(1, rows + 1)
            for x in range(1, columns + 1)
        ]
    )[:, None]


class EncoderLayer(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d, heads)
        self.linear1, self.linear2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, src: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        q = k = src + pos
        src = self.norm1(src + self.self_attn(q, k, value=src, key_padding_mask=mask)[0])
        return self.norm2(src + self.linear2(F.gelu(self.linear1(src))))


class Encoder(nn.Module):
    def __init__(self, d: int, layers: int, heads: int) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(EncoderLayer(d, heads) for _ in range(layers))

    def forward(self, src: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.encoder.layers:
            src = layer(src, pos, mask)
        return src


class LayerNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels))
        self.beta = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        each = []
        for image in x:
            n = image.numel()
            mean = image.sum() / n
            deviation = (((image - mean) ** 2).sum() / (n - 1)).sqrt()
            each.append((image - mean) / (deviation + 1e-5))
        return torch.stack(each) * self.gamma[:, None, None] + self.beta[:, None, None]


class ConvBlock(nn.Module):
    def __init__(self, a: int, b: int, k: int, s: int, p: int, norm: str, last: bool = False):
        super().__init__()
        self.pad = nn.ReflectionPad2d(p)
        self.norm = {"in": nn.InstanceNorm2d, "ln": LayerNorm, "": nn.Identity}[norm](b)
        self.activation = nn.Tanh() if last else nn.LeakyReLU(0.2, True)
        self.conv = nn.Conv2d(a, b, k, s)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(self.pad(x))))


class ContentEncoder(nn.Module):
    def __init__(self, n: int, d: int, inputs: int = 4) -> None:
        super().__init__()
        self.model = nn.Sequential(
            ConvBlock(inputs, n, 7, 1, 3, "in"),
            ConvBlock(n, 2 * n, 4, 2, 1, "in"),
            ConvBlock(2 * n, 4 * n, 4, 2, 1, "in"),
            nn.Sequential(),
        )
        if 4 * n != d:
            self.model.append(ConvBlock(4 * n, d, 3, 1, 1, "in"))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Decoder(nn.Module):
    def __init__(self, d: int, outputs: int = 3) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Sequential(),
            nn.Upsample(scale_factor=2),
            ConvBlock(d, d // 2, 5, 1, 2, "ln"),
            nn.Upsample(scale_factor=2),
            ConvBlock(d // 2, d // 4, 5, 1, 2, "ln"),
            ConvBlock(d // 4, outputs, 7, 1, 3, "", last=True),
        )

    def forward(self, tokens: Tensor, shape: tuple[int, int]) -> Tensor:
        return self.model(tokens.permute(1, 2, 0).reshape(tokens.shape[1], -1, *shape))


def tokens_of(image: Tensor, side: int) -> Tensor:
    """The squares of an image (N, B, side * side * C), one after the other."""
    cut = []
    for y in range(0, image.shape[2], side):
        for x in range(0, image.shape[3], side):
            square = image[:, :, y : y + side, x : x + side]
            cut.append(torch.stack([p for row in square.unbind(2) for p in row.unbind(2)], 1))
    return torch.stack(cut).flatten(2)


class ReferenceHT(nn.Module):
    """The first release, with convolutions."""

    def __init__(self, d: int = 256, layers: int = 9, heads: int = 2, n: int = 0) -> None:
        super().__init__()
        self.enc = ContentEncoder(n or d // 4, d)
        self.transformer_enc = Encoder(d, layers, heads)
        self.dec = Decoder(d)

    def forward(self, x: Tensor) -> Tensor:
        features = self.enc(x)
        shape = features.shape[-2:]
        tokens = features.flatten(2).permute(2, 0, 1)
        pos = table(*shape, features.shape[1])
        return self.dec(self.transformer_enc(tokens, pos), shape)


class ReferenceHTPlus(nn.Module):
    """The second release, of patches; of several decoders for the paper's."""

    def __init__(self, d: int = 256, layers: int = 9, heads: int = 2, masks: bool = False) -> None:
        super().__init__()
        self.patch_to_embedding = nn.Sequential(nn.Identity(), nn.Linear(64, d))
        self.transformer_enc = Encoder(d, layers, heads)
        if masks:
            self.dec1 = nn.Sequential(nn.ConvTranspose2d(d, 3, 4, 4), nn.Tanh())
            self.dec2 = nn.Sequential(nn.ConvTranspose2d(d, 3, 4, 4), nn.ReLU())
        else:
            self.dec = nn.Sequential(nn.ConvTranspose2d(d, 3, 4, 4), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """The image, or for the paper's network three added masks and three factors."""
        height, width = x.shape[2] // 4, x.shape[3] // 4
        tokens = self.patch_to_embedding(tokens_of(x, 4))
        tokens = self.transformer_enc(tokens, table(height, width, tokens.shape[2]))
        features = tokens.permute(1, 2, 0).reshape(len(x), -1, height, width)
        if hasattr(self, "dec"):
            return self.dec(features)
        return torch.cat([self.dec1(features), self.dec2(features)], 1)


def harmonized(x: Tensor, masks: Tensor) -> Tensor:
    """What the paper's code makes of an image in LAB, in [0, 1], and of its six masks."""
    return (x * masks[:, 3:] + masks[:, :3]).clamp(0, 1)


def randomize(network: nn.Module) -> nn.Module:
    """No norm or bias at its start."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            start = 1.0 if name.endswith("weight") else 0.0
            nn.init.normal_(parameter, start, 0.3)
    return network.eval()
