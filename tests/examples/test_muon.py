import pytest
import torch
from reproduction.small import muon
from reproduction.small.muon import DECAY, Muon, orthogonal, split
from torch import nn

SHAPES = pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])


@SHAPES
def test_an_orthogonal_matrix_keeps_singular_vectors_and_loses_values(monkeypatch, shape):
    monkeypatch.setattr(muon, "fast_type", lambda device: torch.float32)
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonal(1e3 * matrix) @ v.T
    values = inside.diagonal()
    assert ((values > 0.6) & (values < 1.3)).all()
    torch.testing.assert_close(inside, values.diag(), atol=1e-5, rtol=0)


@SHAPES
def test_half_precision_hardly_turns_a_step(monkeypatch, shape):
    steps = []
    for kind in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(muon, "fast_type", lambda device, kind=kind: kind)
        steps.append(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert steps[1].dtype == torch.float32
    assert 0 < (steps[1] - steps[0]).norm() < 0.05 * steps[0].norm()


def test_a_matrix_without_a_gradient_gets_a_step_of_nothing():
    assert not orthogonal(torch.zeros(9, 12)).any()


def test_kernels_and_matrices_are_told_from_vectors_and_thin_ones():
    network = nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), nn.Linear(9, 16), nn.Linear(16, 8)
    )
    matrices, rest = split(network.parameters())
    assert [tuple(p.shape) for p in matrices] == [(9, 3, 3, 3), (16, 9)]
    assert len(matrices) + len(rest) == len(list(network.parameters()))


def test_the_first_step_is_along_the_gradient_of_a_kernel():
    kernel = nn.Parameter(torch.ones(32, 2, 2, 2))
    untouched = nn.Parameter(torch.ones(9, 9))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(1))
    Muon([kernel, untouched], lr=0.1).step()
    # 32 rows, 8 columns: longer than broad, so the step is larger by the root of 4.
    expected = 1 - 0.1 * DECAY - 0.1 * 2 * orthogonal(kernel.grad.flatten(1)).view_as(kernel)
    torch.testing.assert_close(kernel.detach(), expected)
    assert (untouched == 1).all()


def test_momentum_carries_steps_on():
    kernel = nn.Parameter(torch.zeros(16, 16))
    optimizer = Muon([kernel], lr=0.1)
    first, second = torch.eye(16), torch.eye(16).flip(0)
    kernel.grad = first
    optimizer.step()
    kernel.grad = second
    optimizer.step()
    momentum = 0.95 * 0.05 * first + 0.05 * second
    torch.testing.assert_close(optimizer.state[kernel]["momentum"], momentum)


def test_it_solves_a_regression():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 24, generator=generator)
    wanted = inputs @ torch.randn(24, 24, generator=generator)
    weight = nn.Parameter(torch.zeros(24, 24))
    optimizer = Muon([weight], lr=0.3)
    for step in range(100):
        optimizer.param_groups[0]["lr"] = 0.3 * (1 - step / 100)
        optimizer.zero_grad()
        (inputs @ weight - wanted).square().mean().backward()
        optimizer.step()
    assert (inputs @ weight - wanted).square().mean() < 0.01 * wanted.square().mean()
