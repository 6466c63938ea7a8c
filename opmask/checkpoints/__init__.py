r"""Checkpoints: files that become models.

Data flow: `model -> save -> file -> load -> model` for models of this library, each in one
safetensors file, and `published file -> load_reference_checkpoint -> model` for those of the
paper's code, and likewise of others (:func:`load_dovenet`). Nothing in a file is ever executed.
"""

from opmask.checkpoints.native import load, save
from opmask.checkpoints.published import (
    load_bargainnet,
    load_dht,
    load_dirl,
    load_dovenet,
    load_dovenet_discriminator,
    load_harmony_transformer,
    load_rainnet,
    load_s2ad,
    load_sgmmh_harmony_transformer,
)
from opmask.checkpoints.reference import load_reference_checkpoint, load_reference_discriminator

__all__ = [
    "load",
    "load_bargainnet",
    "load_dht",
    "load_dirl",
    "load_dovenet",
    "load_dovenet_discriminator",
    "load_harmony_transformer",
    "load_rainnet",
    "load_reference_checkpoint",
    "load_reference_discriminator",
    "load_s2ad",
    "load_sgmmh_harmony_transformer",
    "save",
]
