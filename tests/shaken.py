"""Networks as after training: no norm is as it was made."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


def shaken(network: N, seed: int = 0) -> N:
    """The network in evaluation mode, its norms with other statistics, gammas and biases."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.6, 1.4, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
            module.num_batches_tracked.fill_(7)
    return network.eval()
