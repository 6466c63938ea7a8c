r"""The ImageNet networks whose features the perceptual losses compare, without their classifiers.

Nothing here is trained and nothing is downloaded: the convolution weights come from a file that
torchvision has left in its cache, or that the caller names.

file of weights -> trunk (frozen) -> features of an image
"""

from __future__ import annotations

import os
import pickle
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from opmask.backbones.alexnet import alexnet_features
from opmask.inputs import check_image
from opmask.losses._common import check_images

FILES = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
}
"""The file of each network's weights, as torchvision names it."""

SMALLEST = {"alexnet": 31, "vgg16": 16, "vgg19": 16}
"""The least height and width, in pixels, that leave one value after each network's pooling."""

VGG_DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""The number of convolutions in each of the five levels."""

URL = "https://download.pytorch.org/models/"
SEED = 0  # of the random weights


def cached_file(name: str) -> Path:
    """Where torchvision keeps the weights of the network `name`, whether they are there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / FILES[name]


def locate(name: str, weights: str | os.PathLike[str] | None) -> str:
    """The path of the weights, or `"random"`; raises where no file is."""
    if weights == "random":
        return "random"
    path = cached_file(name) if weights is None else Path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path}', with the weights of {name}, does not exist. Download {URL}{FILES[name]} "
            "and put it there, or pass weights= with the path of a copy."
        )
    return str(path)


def build_trunk(name: str, weights: str) -> nn.Sequential:
    """The frozen convolutions of `name`, numbered as in torchvision, with weights from `locate`.

    The weights are buffers that no state_dict holds, so that optimizers and checkpoints pass over
    them, and there is no layer that `train()` would change.
    """
    trunk = _alexnet() if name == "alexnet" else _vgg(VGG_DEPTHS[name])
    shapes = {key: value.shape for key, value in trunk.state_dict().items()}
    values = _random(shapes) if weights == "random" else _read(name, weights, shapes)
    for index, layer in trunk.named_children():
        for kind, _ in list(layer.named_parameters()):
            delattr(layer, kind)
            layer.register_buffer(kind, values[f"{index}.{kind}"], persistent=False)
    return trunk


def constant(*values: float) -> Tensor:
    """One value for each channel of an RGB image, with shape (3, 1, 1)."""
    return torch.tensor(values).view(3, 1, 1)


def check_pair(name: str, input: Tensor, target: Tensor) -> None:
    """Refuse what the network `name` cannot compare."""
    check_images(input, target)
    check_image(input, "input")
    if min(input.shape[2:]) < SMALLEST[name]:
        raise ValueError(
            f"'input' must be at least {SMALLEST[name]} pixels high and wide for {name}, "
            f"got {tuple(input.shape)}."
        )


def _alexnet() -> nn.Sequential:
    with torch.device("meta"):  # see _convolution
        return alexnet_features()


def _vgg(depths: tuple[int, ...]) -> nn.Sequential:
    """Levels of so many convolutions each, the last ReLU included."""
    widths = [64, 128, 256, 512, 512]
    layers: list[nn.Module] = []
    for depth, (before, width) in zip(depths, pairwise([3, *widths]), strict=True):
        layers += [nn.MaxPool2d(2)] if layers else []
        for inputs in [before] + [width] * (depth - 1):
            layers += [_convolution(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _convolution(
    inputs: int, outputs: int, size: int, stride: int = 1, *, padding: int
) -> nn.Conv2d:
    # On the meta device: no time is spent on, and no random number taken for, values that the
    # file replaces.
    return nn.Conv2d(inputs, outputs, size, stride, padding, device="meta")


def _read(name: str, path: str, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"'{path}' must be a file of weights as torchvision saves them, got one that torch "
            "does not read with weights_only=True."
        ) from error
    state = state if isinstance(state, dict) else {}
    found = {key: getattr(state.get(f"features.{key}"), "shape", None) for key in shapes}
    wrong = [f"features.{key}" for key in shapes if found[key] != shapes[key]]
    if wrong:
        raise ValueError(
            f"'{path}' must hold the weights of torchvision's {name}, got none, or some of "
            f"another shape, for {wrong}."
        )
    return {key: state[f"features.{key}"].float() for key in shapes}


def _random(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """He's initialization, which keeps the features' size through the layers."""
    generator = torch.Generator().manual_seed(SEED)
    values = {key: torch.zeros(shape) for key, shape in shapes.items()}
    for value in values.values():
        if value.ndim == 4:
            nn.init.kaiming_normal_(value, nonlinearity="relu", generator=generator)
    return values
