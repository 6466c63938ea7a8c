r"""The ImageNet networks whose features the perceptual losses compare, without their classifiers.

Nothing here is trained and nothing is downloaded: the convolution weights come from a file that
torchvision has left in its cache, or that the caller names.

file of weights -> trunk (frozen) -> features of an image
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from opmask.backbones.imagenet import alexnet_features
from opmask.color import check_image
from opmask.files.pth import read_weights
from opmask.losses._common import check_images

FILES = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg19": "vgg19-dcbb9e9d.pth",
}
"""The file of each network's weights, as torchvision names it."""

SMALLEST = {"alexnet": 31, "vgg16": 16, "vgg19": 16}
"""The least height and width, in pixels, that leave one value after each network's pooling."""

VGG_CONFIGURATIONS = {"vgg16": "D", "vgg19": "E"}
"""The letter of each VGG in its paper and in torchvision."""

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
    with torch.device("meta"):  # no time or random number for values that the file replaces
        trunk = alexnet_features() if name == "alexnet" else _vgg(name)
    shapes = {f"features.{key}": value.shape for key, value in trunk.state_dict().items()}
    if weights == "random":
        values = _random(shapes)
    else:
        values = read_weights(Path(weights), shapes, f"torchvision's {name}")
    for index, layer in trunk.named_children():
        for kind, _ in list(layer.named_parameters()):
            delattr(layer, kind)
            layer.register_buffer(kind, values[f"features.{index}.{kind}"], persistent=False)
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


def _vgg(name: str) -> nn.Sequential:
    """The convolutions of a VGG, the last pooling left out."""
    try:
        from torchvision.models.vgg import cfgs, make_layers  # late: it takes a second
    except ImportError as error:
        raise ImportError(
            f"the loss on {name} needs torchvision. Install it with `pip install opmask[train]`."
        ) from error
    return make_layers(cfgs[VGG_CONFIGURATIONS[name]])[:-1]


def _random(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """He's initialization, which keeps the features' size through the layers."""
    generator = torch.Generator().manual_seed(SEED)
    values = {key: torch.zeros(shape) for key, shape in shapes.items()}
    for value in values.values():
        if value.ndim == 4:
            nn.init.kaiming_normal_(value, nonlinearity="relu", generator=generator)
    return values
