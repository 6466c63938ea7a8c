"""What the U-Nets of the DoveNet family, which are told the region, have in common."""

import copy

import pytest
import torch

import opmask
from opmask.backbones import BargainNet, DoveNet, RainNet

NETWORKS = {
    "DoveNet": lambda: DoveNet(width=4, depth=5),
    "RainNet": lambda: RainNet(width=4, depth=5),
    "RainNet that sees the region": lambda: RainNet(4, width=4, depth=5),
    "BargainNet": lambda: BargainNet(width=4, depth=5, code_width=4),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]()


def pair(batch=2, height=64, width=96):
    """Images, and regions that are 0 or 1."""
    region = torch.zeros(batch, 1, height, width)
    for index in range(batch):
        region[index, :, 10:50, 20 + 8 * index : 50] = 1
    return torch.rand(batch, 3, height, width), region


def test_a_region_is_the_last_channel_or_an_argument(network):
    image, region = pair()
    network.eval()
    assert torch.equal(network(image, region), network(torch.cat([image, region], 1)))


def test_images_of_a_batch_do_not_see_each_other(network):
    image, region = pair()
    network.eval()
    alone = torch.cat([network(*one) for one in zip(image.split(1), region.split(1), strict=True)])
    torch.testing.assert_close(network(image, region), alone, rtol=0, atol=1e-5)


def test_images_lie_in_the_unit_range(network):
    image, region = pair()
    out = network(100 * image - 50, region)
    assert 0 <= out.min() < out.max() <= 1


def test_a_gradient_reaches_every_parameter(network):
    network(*pair()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, -1.0])
def test_a_region_without_an_end_or_unknown_gives_finite_images_and_gradients(network, value):
    image = torch.rand(2, 3, 64, 64)
    out = network(image.requires_grad_(), torch.full((2, 1, 64, 64), value))
    out.sum().backward()
    assert out.isfinite().all()
    assert image.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_a_region_of_bools_is_one_of_numbers(network):
    image, region = pair()
    network.eval()
    assert torch.equal(network(image, region > 0), network(image, region))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(network, dtype):
    image, region = pair(1)
    wanted = network.eval()(image, region)
    out = network.to(dtype)(image.to(dtype), region.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), wanted, rtol=0, atol=0.05)


def test_autocast_is_close(network):
    image, region = pair(1)
    wanted = network.eval()(image, region)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(image, region)
    torch.testing.assert_close(out.float(), wanted, rtol=0, atol=0.05)


@pytest.mark.slow
def test_it_compiles_in_one_graph(network):
    torch.compiler.reset()
    compiled = torch.compile(network.eval(), fullgraph=True, backend="eager")
    inputs = pair()
    torch.testing.assert_close(compiled(*inputs), network(*inputs))


def test_it_exports(network):
    inputs = pair()
    program = torch.export.export(network.eval(), inputs)
    torch.testing.assert_close(program.module()(*inputs), network(*inputs))


def test_a_copy_is_the_same(network):
    network.eval()(*pair())
    assert torch.equal(copy.deepcopy(network)(*(inputs := pair())), network(*inputs))


def test_a_wrapper_begins_with_the_image_at_odd_sizes_and_is_saved(network, tmp_path):
    model = opmask.OperatorMaskWrapper(network, region=True).eval()
    image, region = pair(1, 49, 70)
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)
    torch.nn.init.normal_(model.head.layer.weight)
    opmask.save(model, tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    for given in (region, None):
        assert torch.equal(again(image, given).image, model(image, given).image)


def test_a_wrapper_that_reads_another_layer_is_loaded(network, tmp_path):
    model = opmask.OperatorMaskWrapper(network, region=True, head="gates.3.conv").eval()
    opmask.save(model, tmp_path / "model.safetensors")
    image, region = pair(1)
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(image, region).image, model(image, region).image)


def test_an_8_bit_region_is_refused(network):
    image, region = pair(1)
    with pytest.raises(TypeError, match=r"'region' must be bool or .* Divide an 8-bit region"):
        network.eval()(image, region.byte())
    with pytest.raises(TypeError, match="'region' must be a tensor, got ndarray"):
        network(image, region.numpy())


def test_a_wrapper_without_a_region_says_what_to_pass(network):
    with pytest.raises(ValueError, match=r"no region\. .* Wrap it with region=True\.$"):
        opmask.OperatorMaskWrapper(network)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 3, 64, 64)], "'region' must be given, or be one more channel of 'image'"),
        ([(1, 5, 64, 64)], r"'image' must have shape \(B, 4, H, W\), got \(1, 5"),
        ([(1, 4, 64, 64), (1, 1, 64, 64)], r"'image' must have shape \(B, 3, H, W\), got \(1, 4"),
        ([(2, 3, 64, 64), (1, 1, 64, 64)], r"'region' must have shape \(2, 1, 64, 64\)"),
        ([(1, 3, 64, 64), (1, 1, 32, 32)], r"'region' must have .*got \(1, 1, 32, 32\)"),
        ([(1, 3, 70, 64), (1, 1, 70, 64)], "multiples of 32, got"),
    ],
)
def test_other_shapes_are_refused(network, shapes, message):
    with pytest.raises(ValueError, match=message):
        network.eval()(*(torch.rand(shape) for shape in shapes))
