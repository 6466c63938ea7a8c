import copy

import pytest
import torch

import opmask
from opmask.backbones import DHT

VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])


def small(version: str = "v1", layers: int = 2) -> DHT:
    return DHT(width=16, layers=layers, version=version).eval()


def inputs(height: int = 32, width: int = 48):
    region = torch.zeros(1, 1, height, width)
    region[..., 3:20, 5:30] = 1
    return torch.rand(1, 3, height, width), region


@VERSIONS
def test_a_region_is_the_last_channel_or_an_argument(version):
    network, (image, region) = small(version), inputs()
    assert torch.equal(network(image, region), network(torch.cat([image, region], 1)))


@VERSIONS
def test_an_image_is_its_reflectance_times_its_illumination(version):
    network, pair = small(version), inputs()
    factors = network.factors(*pair)
    assert all(0 <= factor.min() < factor.max() <= 1 for factor in factors)
    assert torch.equal(network(*pair), factors[0] * factors[1])


@VERSIONS
@pytest.mark.parametrize("value", [1.0, -1.0])
def test_an_image_without_surroundings_or_with_an_unknown_region_gives_numbers(version, value):
    image, region = inputs()
    assert small(version)(image, torch.full_like(region, value)).isfinite().all()


def test_the_light_is_that_of_patches_without_foreground():
    network, (image, region) = small(), inputs()
    changed = image.where(region == 0, torch.rand_like(image))
    changed[..., :24, :32] = torch.rand(3, 24, 32)  # the rest of the patches that hold some
    both = [network._light(torch.cat([x, region], 1)) for x in (image, changed)]
    torch.testing.assert_close(*both)


@VERSIONS
def test_a_gradient_reaches_every_parameter(version):
    network = small(version)
    network(*inputs()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@VERSIONS
def test_images_of_a_batch_do_not_mix(version):
    network, (image, region) = small(version), inputs()
    pairs = [(image, region), (image.flip(2), region.flip(3)), (image, torch.ones_like(region))]
    together = network(*(torch.cat(parts) for parts in zip(*pairs, strict=True)))
    apart = torch.cat([network(*pair) for pair in pairs])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype):
    network, pair = small(), inputs()
    half = copy.deepcopy(network).to(dtype)(*(x.to(dtype) for x in pair))
    torch.testing.assert_close(half.float(), network(*pair), rtol=0, atol=0.05)


@pytest.mark.slow
def test_a_network_compiles():
    network, pair = small(layers=1), inputs()
    wanted = network(*pair)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*pair), wanted)


@pytest.mark.slow
def test_a_network_is_exported_for_any_size():
    network, (image, region) = small(layers=1), inputs()
    height, width = 8 * torch.export.Dim("height", max=64), 8 * torch.export.Dim("width", max=64)
    free = {0: torch.export.Dim("batch", max=8), 2: height, 3: width}
    images = image.repeat(2, 1, 1, 1), region.repeat(2, 1, 1, 1)
    exported = torch.export.export(network, images, dynamic_shapes=(free, free)).module()
    other = torch.rand(3, 3, 40, 24), torch.rand(3, 1, 40, 24).round()
    torch.testing.assert_close(exported(*other), network(*other))


@VERSIONS
def test_a_wrapped_network_starts_at_the_identity(version):
    model = opmask.OperatorMaskWrapper(small(version, layers=5), region=True)
    image, region = inputs(33, 45)
    assert model.multiple_of == 8
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)


def test_a_missing_region_is_refused():
    with pytest.raises(ValueError, match="'region' must be given, or be one more channel"):
        small()(torch.rand(1, 3, 32, 32))


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="multiples of 8, got"):
        small()(torch.rand(1, 4, 36, 32))


@pytest.mark.parametrize(
    ("arguments", "name"), [({"width": 18}, "width"), ({"version": "plus"}, "version")]
)
def test_bad_arguments_are_refused(arguments, name):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        DHT(**arguments)
