"""Muon: the optimiser of the model for photos.

gradients -> momentum -> for matrices the nearest orthogonal one -> weights
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from reproduction.small.network import fast_type

THIN = 8  # rows
MOMENTUM, DECAY = 0.95, 0.01
# Jordan's polynomial: five rounds bring singular values from 0.001 to 1 to about 1.
ROUNDS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Steps of which all singular values are about the same, for matrices.

    The kernels of convolutions count as matrices of a row for each output. So directions in which
    gradients are small learn as fast as the others.

    Args:
        matrices: The weights, of two or more dimensions.
        lr: The learning rate: about the size of the singular values of a step.

    References:
        Muon: An optimizer for hidden layers in neural networks (Jordan et al., 2024)
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._turn(matrix, group["lr"])

    def _turn(self, matrix: nn.Parameter, lr: float) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum = state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        step = orthogonal(matrix.grad.lerp(momentum, MOMENTUM).flatten(1))
        rows, columns = step.shape
        scale = lr * max(1, rows / columns) ** 0.5
        matrix.mul_(1 - lr * DECAY).sub_(step.view_as(matrix), alpha=scale)


def split(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those for Muon, and the rest: vectors, and matrices as thin as the output's."""
    every = list(parameters)
    matrices = [p for p in every if p.ndim > 1 and len(p) > THIN]
    return matrices, [p for p in every if p.ndim == 1 or len(p) <= THIN]


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors, but singular values near 1 (0.7 to 1.2)."""
    if len(matrix) > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    x = (matrix / (matrix.norm() + 1e-7)).to(fast_type(matrix.device))
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.to(matrix.dtype)
