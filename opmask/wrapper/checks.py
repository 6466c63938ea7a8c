r"""What can be wrapped: checks that need no run of the network.

Data flow: `(backbone, multiple_of) -> checks -> opmask.wrapper.trial`.
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["check_backbone", "check_multiple"]

OUTERMOST = ("DistributedDataParallel", "DataParallel", "OptimizedModule")


def check_backbone(backbone: nn.Module) -> None:
    """Raises unless `backbone` is a network itself, with weights that can learn."""
    kind = type(backbone).__name__
    if not isinstance(backbone, nn.Module):
        raise TypeError(f"'backbone' must be a torch.nn.Module, got {kind}.")
    if kind in OUTERMOST or isinstance(backbone, torch.jit.ScriptModule):
        raise TypeError(
            f"'backbone' must be the network itself, got {kind}. Apply {kind} to the wrapper."
        )
    if not any(p.is_floating_point() for p in backbone.parameters()):
        raise ValueError(
            f"'backbone' must have parameters to learn masks with, but {kind} has none."
        )
    if any(t.is_meta for t in (*backbone.parameters(), *backbone.buffers())):
        raise ValueError(
            "'backbone' must have weights, which are read to find the layer for the masks, but "
            f"{kind} is on the meta device. Build it elsewhere, or load its weights first."
        )
    if any(p.is_inference() for p in backbone.parameters()):
        raise ValueError(
            f"'backbone' must be able to learn, but {kind} was built in torch.inference_mode. "
            "Build it outside."
        )


def check_multiple(multiple_of: int) -> None:
    """Raises unless `multiple_of` is a number that sizes can be multiples of."""
    if not isinstance(multiple_of, int) or multiple_of < 1:
        raise ValueError(f"'multiple_of' must be at least 1, got {multiple_of!r}.")
