"""Small networks of the kinds that a wrapper meets, and some that are nasty on purpose."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.backbones import SmallUNet


def trunk(inputs: int = 3, width: int = 16) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
    )


class Plain(nn.Module):
    def __init__(self, inputs: int = 3, out: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk(inputs)
        self.out = out or nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.trunk(x))


class Tanh(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh()


class Residual(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] + super().forward(x)


class InPlace(Plain):
    """Changes its input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(255).sub_(100))


class PixelShuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.trunk, self.up = (
            nn.PixelUnshuffle(2),
            trunk(12),
            nn.Conv2d(16, 12, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.up(self.trunk(self.down(x))), 2)


class Transposed(nn.Module):
    """Pix2pix in small: strided down, transposed up, tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 4, 2, 1), nn.ReLU()
        )
        self.up = nn.Sequential(
            nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x)).tanh()


class AuxiliaryLast(Plain):
    """A small auxiliary head runs after the real one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.aux = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        out = super().forward(x)
        return {"out": out, "aux": self.aux(self.first(x))}


class SqueezeLast(Plain):
    """A squeeze-and-excitation block and a fixed colour matrix run last."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.colors = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return self.colors(y) * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()


class Tokens(nn.Module):
    """A vision transformer: its only convolution is the patch embedding."""

    def __init__(self, patch: int = 8, cls: bool = True, fixed: int | None = None) -> None:
        super().__init__()
        self.patch, self.embed = patch, nn.Conv2d(3, 32, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, 32)) if cls else None
        self.position = nn.Parameter(torch.zeros(1, (fixed // patch) ** 2, 32)) if fixed else None
        self.block = nn.TransformerEncoderLayer(32, 2, 64, 0.0, batch_first=True)
        self.head = nn.Linear(32, 3 * patch**2)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.embed(x)
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = tokens if self.position is None else tokens + self.position
        if self.cls is not None:
            tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1)
        tokens = self.head(self.block(tokens))[:, self.cls is not None :]
        return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, maps.shape[-2:]), self.patch)


class Valid(nn.Module):
    """Convolutions without padding: the map is smaller than the image by 6."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 16, 5), nn.ReLU(), nn.Conv2d(16, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ExtraWindow(Plain):
    """Pads one more window to the right and below, not centred, and crops it off the output."""

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        return super().forward(F.pad(x, (0, 8, 0, 8), mode="replicate"))[..., :h, :w]


class Coarse(nn.Module):
    """Quarter resolution, like a segmentation decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Twice(Plain):
    """Super-resolution: the output is twice as large as the input."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.interpolate(self.trunk(x), scale_factor=2))


class Deep(nn.Module):
    """Needs multiples of 16 and 32 pixels or more: instance norm fails on one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1), nn.Conv2d(16, 16, 4, 2, 1), nn.Conv2d(16, 16, 4, 4)
        )
        self.norm, self.up = nn.InstanceNorm2d(16), nn.Upsample(scale_factor=16)
        self.skip, self.out = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(32, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([self.skip(x), self.up(self.norm(self.down(x)))], 1))


class NeedsTime(Plain):
    """Wants a second argument and returns an object."""

    def forward(self, x: Tensor, time: int) -> list[Tensor]:
        return [super().forward(x) + time]


def call_with_time(net: nn.Module, x: Tensor) -> object:
    return net(x, 0)


ZOO = {
    "small U-Net": lambda: SmallUNet(width=8),
    "plain": Plain,
    "tanh": Tanh,
    "residual": Residual,
    "changes its input": InPlace,
    "pixel shuffle": PixelShuffle,
    "transposed": Transposed,
    "auxiliary head last": AuxiliaryLast,
    "squeeze last": SqueezeLast,
    "tokens": Tokens,
    "valid convolutions": Valid,
    "extra window": ExtraWindow,
    "coarse": Coarse,
    "super-resolution": Twice,
    "deep": Deep,
}
