import pytest
import torch

from opmask.backbones import DoveNet


def test_a_region_is_the_last_channel_or_an_argument():
    network = DoveNet(width=4, depth=5).eval()
    image, region = torch.rand(1, 3, 64, 96), torch.rand(1, 1, 64, 96)
    joined = torch.cat([image, region], 1)
    assert torch.equal(network(image, region), network(joined))


def test_its_images_lie_in_the_unit_range():
    image = DoveNet(width=4, depth=5)(100 * torch.randn(2, 3, 64, 64), torch.ones(2, 1, 64, 64))
    assert 0 <= image.min() < image.max() <= 1


def test_a_gradient_reaches_every_parameter():
    network = DoveNet(width=4, depth=5, norm="batch")
    network(torch.rand(2, 4, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="multiples of 32, got"):
        DoveNet(width=4, depth=5)(torch.rand(1, 4, 60, 64))


@pytest.mark.parametrize(("arguments", "name"), [({"depth": 4}, "depth"), ({"norm": "x"}, "norm")])
def test_bad_arguments_are_refused(arguments, name):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        DoveNet(**arguments)
