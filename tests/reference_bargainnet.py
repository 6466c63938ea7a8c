"""BargainNet's published networks, derived anew: in the layout of their files, pixel by pixel."""

from __future__ import annotations

import torch
from reference_dovenet import ReferenceDoveNet
from torch import Tensor, nn


class ReferenceExtractor(nn.Module):
    """Takes colours in [-1, 1] and the area to describe."""

    def __init__(self, width: int = 64, codes: int = 16, depth: int = 5) -> None:
        super().__init__()
        widths = [3, *(width * min(2**k, 8) for k in range(depth))]
        for k in range(depth):
            convolution = nn.Conv2d(widths[k], widths[k + 1], 3, 2, bias=k == 0)
            self.add_module(f"conv{k + 1}f", convolution)
            if 0 < k < depth - 1:
                self.add_module(f"norm{k + 1}f", nn.BatchNorm2d(widths[k + 1]))
        self.convs = nn.Conv2d(widths[-1], codes, 1)
        self.depth = depth

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for k in range(1, self.depth + 1):
            x, mask = partial_convolution(getattr(self, f"conv{k}f"), x, mask)
            if 1 < k < self.depth:
                x = getattr(self, f"norm{k}f")(x)
            if k < self.depth:
                x = torch.relu(x)
        return self.convs(x.mean((2, 3), keepdim=True))


def partial_convolution(conv: nn.Conv2d, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Window by window, as the description has it; for masks that are 0 or 1."""
    batch, _, height, width = x.shape
    step = conv.stride[0]
    rows, columns = range(0, height - 2, step), range(0, width - 2, step)
    out = torch.zeros(batch, conv.out_channels, len(rows), len(columns))
    grown = torch.zeros(batch, 1, len(rows), len(columns))
    for b in range(batch):
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                window = mask[b, :, row : row + 3, column : column + 3]
                if window.sum() == 0:
                    continue
                grown[b, 0, i, j] = 1
                seen = x[b, :, row : row + 3, column : column + 3] * window
                value = (conv.weight * seen).sum((1, 2, 3)) * 9 / window.sum()
                out[b, :, i, j] = value if conv.bias is None else value + conv.bias
    return out, grown


class ReferenceBargainNet(ReferenceDoveNet):
    """Takes colours in [-1, 1], the region and a code, whose file has its factor as `weight`."""

    def __init__(self, width: int = 64, depth: int = 8, codes: int = 16) -> None:
        super().__init__(width, depth, "batch", 4 + codes)
        self.weight = nn.Parameter(torch.tensor([0.1]))

    def forward(self, x: Tensor, mask: Tensor, code: Tensor) -> Tensor:
        plane = code.reshape(*code.shape[:2], 1, 1).expand(-1, -1, *x.shape[2:])
        return super().forward(torch.cat([x, mask, plane * max(self.weight.item(), 0.001)], 1))
