"""The published generator, derived anew from its description: nested, and changing in place.

Every level is a module that holds the next one, and its leaky ReLU overwrites what the level was
given, which is also what it hands on as its skip. That, and the names of the tensors that follow
from the nesting, is the point of this file; `opmask.backbones.AttentionUNet` has neither.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Enlarge(nn.Module):
    """Twice the size, then a convolution that mirrors the border."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return self.conv2d(nn.ReflectionPad2d(1)(doubled))


class Level(nn.Module):
    """One level and all within it; returns its input beside what comes back up."""

    def __init__(
        self,
        outer: int,
        inner: int,
        within: nn.Module | None,
        *,
        gate: bool,
        drop: bool,
        raw: bool,
    ) -> None:
        super().__init__()
        down, up = nn.Conv2d(outer, inner, 4, 2, 1), Enlarge((1 + bool(within)) * inner, outer)
        before = [nn.LeakyReLU(0.2, inplace=not raw), down]
        after = [nn.ReLU(True), up, nn.InstanceNorm2d(outer)]
        core = [nn.InstanceNorm2d(inner), within] if within else []
        self.model = nn.Sequential(*before, *core, *after, *[nn.Dropout(0.5)] * drop)
        if gate:
            self.attention = nn.Sequential(nn.Conv2d(2 * outer, 2 * outer, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        up = self.model(x)
        both = torch.cat([x, up], 1)
        return self.attention(both) * both if hasattr(self, "attention") else both


class Outermost(nn.Module):
    def __init__(self, outputs: int, width: int, within: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), within, nn.ReLU(True), Enlarge(2 * width, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class ReferenceUNet(nn.Module):
    """Six outputs are add_L mul_L add_a mul_a add_b mul_b, the factors through a ReLU.

    `raw` leaves the skips as the encoder made them: what a reader of the paper would build.
    """

    def __init__(self, outputs: int = 6, width: int = 64, depth: int = 8, raw: bool = False):
        super().__init__()
        widths = [min(2**k, 8) * width for k in range(depth)]
        level = None
        for k in reversed(range(1, depth)):
            drop = 4 <= k <= depth - 2
            level = Level(widths[k - 1], widths[k], level, gate=k <= 3, drop=drop, raw=raw)
        self.model = Outermost(outputs, width, level)

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        if y.shape[1] == 6:
            y = torch.stack([F.relu(c) if i % 2 else c for i, c in enumerate(y.unbind(1))], 1)
        return y


def named_masks(output: Tensor) -> dict[str, Tensor]:
    """The published order of channels by our names."""
    names = ["l_add", "l_mul", "a_add", "a_mul", "b_add", "b_mul"]
    return dict(zip(names, output.split(1, 1), strict=True))
