import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

import opmask
from opmask.color import blocks
from opmask.color.blocks import convert, in_blocks, is_plain


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(blocks, "BLOCK", 64)


def bend(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (image * mask).sin() + mask**2


# Many small images, few large ones, rows longer than a block, and transposed memory.
SHAPES = [(9, 3, 5, 4), (2, 3, 40, 13), (1, 3, 3, 200), (65, 3, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_blocks_are_the_whole(shape):
    image, mask = torch.rand(shape), torch.rand(shape[0], 1, *shape[2:])
    assert torch.equal(in_blocks(bend, image, mask), bend(image, mask))
    turned = image.mT.contiguous().mT
    assert torch.equal(in_blocks(bend, turned, mask), bend(image, mask))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_of_blocks_are_those_of_the_whole(shape):
    image = torch.rand(shape, requires_grad=True)
    mask = torch.rand(1, 1, *shape[2:], requires_grad=True)
    planes = image, mask.expand(shape[0], -1, -1, -1)
    weight = torch.rand(shape)
    found = torch.autograd.grad((weight * in_blocks(bend, *planes)).sum(), (image, mask))
    expected = torch.autograd.grad((weight * bend(*planes)).sum(), (image, mask))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_only_what_needs_a_gradient_gets_one():
    image, mask = torch.rand(2, 3, 20, 20), torch.rand(2, 1, 20, 20, requires_grad=True)
    in_blocks(bend, image, mask).sum().backward()
    assert image.grad is None
    assert mask.grad.shape == mask.shape


def test_what_a_function_does_not_use_has_a_gradient_of_zero():
    image, unused = (torch.rand(2, 3, 20, 20, requires_grad=True) for _ in range(2))
    in_blocks(lambda a, b: 2 * a, image, unused).sum().backward()
    assert (unused.grad == 0).all()
    assert (image.grad == 2).all()


def test_gradients_of_gradients_pass():
    image, mask = (torch.rand(2, c, 7, 6, dtype=torch.float64, requires_grad=True) for c in (3, 1))
    assert torch.autograd.gradgradcheck(lambda a, b: in_blocks(bend, a, b), (image, mask))


def test_only_the_arguments_are_kept_for_the_way_back():
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        opmask.LAB.to_rgb(opmask.LAB.from_rgb(image))
    assert sum(t.numel() for t in kept) <= 2 * image.numel()


def test_transforms_of_torch_func_see_the_function_itself():
    image = torch.rand(2, 3, 9, 9)
    mapped = torch.func.vmap(opmask.LAB.from_rgb)(image)
    torch.testing.assert_close(mapped, opmask.LAB.from_rgb(image))
    slope = torch.func.grad(lambda x: opmask.LAB.from_rgb(x).sum())(image)
    direct = image.clone().requires_grad_()
    opmask.LAB.from_rgb(direct).sum().backward()
    torch.testing.assert_close(slope, direct.grad)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:FutureWarning")  # torch's own
def test_forward_mode_passes_tangents():
    image, tangent = torch.rand(2, 1, 3, 9, 9, dtype=torch.float64)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(image, tangent)
        assert not is_plain(dual)
        found = forward_ad.unpack_dual(opmask.LAB.from_rgb(dual)).tangent
    step = 1e-6
    around = [opmask.LAB.from_rgb(image + s * step * tangent) for s in (1, -1)]
    torch.testing.assert_close(found, (around[0] - around[1]) / (2 * step), atol=1e-6, rtol=1e-5)


def test_parameters_and_tensors_on_a_cpu_are_plain_and_fake_ones_are_not():
    assert is_plain(nn.Parameter(torch.rand(2)), torch.rand(2))
    with torch._subclasses.FakeTensorMode():
        assert not is_plain(torch.rand(2))
    assert not is_plain(torch.rand(2, device="meta"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_how_colours_are_kept(dtype):
    image = torch.rand(2, 2, 3, 9, 7).to(dtype)
    converted = convert(lambda x: x + 2**-12 - 2**-12, image)
    assert torch.equal(converted, image)


def test_autocast_does_not_reach_the_colours():
    image = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(opmask.LAB.from_rgb(image), opmask.LAB.from_rgb(image.clone()))
        converted = opmask.LAB.from_rgb(image)
    assert torch.equal(converted, opmask.LAB.from_rgb(image))


def test_low_precision_of_matrix_products_does_not_reach_the_colours():
    image, before = torch.rand(1, 3, 64, 64), torch.get_float32_matmul_precision()
    expected = opmask.LAB.from_rgb(image)
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(opmask.LAB.from_rgb(image), expected)
    finally:
        torch.set_float32_matmul_precision(before)
