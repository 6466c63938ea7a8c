"""DoveNet's published discriminator, derived anew: torch's first spectral norm, and loops."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from reference_bargainnet import partial_convolution
from torch import Tensor, nn
from torch.nn.utils import spectral_norm


class Convolutions(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        widths = [3, *(width * min(2**k, 8) for k in range(depth + 1))]
        for k in range(depth + 1):
            for suffix in ("", "f"):
                stride = 2 if k < depth else 1
                convolution = spectral_norm(nn.Conv2d(widths[k], widths[k + 1], 3, stride))
                self.add_module(f"conv{k + 1}{suffix}", convolution)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for k in range(1, self.depth + 2):
            layer = getattr(self, f"conv{k}" if mask is None else f"conv{k}f")
            whole = layer(x)  # with the weight, divided by its norm, that the next line takes too
            x, mask = (whole, None) if mask is None else partial_convolution(layer, x, mask)
            if 1 < k <= self.depth:
                variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
                x = (x - mean) / (variance + 1e-5).sqrt()
            if k <= self.depth:
                x = torch.where(x > 0, x, 0.2 * x)
        return x


class ReferenceDiscriminator(nn.Module):
    """Gives the global score and the score of the verification."""

    def __init__(self, width: int = 64, depth: int = 6) -> None:
        super().__init__()
        self.D, n = Convolutions(width, depth), width * min(2**depth, 8)
        self.convl1, self.convl2 = (spectral_norm(nn.Conv2d(n, n, 1)) for _ in range(2))
        self.convl3, self.convg3 = nn.Conv2d(n, 1, 1), nn.Conv2d(n, 1, 1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        local = self.D(x, mask) * self.D(x, 1 - mask)
        for layer in (self.convl1, self.convl2):
            local = F.leaky_relu(layer(local), 0.2)
        return self.convg3(self.D(x, None)), self.convl3(local)
