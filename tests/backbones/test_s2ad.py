import copy

import pytest
import torch

from opmask.backbones import S2AD


def test_a_region_is_the_last_channel_or_an_argument():
    network = S2AD(width=8, depth=5).eval()
    image, region = torch.rand(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    joined = torch.cat([image, region], 1)
    assert torch.equal(network(image, region), network(joined))


def test_neither_image_nor_region_is_changed():
    image = torch.rand(1, 4, 64, 64)
    before = image.clone()
    S2AD(width=8, depth=5)(image)
    assert torch.equal(image, before)


def test_a_cell_of_the_region_counts_if_three_of_its_first_four_pixels_do():
    attention = S2AD(width=8, depth=5).gates[-2]
    attention.where.kernel.zero_()[..., 2, 2] = 1  # no blur
    region = torch.zeros(1, 1, 64, 64)
    region[..., 0:2, 0:2] = region[..., 0:2, 4:5] = region[..., 2:4, 8:12] = 1
    inside, outside = attention.where(torch.zeros(1, 32, 16, 16), region)
    assert inside.nonzero().tolist() == [[0, 0, 0, 0]]
    assert torch.equal(outside, 1 - inside)


def test_an_unknown_region_is_as_none_to_attention():
    attention = S2AD(width=8, depth=5).gates[-1]
    x, zeros = torch.rand(1, 16, 32, 32), torch.zeros(1, 1, 64, 64)
    assert torch.equal(attention(x, zeros - 1), attention(x, zeros))


@pytest.mark.parametrize("channels", [3, 4])
def test_a_gradient_reaches_every_parameter(channels):
    network = S2AD(channels, width=8, depth=5)
    network(torch.rand(2, channels, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 4])
def test_it_is_copied_compiled_exported_and_halved(channels):
    network = copy.deepcopy(S2AD(channels, width=8, depth=5)).eval()
    x = torch.rand(1, channels, 64, 96)
    wanted = network(x)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), wanted)
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), wanted)
    halved = network.bfloat16()(x.bfloat16())
    torch.testing.assert_close(halved.float(), wanted, rtol=0, atol=0.05)


def test_another_size_or_a_region_for_a_network_without_is_refused():
    with pytest.raises(ValueError, match="multiples of 32, got"):
        S2AD(width=8, depth=5)(torch.rand(1, 4, 60, 64))
    with pytest.raises(ValueError, match="'region' must be None"):
        S2AD(3, width=8, depth=5)(torch.rand(1, 3, 64, 64), torch.rand(1, 1, 64, 64))


@pytest.mark.parametrize(("arguments", "name"), [({"depth": 4}, "depth"), ({"width": 7}, "width")])
def test_bad_arguments_are_refused(arguments, name):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        S2AD(**arguments)
