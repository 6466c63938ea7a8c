"""DIRL's published network, derived anew from its description, in the layout of its files."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Basic(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        changed = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(changed + (self.downsample(x) if hasattr(self, "downsample") else x))


def basics(inputs: int, outputs: int, count: int, stride: int) -> nn.Sequential:
    later = [Basic(outputs, outputs) for _ in range(count - 1)]
    return nn.Sequential(Basic(inputs, outputs, stride), *later)


class ReferenceEncoder(nn.Module):
    """Takes colours from which ImageNet's mean is taken, over its deviation."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = width
        self.inconv, self.inbn = nn.Conv2d(3, w, 3, 1, 1), nn.BatchNorm2d(w)
        self.encoder1 = basics(w, w, 3, 1)
        self.encoder2 = basics(w, 2 * w, 4, 2)
        self.encoder3 = basics(2 * w, 4 * w, 6, 2)
        self.encoder4 = basics(4 * w, 8 * w, 3, 2)
        self.encoder5 = basics(8 * w, 8 * w, 3, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.encoder1(F.relu(self.inbn(self.inconv(x))))
        second = self.encoder2(first)
        third = self.encoder3(second)
        fourth = self.encoder4(third)
        fifth = self.encoder5(F.max_pool2d(fourth, kernel_size=3, stride=2, padding=1))
        return [first, second, third, fourth, fifth]


class Layer(nn.Module):
    """A convolution between zeros and a batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, first: bool = True) -> None:
        super().__init__()
        self.first = first  # whether a ReLU comes first; if not, there is no bias
        self.norm = nn.BatchNorm2d(outputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, bias=first)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(F.pad(F.relu(x) if self.first else x, (1, 1, 1, 1))))


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def smooth(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class Pair(nn.Module):
    """Two sizes; the target is the larger one at the top, and the smaller one at the bottom."""

    def __init__(self, low: int, high: int, out: int, target: str) -> None:
        super().__init__()
        self.target = target
        self.top_down, self.bottom_up = Layer(high, low), Layer(low, high, 2)
        self.h_concat = Layer(2 * high, out)
        self.l_concat = Layer(2 * low, out, 1 if target == "low" else 2)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        lows = torch.cat([low + self.top_down(doubled(high)), low], 1)
        highs = torch.cat([high, high + self.bottom_up(low)], 1)
        highs = doubled(highs) if self.target == "low" else highs
        return self.h_concat(highs) + self.l_concat(lows)


class Triple(nn.Module):
    def __init__(self, low: int, middle: int, high: int, out: int) -> None:
        super().__init__()
        self.top_down_h2m, self.top_down_m2l = Layer(high, middle), Layer(middle, low)
        self.bottom_up_m2h, self.bottom_up_l2m = Layer(middle, high, 2), Layer(low, middle, 2)
        self.l_concat, self.m_concat = Layer(2 * low, out, 2), Layer(2 * middle, out)
        self.h_concat = Layer(2 * high, out)

    def forward(self, low: Tensor, middle: Tensor, high: Tensor) -> Tensor:
        down = middle + self.top_down_h2m(doubled(high))
        lows = torch.cat([low + self.top_down_m2l(doubled(down)), low], 1)
        up = middle + self.bottom_up_l2m(low)
        highs = torch.cat([high, high + self.bottom_up_m2h(up)], 1)
        middles = torch.cat([down, up], 1)
        return self.l_concat(lows) + self.m_concat(middles) + self.h_concat(doubled(highs))


class Integration(nn.Module):
    def __init__(self, w: list[int], out: int) -> None:
        super().__init__()
        self.im0 = Pair(w[0], w[1], out, "low")
        self.im1 = Triple(w[0], w[1], w[2], out)
        self.im2 = Triple(w[1], w[2], w[3], out)
        self.im3 = Triple(w[2], w[3], w[4], out)
        self.im4 = Pair(w[3], w[4], out, "high")

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        triples = [self.im1(*x[:3]), self.im2(*x[1:4]), self.im3(*x[2:])]
        return [self.im0(*x[:2]), *triples, self.im4(*x[3:])]


class ChannelGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = F.pad(x.flatten(2).mean(2), (1, 1))  # batch, channels
        a, b, c = self.conv.weight.flatten()
        weights = torch.sigmoid(a * means[:, :-2] + b * means[:, 1:-1] + c * means[:, 2:])
        return torch.einsum("bchw,bc->bchw", x, weights)


class Normed(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class SpatialGate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(Normed(channels, channels, 3), Normed(channels, 1, 7))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.spatial[1](F.relu(self.spatial[0](x))))


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ChannelGate, self.SpatialGate = ChannelGate(), SpatialGate(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gated = self.ChannelGate(x)
        where = self.SpatialGate(gated)
        return gated * where + gated, where


class Block(nn.Module):
    def __init__(self, channels: int, last: bool) -> None:
        super().__init__()
        self.conv_inup = Layer(channels, channels, first=False)
        self.conv_inbottom = Layer(channels, channels, first=False)
        self.conv_cat = Layer(2 * channels, channels, first=False)
        if last:
            self.conv4 = Layer(channels, channels, first=False)  # never used
            self.conv5 = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor, up: Tensor, bottom: Tensor) -> tuple[Tensor, Tensor]:
        carried = self.conv_inbottom(smooth(bottom))
        found = self.conv_cat(torch.cat([x * self.conv_inup(smooth(up)), carried], 1))
        return (self.conv5(smooth(found)) if hasattr(self, "conv5") else found), carried


class ReferenceDecoder(nn.Module):
    """Gives the region, then the maps of attention from the smallest features on."""

    def __init__(self, width: int = 64, channels: int = 32) -> None:
        super().__init__()
        self.trans = Integration([width * n for n in (1, 2, 4, 8, 8)], channels)
        attentions = {f"mda_{i}": Attention(channels) for i in range(5)}
        self.attention_layers = nn.ModuleDict(attentions)
        blocks = nn.ModuleDict({f"d{i}": Block(channels, i == 0) for i in range(3)})
        self.decoder_layers = nn.ModuleDict({"deconv": nn.ModuleDict({"decoder": blocks})})

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        size, maps, levels = features[0].shape[-2:], [], {}
        fused = self.trans(features)
        for i in (4, 3, 2, 1, 0):
            levels[i], where = self.attention_layers[f"mda_{i}"](fused[i])
            maps.append(F.interpolate(where, size=size, mode="bilinear", align_corners=False))
        up = bottom = levels[4]
        for i in (2, 1, 0):
            block = self.decoder_layers["deconv"]["decoder"][f"d{i}"]
            up, bottom = block(levels[i + 1], up, bottom)
        return [torch.sigmoid(up), *maps]
