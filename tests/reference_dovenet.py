"""DoveNet's published generator, derived anew from its description: nested, changing in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NORMS = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}


class Level(nn.Module):
    """One level and all within it, beside which its input, by then changed, is handed back."""

    def __init__(self, outer: int, inner: int, within: nn.Module | None, index: int, norm: str):
        super().__init__()
        bias, make = norm == "instance", NORMS[norm]
        layers = [nn.LeakyReLU(0.2, True), nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)]
        layers += [make(inner), within] if within else []
        up = nn.ConvTranspose2d(inner * (2 if within else 1), outer, 4, 2, 1, bias=bias)
        layers += [nn.ReLU(True), up, make(outer)]
        layers += [nn.Dropout(0.5)] if within and index > 3 else []
        self.model = nn.Sequential(*layers)
        if index <= 3:
            self.attention = nn.Sequential(nn.Conv2d(2 * outer, 2 * outer, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        inner = self.model(x)
        found = torch.cat([x, inner], 1)
        return found * self.attention(found) if hasattr(self, "attention") else found


class Outermost(nn.Module):
    def __init__(self, inputs: int, width: int, within: nn.Module, norm: str) -> None:
        super().__init__()
        first = nn.Conv2d(inputs, width, 4, 2, 1, bias=norm == "instance")
        last = nn.ConvTranspose2d(2 * width, 3, 4, 2, 1)
        self.model = nn.Sequential(first, within, nn.ReLU(True), last, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class ReferenceDoveNet(nn.Module):
    """Takes and gives what the published code does: colours in [-1, 1], the region beside them."""

    def __init__(self, width: int = 64, depth: int = 8, norm: str = "instance", inputs: int = 4):
        super().__init__()
        widths = [width * min(2**k, 8) for k in range(depth)]
        level = None
        for k in range(depth - 1, 0, -1):
            level = Level(widths[k - 1], widths[k], level, k, norm)
        self.model = Outermost(inputs, width, level, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
