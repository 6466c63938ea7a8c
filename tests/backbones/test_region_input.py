import copy

import pytest
import torch
from torch import nn

import opmask
from opmask.backbones import S2AD, AttentionUNet, DoveNet, SmallUNet, with_region_input

IMAGE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
JOINED = torch.cat([IMAGE, torch.rand(1, 1, 64, 96)], 1)


class Nested(nn.Module):
    """Its first layer lies deep, and pads in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv2d(3, 8, 5, 2, 4, dilation=2, padding_mode="reflect", bias=False)
        self.pos = nn.Parameter(torch.zeros(8, 1, 1))
        self.stem = nn.Sequential(nn.Identity(), nn.ModuleDict({"first": first})["first"])
        self.aside = nn.Conv2d(3, 8, 2, 2)
        self.out = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, 2))

    def forward(self, x):
        return {"image": self.out(self.stem(x) + self.aside(x) + self.pos)}


@pytest.mark.parametrize(
    "build",
    [
        Nested,
        SmallUNet,
        lambda: Rearranging(),
        lambda: AttentionUNet(width=4, depth=5),
        lambda: Nested().half(),
    ],
)
def test_a_network_with_a_region_gives_at_first_what_it_gives_without(build):
    network = build()
    wider = with_region_input(network)
    kind = next(network.parameters()).dtype
    image, joined = IMAGE.to(kind), JOINED.to(kind)
    wanted, found = network.eval()(image), wider.eval()(joined)
    within = 1e-5 if kind == torch.float32 else 1e-2
    torch.testing.assert_close(found, wanted, rtol=0, atol=within)


def test_the_network_itself_stays_as_it_is():
    network = Nested()
    before = copy.deepcopy(network.state_dict())
    network.out.eval()
    with_region_input(network)
    assert network.stem[1].in_channels == 3
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


def test_modes_and_the_random_state_are_kept():
    network = Nested().train()
    network.out.eval()
    state = torch.get_rng_state()
    wider = with_region_input(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in wider.modules()] == [m.training for m in network.modules()]


def test_a_region_makes_a_difference_once_it_is_learned():
    wider = with_region_input(Nested())
    wider(JOINED)["image"].square().mean().backward()
    assert wider.stem[1].weight.grad[:, 3].abs().min() > 0
    assert wider.aside.weight.grad[:, 3].abs().min() > 0


def test_weights_that_two_first_layers_share_stay_shared():
    network = Nested()
    network.aside = nn.Conv2d(3, 8, 5, 2, 2)
    network.aside.weight = network.stem[1].weight
    wider = with_region_input(network)
    assert wider.aside.weight is wider.stem[1].weight
    assert wider.aside.weight.shape == (8, 4, 5, 5)


def test_a_wrapped_network_with_a_region_is_saved_and_loaded(tmp_path):
    network = with_region_input(AttentionUNet(width=4, depth=5))
    model = opmask.OperatorMaskWrapper(network, region=True).eval()
    opmask.save(model, tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    region = JOINED[:, 3:]
    assert torch.equal(again(IMAGE, region).image, model(IMAGE, region).image)


def test_a_network_of_fixed_size_and_odd_signature_is_told_how():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fixed = nn.Conv2d(3, 4, 1), nn.Parameter(torch.zeros(4, 40, 40))

        def forward(self, x, time):
            return self.conv(x) + self.fixed + time

    with pytest.raises(ValueError, match=r"raised TypeError.*Pass example= an image batch that"):
        with_region_input(Odd())
    wider = with_region_input(
        Odd(), example=torch.rand(1, 3, 40, 40), call=lambda net, image: net(image, 0)
    )
    assert wider.conv.in_channels == 4


def test_it_works_without_memory():
    with torch.device("meta"):
        assert with_region_input(SmallUNet())(torch.empty(1, 4, 64, 64)).shape == (1, 3, 64, 64)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


class Weighing(Residual):
    def forward(self, x):
        return self.conv(x) * x.mean(1, keepdim=True)


class Tied(Residual):
    def forward(self, x):
        return nn.functional.conv2d(self.conv(x), self.other.weight, padding=1)

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 3, 3)
        self.other.weight = self.conv.weight


class Grey(nn.Module):
    def forward(self, x):
        return x[:, :3].mean(1, keepdim=True)


class Rearranging(nn.Module):
    """Its pixels become channels in an order of its own: those of one pixel side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 4, 1)

    def forward(self, x):
        return self.conv(torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1))


class Standardised(nn.Conv2d):
    """Its weights are standardised over all channels, and are others with one more."""

    def forward(self, x):
        flat = self.weight.flatten(1)
        weight = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
        return nn.functional.conv2d(x, weight.view_as(self.weight))


def frozen():
    network = Nested()
    network.stem.requires_grad_(False)
    return network


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Conv2d(3, 6, 3, groups=3), "has 3 groups. Build it with 4 input channels"),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3)), "'0' of Sequential is a BatchNor"),
        (Standardised(3, 4, 1), "with a fourth, of weight 0, Standardised gives something else"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3)), "computed, as by weight_norm"),
        (frozen(), "'stem.1' of Nested is frozen"),
        (nn.ReLU(), "none of ReLU ran. Build it with 4 input"),
        (Residual(), "with a fourth Residual raised RuntimeError"),
        (Weighing(), "with a fourth, of weight 0, Weighing gives something else"),
        (nn.Sequential(Grey(), nn.Conv2d(1, 6, 3)), "but Sequential leaves out a fourth"),
        (S2AD(3, width=8, depth=5), "'image' must have shape .B, 3, H, W.*Build it with 4 input"),
        (Tied(), "'other.weight' of Tied is shared"),
        (nn.Conv2d(4, 6, 3), "It takes a region as it is"),
        (DoveNet(width=4, depth=5), "It takes a region as it is"),
        (nn.Conv2d(1, 6, 3), "must run on an image batch of shape .2, 3, 64, 96., but Conv2d"),
    ],
)
def test_what_cannot_take_a_region_is_refused(network, message):
    with pytest.raises(ValueError, match=message):
        with_region_input(network)


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"'net' must be a torch\.nn\.Module, got function"):
        with_region_input(lambda x: x)
