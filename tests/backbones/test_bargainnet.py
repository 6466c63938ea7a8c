import pytest
import torch
from torch import nn

from opmask.backbones import BargainNet, DomainCodeExtractor


def small():
    return BargainNet(width=4, depth=5, code_width=4).eval()


def half_region(height=64, width=96):
    region = torch.zeros(2, 1, height, width)
    region[..., width // 2 :] = 1
    return region


def test_the_default_background_is_that_of_the_composite():
    network, image, region = small(), torch.rand(2, 3, 64, 96), half_region()
    assert torch.equal(network(image, region), network(image, region, image))


def test_nothing_but_the_background_gives_the_code():
    network, region = small(), half_region()
    image, real = torch.rand(2, 2, 3, 64, 96)
    changed_inside = real + region
    out = network(image, region, real)
    assert torch.equal(network(image, region, changed_inside), out)
    assert not torch.equal(network(image, region, real + 1 - region), out)


@pytest.mark.parametrize("factor", [0.0005, -3.0])
def test_the_factor_is_never_less_than_a_thousandth(factor):
    network, image, region = small(), torch.rand(2, 3, 64, 96), half_region()
    outputs = []
    for value in (factor, 0.001):
        nn.init.constant_(network.factor, value)
        outputs.append(network(image, region))
    assert torch.equal(*outputs)


def test_a_code_is_blind_to_what_lies_outside():
    extractor, region = DomainCodeExtractor(width=4).eval(), half_region()
    image = torch.rand(2, 3, 64, 96)
    torch.testing.assert_close(extractor(image + 1 - region, region), extractor(image, region))


def test_a_whole_region_makes_plain_convolutions():
    extractor = DomainCodeExtractor(width=4).eval()
    image = torch.rand(2, 3, 70, 96)
    x = 2 * image - 1
    for level in extractor.levels:
        x = level.after(nn.Conv2d.forward(level.convolution, x))
    wanted = extractor.out(x.mean((2, 3), keepdim=True)).flatten(1)
    code = extractor(image, torch.ones(2, 1, 70, 96))
    torch.testing.assert_close(code, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("depth", "least"), [(2, 7), (3, 15), (5, 63)])
def test_the_smallest_image_has_a_code_and_a_smaller_one_raises(depth, least):
    extractor = DomainCodeExtractor(width=2, depth=depth).eval()
    assert extractor(torch.rand(1, 3, least, least), torch.ones(1, 1, least, least)).numel() == 16
    with pytest.raises(ValueError, match=f"at least {least}x{least} pixels, got .* depth="):
        extractor(torch.rand(1, 3, 99, least - 1), torch.ones(1, 1, 99, least - 1))


def test_fewer_partial_convolutions_take_smaller_images():
    network = BargainNet(width=4, depth=5, codes=3, code_width=4, code_depth=4).eval()
    assert network(torch.rand(1, 4, 32, 32)).shape == (1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"at least 63x63 .* code_depth="):
        small()(torch.rand(1, 4, 32, 32))


def test_a_background_of_another_size_is_refused():
    image, region = torch.rand(2, 3, 64, 96), half_region()
    with pytest.raises(ValueError, match=r"'background' must have the shape of 'image', \(2, 3"):
        small()(image, region, image[:1])


@pytest.mark.parametrize(("kind", "least"), [(BargainNet, 5), (DomainCodeExtractor, 2)])
def test_too_small_a_depth_is_refused(kind, least):
    with pytest.raises(ValueError, match=f"'depth' must be at least {least}, got"):
        kind(depth=least - 1)


def test_a_code_of_a_hole_is_finite():
    extractor, image = DomainCodeExtractor(width=4), torch.rand(2, 3, 64, 96, requires_grad=True)
    code = extractor(image, torch.zeros(2, 1, 64, 96))
    code.sum().backward()
    assert code.isfinite().all()
    assert image.grad.abs().max() == 0
