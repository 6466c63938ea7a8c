import pytest
import torch
from reference_rainnet import ReferenceRAIN
from torch import nn

from opmask.backbones import RainNet
from opmask.backbones.rainnet import RAIN


def random_norm(kind, channels=6):
    """A norm, of either making, whose parameters are not those it begins with."""
    torch.manual_seed(1)
    norm = kind(channels)
    state = {name: torch.randn(channels) for name in sorted(norm.state_dict())}
    norm.load_state_dict(state)
    return norm


def features(height=12, width=20):
    region = torch.zeros(2, 1, 4 * height, 4 * width)
    region[0, :, 5:30, 8:50], region[1, :, 20:] = 1, 1
    return 2 + 3 * torch.randn(2, 6, height, width), region


def test_it_is_the_published_norm():
    x, region = features()
    wanted = random_norm(ReferenceRAIN)(x, region)
    torch.testing.assert_close(random_norm(RAIN)(x, region), wanted, rtol=1e-5, atol=1e-5)


def test_a_new_norm_gives_the_foreground_the_moments_of_the_background():
    x, region = features()
    out = RAIN(6)(x, region)[1]
    inside = region[1, 0, ::4, ::4] > 0
    for statistic in (torch.Tensor.mean, torch.Tensor.std):
        torch.testing.assert_close(
            statistic(out[:, inside], 1), statistic(x[1][:, ~inside], 1), rtol=0.02, atol=0.02
        )


def test_a_soft_region_lies_between_the_hard_ones():
    x, region = features()
    norm = random_norm(RAIN)
    step = norm(x, region + 0.001 * (1 - region)) - norm(x, region)
    assert 0 < step.abs().max() < 0.2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_part_alone_is_finite_and_so_are_gradients(value):
    x, norm = torch.randn(1, 6, 8, 8, requires_grad=True), random_norm(RAIN)
    out = norm(x, torch.full((1, 1, 8, 8), value))
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()


def test_sums_do_not_overflow_in_half_precision():
    x = torch.randn(1, 6, 256, 256) + 5
    region = torch.zeros(1, 1, 256, 256)
    region[..., :90] = 1
    norm = random_norm(RAIN)
    wanted = norm(x, region)
    out = norm.half()(x.half(), region.half())
    assert out.dtype == torch.half
    torch.testing.assert_close(out.float(), wanted, rtol=0.02, atol=0.05)


def test_gradients_are_those_of_differences():
    region = torch.zeros(1, 1, 4, 4, dtype=torch.double)
    region[..., :2] = 1
    norm = random_norm(RAIN, 2).double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: norm(x, region), x)


def test_the_region_enters_through_the_norms_alone():
    network = RainNet(width=4, depth=5).eval()
    image, regions = torch.rand(1, 3, 64, 64), [torch.zeros(1, 1, 64, 64) for _ in range(2)]
    regions[1][..., 32:] = 1
    assert not torch.allclose(*(network(image, region) for region in regions), atol=1e-3)
    for module in network.modules():
        if isinstance(module, RAIN):
            module.forward = lambda x, region: x
    assert torch.equal(*(network(image, region) for region in regions))


def test_unknown_is_unchanged():
    network, image = RainNet(width=4, depth=5).eval(), torch.rand(1, 3, 64, 64)
    unknown, unchanged = (torch.full((1, 1, 64, 64), value) for value in (-1.0, 0.0))
    assert torch.equal(network(image, unknown), network(image, unchanged))


def test_dropout_is_where_it_was_published():
    rates = [m.p for m in RainNet(width=1).decoder.modules() if isinstance(m, nn.Dropout)]
    assert rates == [0, 0.5, 0.5, 0.5, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "name"), [({"depth": 4}, "depth"), ({"in_channels": 5}, "in_channels")]
)
def test_bad_arguments_are_refused(arguments, name):
    with pytest.raises(ValueError, match=f"'{name}' must be"):
        RainNet(**arguments)


def test_it_prints_its_settings():
    assert repr(RAIN(8)) == "RAIN(8, eps=1e-05)"
