"""RainNet's published generator, derived anew: in the layout of its files, changing in place.

Its norm is written out image by image and channel by channel, for regions that are 0 or 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ReferenceRAIN(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        for part in ("foreground", "background"):
            for kind in ("gamma", "beta"):
                self.register_parameter(f"{part}_{kind}", nn.Parameter(torch.zeros(channels)))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        step = [side // small for side, small in zip(mask.shape[2:], x.shape[2:], strict=True)]
        inside = mask[:, 0, :: step[0], :: step[1]] > 0
        return torch.stack([self.one(*pair) for pair in zip(x, inside, strict=True)])

    def one(self, x: Tensor, inside: Tensor) -> Tensor:
        planes = []
        for c, plane in enumerate(x):
            back, fore = plane[~inside], plane[inside]
            mean, sigma = moments(back)
            own, own_sigma = moments(fore)
            back = (back - mean) / sigma
            fore = (fore - own) / own_sigma * sigma + mean
            out = torch.empty_like(plane)
            out[~inside] = back * (1 + self.background_gamma[c]) + self.background_beta[c]
            out[inside] = fore * (1 + self.foreground_gamma[c]) + self.foreground_beta[c]
            planes.append(out)
        return torch.stack(planes)


def moments(values: Tensor) -> tuple[Tensor, Tensor]:
    count = values.numel() + 1e-5
    mean = values.sum() / count
    return mean, (((values - mean) ** 2).sum() / count + 1e-5) ** 0.5


class Block(nn.Module):
    """A level within, and all within that."""

    def __init__(self, width: int, within: Block | None) -> None:
        super().__init__()
        down = nn.LeakyReLU(0.2, True), nn.Conv2d(width, width, 4, 2, 1, bias=False)
        channels = width * (2 if within else 1)
        up = nn.ReLU(True), nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=False)
        self.upnorm = ReferenceRAIN(width)
        if within is None:
            self.up = nn.Sequential(*down, *up)
            return
        self.down = nn.Sequential(*down, nn.InstanceNorm2d(width))
        self.up, self.submodule = nn.Sequential(*up), within
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if hasattr(self, "down"):
            y = self.up(self.submodule(self.down(x), mask))
            return torch.cat([x, self.dropout(self.upnorm(y, mask))], 1)
        return torch.cat([x, self.upnorm(self.up(x), mask)], 1)


class ReferenceRainNet(nn.Module):
    """Takes and gives what the published code does: colours in [-1, 1], the region beside them."""

    def __init__(self, width: int = 64, depth: int = 8, inputs: int = 3) -> None:
        super().__init__()
        n = width
        self.model_layer0 = nn.Conv2d(inputs, n, 4, 2, 1, bias=False)
        for k, (a, b) in enumerate([(n, 2 * n), (2 * n, 4 * n), (4 * n, 8 * n)], 1):
            convolution = nn.Conv2d(a, b, 4, 2, 1, bias=False)
            layers = nn.LeakyReLU(0.2, True), convolution, nn.InstanceNorm2d(b)
            self.add_module(f"model_layer{k}", nn.Sequential(*layers))
        block = None
        for _ in range(4, depth):
            block = Block(8 * n, block)
        self.unet_block = block
        for k, (a, b) in enumerate([(16 * n, 4 * n), (8 * n, 2 * n), (4 * n, n)], 11):
            up = nn.ReLU(True), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)
            self.add_module(f"model_layer{k}", nn.Sequential(*up))
            self.add_module(f"model_layer{k}norm", ReferenceRAIN(b))
            gate = nn.Conv2d(2 * b, 2 * b, 1), nn.Sigmoid()
            self.add_module(f"model_layer{k}att", nn.Sequential(*gate))
        last = nn.ConvTranspose2d(2 * n, 3, 4, 2, 1)
        self.model_out = nn.Sequential(nn.ReLU(True), last, nn.Tanh())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x0 = self.model_layer0(x)
        x1 = self.model_layer1(x0)
        x2 = self.model_layer2(x1)
        y = self.unet_block(self.model_layer3(x2), mask)
        for k, skip in ((11, x2), (12, x1), (13, x0)):
            y = getattr(self, f"model_layer{k}norm")(getattr(self, f"model_layer{k}")(y), mask)
            y = torch.cat([skip, y], 1)
            y = getattr(self, f"model_layer{k}att")(y) * y
        return self.model_out(y)
