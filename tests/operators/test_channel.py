import copy
import pickle

import pytest
import torch

from opmask import (
    HLS,
    HSV,
    LAB,
    LAB_CENTERED,
    LINEAR_RGB,
    RGB,
    Add,
    Gated,
    MaskRange,
    Mul,
    Operator,
)
from opmask.operators import Affine, HueShift
from opmask.testing import check_operator

SHIPPED = {
    "add": Add(LAB),
    "add one": Add(HSV, "v"),
    "add hue": Add(HLS, "h", range=MaskRange(0.0, low=-0.5, high=0.5)),
    "add unbounded": Add(RGB, range=MaskRange(0.0)),
    "mul": Mul(LAB_CENTERED),
    "mul two, out of order": Mul(HLS, "s", "l"),
    "mul unbounded": Mul(LINEAR_RGB, range=MaskRange(1.0, low=0.0)),
    "gated": Gated(Mul(LAB), Add(LAB)),
    "gated twice": Gated(Gated(Add(LAB, "l"), prefix="inner_"), Mul(LAB, "a")),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_operator_keeps_the_contract(name):
    check_operator(SHIPPED[name])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_operator_survives_copy_and_pickle(name):
    operator = SHIPPED[name]
    image, mask = torch.rand(1, 3, 4, 4), torch.rand(1, len(operator.ranges), 4, 4)
    for twin in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        torch.testing.assert_close(twin(image, mask), operator(image, mask))


def test_add_adds_each_mask_to_its_own_channel():
    image, mask = torch.rand(2, 3, 4, 5), torch.rand(2, 2, 4, 5)
    output = Add(LAB, "b", "l")(image, mask)
    expected = [image[:, 0] + mask[:, 1], image[:, 1], image[:, 2] + mask[:, 0]]
    torch.testing.assert_close(output, torch.stack(expected, 1))


def test_mul_multiplies_each_channel_by_its_own_mask():
    image, mask = torch.rand(2, 3, 4, 5), torch.rand(2, 2, 4, 5)
    output = Mul(LAB, "b", "l")(image, mask)
    expected = [image[:, 0] * mask[:, 1], image[:, 1], image[:, 2] * mask[:, 0]]
    torch.testing.assert_close(output, torch.stack(expected, 1))


def test_no_channels_mean_all_of_them():
    assert list(Add(LAB).ranges) == ["l_add", "a_add", "b_add"]
    assert list(Mul(HLS).ranges) == ["h_mul", "l_mul", "s_mul"]


def test_default_ranges_are_plus_minus_one_and_zero_to_two():
    assert set(Add(LAB).ranges.values()) == {MaskRange(0.0, -1.0, 1.0)}
    assert set(Mul(LAB).ranges.values()) == {MaskRange(1.0, 0.0, 2.0)}


def test_a_prefix_goes_before_every_name():
    assert list(Add(LAB, "l", prefix="fine_").ranges) == ["fine_l_add"]
    assert list(Gated(Mul(LAB, "l"), prefix="fine_").ranges) == ["l_mul", "fine_gate"]


def test_an_unknown_channel_raises():
    with pytest.raises(
        ValueError, match=r"must be drawn from lab's \('l', 'a', 'b'\), got \['h'\]"
    ):
        Add(LAB, "h")


def test_a_channel_named_twice_raises():
    with pytest.raises(ValueError, match="must name each channel once"):
        Mul(LAB, "l", "l")


def test_an_operator_prints_its_masks():
    class Exposure(Operator):
        space, ranges = LINEAR_RGB, {"exposure": MaskRange(0.0, -2.0, 2.0)}

        def forward(self, image, mask):
            return image * 2**mask

    check_operator(Exposure())
    assert repr(Exposure()) == "Exposure(exposure)"


def add_by_index(image, mask, index):
    return image.index_add(1, index, mask)


def multiply_by_index(image, mask, index):
    return image.index_copy(1, index, image[:, index] * mask)


@pytest.mark.parametrize("channels", [(), ("l",), ("b", "l"), ("b", "a", "l")])
@pytest.mark.parametrize(
    ("operator", "reference"), [(Add, add_by_index), (Mul, multiply_by_index)]
)
def test_slices_give_the_bits_of_indices_and_their_gradients(operator, reference, channels):
    channels = channels or LAB.channels
    inputs = [torch.randn(2, n, 5, 6, requires_grad=True) for n in (3, len(channels))]
    output = operator(LAB, *channels)(*inputs)
    expected = reference(*inputs, torch.tensor([LAB.channels.index(c) for c in channels]))
    assert torch.equal(output, expected)
    found = torch.autograd.grad(output.square().sum(), inputs)
    wanted = torch.autograd.grad(expected.square().sum(), inputs)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_operator_compiles_whole(name):
    operator = SHIPPED[name]
    image, mask = torch.rand(1, 3, 4, 4), torch.rand(1, len(operator.ranges), 4, 4)
    compiled = torch.compile(operator, fullgraph=True)
    torch.testing.assert_close(compiled(image, mask), operator(image, mask))


def test_affine_scales_about_the_pivot_and_shifts():
    operator, image = Affine(RGB, "r", "b", pivot=0.25), torch.rand(1, 3, 4, 4)
    mask = torch.tensor([2.0, 0.1, 0.5, -0.1]).view(1, 4, 1, 1)
    expected = image.clone()
    expected[:, 0] = 0.25 + 2 * (image[:, 0] - 0.25) + 0.1
    expected[:, 2] = 0.25 + 0.5 * (image[:, 2] - 0.25) - 0.1
    torch.testing.assert_close(operator(image, mask), expected)


@pytest.mark.parametrize("space", [RGB, LAB, LAB_CENTERED, HLS, HSV, LINEAR_RGB])
def test_the_pivot_stays_in_any_space(space):
    color = (0.8, 0.6, 0.5)
    pivot = space.from_rgb(torch.tensor(color).view(1, 3, 1, 1))
    mask = torch.tensor([1.7, 0.0] * 3).view(1, 6, 1, 1)
    output = Affine(space, pivot=color)(pivot, mask)
    torch.testing.assert_close(output, pivot, rtol=0, atol=1e-6)


def test_a_pivot_that_is_no_color_is_refused():
    with pytest.raises(ValueError, match="'pivot' must be a grey or a triple"):
        Affine(LAB, pivot=(0.5, 0.5))


def test_a_hue_that_passes_red_starts_anew():
    hues = torch.tensor([0.1, 0.9]).view(1, 1, 1, 2)
    image = torch.cat([hues, torch.full((1, 2, 1, 2), 0.5)], 1)
    output = HueShift(HLS)(image, torch.tensor([-0.2, 0.2]).view(1, 1, 1, 2))
    torch.testing.assert_close(output[0, 0, 0], torch.tensor([0.9, 0.1]))
    assert torch.equal(output[:, 1:], image[:, 1:])
