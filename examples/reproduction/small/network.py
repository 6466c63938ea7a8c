"""The network of a model for photos, untrained.

RGB and LAB, and what is known of the region -> :class:`opmask.backbones.RegionUNet` -> masks that
multiply and add in LAB, and a gate that says where.
"""

from __future__ import annotations

from pathlib import Path

from opmask import LAB, Add, Gated, Mul, OperatorMaskWrapper, OutputHead, Retoucher
from opmask.backbones import RegionUNet
from opmask.color import with_lab


def build(width: int, weights: Path | None) -> OperatorMaskWrapper:
    """The model, with the features of AlexNet from a file as torchvision's; None: without any."""
    retoucher = Retoucher(Gated(Mul(LAB), Add(LAB)))
    masks = len(retoucher.ranges)
    network = RegionUNet(7, masks, width=width, trunk=weights is not None)
    if weights is not None:
        network.load_trunk(weights)
    return OperatorMaskWrapper(
        network,
        retoucher,
        region=True,
        head=OutputHead(),
        preprocess=with_lab,
        multiple_of=16,
    )
