import copy

import pytest
import torch
from reference_harmony_transformer import table

import opmask
from opmask.backbones import HarmonyTransformer, HarmonyTransformerPlus
from opmask.backbones.transformer import sine_positions

NETWORKS = pytest.mark.parametrize("kind", [HarmonyTransformer, HarmonyTransformerPlus])


def small(kind, layers: int = 2):
    return kind(width=16, layers=layers).eval()


def inputs(height: int = 32, width: int = 44):
    return torch.rand(1, 3, height, width), torch.rand(1, 1, height, width).round()


def test_positions_are_those_of_the_table():
    found = sine_positions(5, 7, 12, torch.zeros(1))
    torch.testing.assert_close(found, table(5, 7, 12)[:, 0], rtol=0, atol=1e-5)


@NETWORKS
def test_a_region_is_the_last_channel_or_an_argument(kind):
    network, (image, region) = small(kind), inputs()
    assert torch.equal(network(image, region), network(torch.cat([image, region], 1)))


@NETWORKS
def test_without_a_tangent_the_output_is_what_it_is_of(kind):
    network, bare, (image, region) = small(kind), kind(width=16, layers=2, tanh=False), inputs()
    bare.load_state_dict(network.state_dict())
    torch.testing.assert_close(bare(image, region).tanh(), network(image, region))


@NETWORKS
def test_a_network_may_be_blind(kind):
    network = kind(3, width=8, layers=1)
    assert network(torch.rand(1, 3, 16, 24)).shape == (1, 3, 16, 24)


@NETWORKS
def test_a_gradient_reaches_every_parameter(kind):
    network = small(kind)
    network(*inputs()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@NETWORKS
def test_images_of_a_batch_do_not_mix(kind):
    network, pairs = small(kind), [inputs() for _ in range(3)]
    together = network(*(torch.cat(parts) for parts in zip(*pairs, strict=True)))
    apart = torch.cat([network(*pair) for pair in pairs])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


@NETWORKS
def test_a_network_starts_with_the_published_spread(kind):
    network = kind(width=64, layers=1)
    assert 0.018 < network.layers[0].linear1.weight.std() < 0.022
    assert not network.layers[0].self_attn.out_proj.bias.any()


@NETWORKS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(kind, dtype):
    network, pair = small(kind), inputs()
    half = copy.deepcopy(network).to(dtype)(*(x.to(dtype) for x in pair))
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), network(*pair), rtol=0, atol=0.05)


@pytest.mark.slow
@NETWORKS
def test_a_network_compiles(kind):
    network, pair = small(kind, layers=1), inputs()
    wanted = network(*pair)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*pair), wanted)


@pytest.mark.slow
@NETWORKS
def test_a_network_is_exported_for_any_size(kind):
    network = small(kind, layers=1)
    height, width = 4 * torch.export.Dim("height", max=64), 4 * torch.export.Dim("width", max=64)
    free = {0: torch.export.Dim("batch", max=8), 2: height, 3: width}
    images = torch.rand(2, 3, 32, 44), torch.rand(2, 1, 32, 44)
    exported = torch.export.export(network, images, dynamic_shapes=(free, free)).module()
    other = torch.rand(3, 3, 40, 24), torch.rand(3, 1, 40, 24)
    torch.testing.assert_close(exported(*other), network(*other))


@NETWORKS
def test_a_wrapped_network_starts_at_the_identity(kind):
    model, (image, region) = opmask.OperatorMaskWrapper(small(kind), region=True), inputs(33, 45)
    assert model.multiple_of == 4
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)


@NETWORKS
def test_a_missing_region_and_one_of_another_size_are_refused(kind):
    network, (image, region) = small(kind), inputs()
    with pytest.raises(ValueError, match="'region' must be given, or be one more channel"):
        network(image)
    with pytest.raises(ValueError, match="'region' must have shape"):
        network(image, region[..., 4:])


@NETWORKS
def test_another_size_is_refused(kind):
    with pytest.raises(ValueError, match="multiples of 4, got"):
        small(kind)(torch.rand(1, 4, 30, 32))


@NETWORKS
def test_a_network_without_heads_is_refused(kind):
    with pytest.raises(ValueError, match="'heads' must be at least 1, got 0"):
        kind(heads=0)


@NETWORKS
@pytest.mark.parametrize("arguments", [{"width": 18}, {"width": 0}, {"width": 16, "heads": 3}])
def test_bad_arguments_are_refused(kind, arguments):
    with pytest.raises(ValueError, match="'width' must be a multiple of 4 and of the"):
        kind(**arguments)
