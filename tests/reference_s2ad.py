"""S2AM's published networks, derived anew from their description: nested, changing in place."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // 16
        self.fc = nn.Sequential(
            nn.Linear(channels * 2, squeezed),
            nn.ReLU(True),
            nn.Linear(squeezed, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        places = x.reshape(batch, channels, -1)
        described = torch.hstack([places.mean(-1), places.max(-1).values])
        return torch.einsum("bchw,bc->bchw", x, self.fc(described))


class Connection(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rconv1 = nn.Conv2d(channels, channels * 2, 3, padding=1, bias=False)
        self.rbn1 = nn.BatchNorm2d(channels * 2)
        self.rconv2 = nn.Conv2d(channels * 2, channels, 3, padding=1, bias=False)
        self.rbn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.rbn2(self.rconv2(F.elu(self.rbn1(self.rconv1(x))))))


class Blur(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rows = [[math.exp(-((i - 2) ** 2 + (j - 2) ** 2) / 4) for j in range(5)] for i in range(5)]
        kernel = torch.tensor(rows)
        self.register_buffer("weight", (kernel / kernel.sum())[None, None])

    def forward(self, plane: Tensor) -> Tensor:
        """A sum over windows, instead of a convolution."""
        height, width = plane.shape[-2:]
        windows = F.unfold(F.pad(plane, (2, 2, 2, 2), mode="reflect"), 5)
        return (windows * self.weight.reshape(1, 25, 1)).sum(1).reshape(-1, 1, height, width)


class FromChannels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Conv2d(2, 16, 7, 1, 3), nn.ReLU(True), nn.Conv2d(16, 1, 7, 1, 3), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.stack([x.mean(1), x.max(1).values], 1))


class Attention(nn.Module):
    def __init__(self, channels: int, guided: bool) -> None:
        super().__init__()
        self.connection = Connection(channels)
        self.background_attention = Gate(channels)
        self.mixed_attention = Gate(channels)
        self.spliced_attention = Gate(channels)
        if guided:
            self.gaussianMask = Blur()
        else:
            self.mask_attention = FromChannels()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            inside = self.mask_attention(x)
            outside = 1 - inside
        else:
            step = mask.shape[2] // x.shape[2]
            corners = [mask[..., i::step, j::step] for i in (0, 1) for j in (0, 1)]
            small = torch.round(sum(corners) / 4)
            inside, outside = self.gaussianMask(small), self.gaussianMask(1 - small)
        spliced = self.connection(self.spliced_attention(x)) + self.mixed_attention(x)
        return self.background_attention(x) * outside + spliced * inside


class Core(nn.Module):
    def __init__(self, down: list, up: list, sub: nn.Module | None, attention: nn.Module | None):
        super().__init__()
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)
        if sub is not None:
            self.sub = sub
        if attention is not None:
            self.attention = attention

    def forward(self, x: Tensor, mask: Tensor | None, outermost: bool = False) -> Tensor:
        inner = self.down(x)  # which changes x
        deeper = self.sub(inner, mask) if hasattr(self, "sub") else inner
        painted = self.up(deeper)
        if outermost:
            return painted
        joined = torch.cat([x, painted], 1)
        return self.attention(joined, mask) if hasattr(self, "attention") else joined


class Level(nn.Module):
    def __init__(self, *parts: object) -> None:
        super().__init__()
        self.model = Core(*parts)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.model(x, mask)


class ReferenceS2AD(nn.Module):
    """Takes colours in [0, 1], and the region beside them if it is guided."""

    def __init__(self, width: int = 64, depth: int = 8, guided: bool = True) -> None:
        super().__init__()
        self.guided = guided
        widths = [width * min(2**k, 8) for k in range(depth)]
        level = None
        for k in range(depth - 1, 0, -1):
            outer, inner = widths[k - 1], widths[k]
            down = [nn.LeakyReLU(0.2, True), nn.Conv2d(outer, inner, 4, 2, 1, bias=False)]
            down += [nn.BatchNorm2d(inner)] if level else []
            given = inner * (2 if level else 1)
            up = [nn.ReLU(True), nn.ConvTranspose2d(given, outer, 4, 2, 1, bias=False)]
            up += [nn.BatchNorm2d(outer)]
            level = Level(down, up, level, Attention(2 * outer, guided) if k <= 3 else None)
        down = [nn.Conv2d(4 if guided else 3, width, 4, 2, 1, bias=False)]
        up = [nn.ReLU(True), nn.ConvTranspose2d(2 * width, 3, 4, 2, 1)]
        self.model = Level(down, up, level, None)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.model(x, x[:, 3:4] if self.guided else None, outermost=True)
