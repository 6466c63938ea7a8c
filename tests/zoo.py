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


class Stacked(Plain):
    """Its map is the image above a prompt: as wide as the image, and twice as high."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x, x], 2))[..., : x.shape[2], :]


class PadsShort(Plain):
    """Wants multiples of 8, and pads to multiples of 16 inside as soon as a side is short."""

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        if min(h, w) < 32:
            return super().forward(F.pad(x, (0, -w % 16, 0, -h % 16)))[..., :h, :w]
        if h % 8 or w % 8:
            raise RuntimeError("sizes do not match")
        return super().forward(x)


class GroupNormed(nn.Module):
    """Group norm over 16 groups of 16 channels: one pixel of one image is too little."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 16, 16, 16), nn.GroupNorm(16, 16)
        self.up, self.out = nn.ConvTranspose2d(16, 16, 16, 16), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.up(self.norm(self.down(x))))


class Fixed(Plain):
    """Takes images of one size alone."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 16, side, side))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.trunk(x) + self.position)


class SquareOnly(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] != x.shape[3]:
            raise RuntimeError("not square")
        return super().forward(x)


class OneAtATime(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise RuntimeError("one image at a time")
        return super().forward(x)


class OtherInTraining(Plain):
    """Has another last layer in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.training_out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.training_out(self.trunk(x)) if self.training else super().forward(x)


class EvaluationOnly(Plain):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("targets must be given")
        return super().forward(x)


class FreesItsGraph(Plain):
    """Follows its own gradient, and frees what led to it."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            y = super().forward(x)
            torch.autograd.grad(y.square().sum(), next(self.trunk.parameters()))
        return y


class OneSizeInTraining(Plain):
    """Has a branch in training mode that takes 64x96 pixels alone."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Linear(16 * 64 * 96, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.trunk(x)
        return self.out(y) + (self.code(y.flatten(1)).sum() if self.training else 0)


class Counting(Plain):
    """Keeps statistics in training mode: by a layer, in place, and as a new tensor each time."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(16)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
            self.mean = x.detach().mean()
            with torch.no_grad():
                self.out.weight.mul_(0.5)
        return self.out(self.norm(self.trunk(x)))


class AuxiliaryInTraining(Plain):
    """Deep supervision, in training mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.trunk(x)
        return (self.out(y), self.aux(y)) if self.training else self.out(y)


class Experts(Plain):
    """Which of its parts runs depends on the image: the second one does for bright images."""

    def __init__(self) -> None:
        super().__init__()
        self.dark, self.bright = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((self.bright if x.mean() > 0.9 else self.dark)(self.trunk(x)))


class OwnConvolution(nn.Module):
    """A layer of a class that nobody knows."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.randn(outputs, inputs, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.norm(), padding=1)


class OwnLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = OwnConvolution(3, 16), OwnConvolution(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.first(x).relu())


class CropsByTensors(nn.Module):
    """A valid U-Net that crops its skip by numbers from tensors, which no exporter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 5)
        self.out = nn.Conv2d(32, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.first(x)
        deep = self.second(skip)
        crop = (torch.tensor(skip.shape[2:]) - torch.tensor(deep.shape[2:])) // 2
        skip = F.pad(skip, (-crop).repeat_interleave(2).tolist())
        return self.out(torch.cat([skip, deep], 1))


class Codec(nn.Module):
    """Puts out an image, and likelihoods from a large network on the side."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Conv2d(3, 16, 4, 4), nn.ConvTranspose2d(16, 16, 4, 4)
        self.out, self.likelihood = nn.Conv2d(16, 3, 3, padding=1), nn.Conv2d(16, 99, 5, padding=2)

    def forward(self, x: Tensor) -> dict[str, object]:
        latent = self.encode(x)
        image = self.out(self.decode(latent))
        return {"image": image, "likelihoods": {"y": self.likelihood(latent).sigmoid()}}


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
