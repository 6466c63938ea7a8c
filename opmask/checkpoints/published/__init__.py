r"""Checkpoints of other published harmonization networks, converted.

Data flow: `.pth file -> {name: tensor} -> network of opmask.backbones`. Each is in evaluation
mode, called as `network(image, region)`, or as `network(image)` if it is told no region, and can
be wrapped, trained on and saved like any other. A module holds the names in the files of one
network, and its `load_...`.
"""

from opmask.checkpoints.published.bargainnet import load_bargainnet
from opmask.checkpoints.published.dht import load_dht
from opmask.checkpoints.published.dirl import load_dirl
from opmask.checkpoints.published.dovenet import load_dovenet, load_dovenet_discriminator
from opmask.checkpoints.published.harmony_transformer import (
    load_harmony_transformer,
    load_sgmmh_harmony_transformer,
)
from opmask.checkpoints.published.rainnet import load_rainnet
from opmask.checkpoints.published.s2ad import load_s2ad

__all__ = [
    "load_bargainnet",
    "load_dht",
    "load_dirl",
    "load_dovenet",
    "load_dovenet_discriminator",
    "load_harmony_transformer",
    "load_rainnet",
    "load_s2ad",
    "load_sgmmh_harmony_transformer",
]
