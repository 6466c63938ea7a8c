r"""Checkpoints of other published harmonization networks, converted.

Data flow: `.pth file -> {name: tensor} -> network of opmask.backbones`. Each is in evaluation
mode, called as `network(image, region)`, and can be wrapped, trained on and saved like any other.
A module holds the names in the files of one network, and its `load_...`.
"""

from opmask.checkpoints.published.dovenet import load_dovenet

__all__ = ["load_dovenet"]
