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


def test_a_closed_gate_does_nothing_and_an_open_one_everything():
    inner, image = Add(LAB), torch.rand(1, 3, 4, 4)
    mask = torch.rand(1, 3, 4, 4)
    for gate in (0.0, 1.0):
        output = Gated(inner)(image, torch.cat([mask, torch.full((1, 1, 4, 4), gate)], 1))
        torch.testing.assert_close(output, inner(image, gate * mask))


def test_a_half_open_gate_halves_the_distance_from_the_identity():
    image, mask = torch.rand(1, 3, 4, 4), torch.full((1, 4, 4, 4), 1.5)
    mask[:, 3] = 0.5
    torch.testing.assert_close(Gated(Mul(LAB))(image, mask), image * 1.25)


def test_a_gate_applies_its_operators_in_order():
    image, mask = torch.rand(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    mask[:, 0] = 2.0
    output = Gated(Mul(LAB, "l"), Add(LAB, "l"))(image, mask)
    torch.testing.assert_close(output[:, 0], image[:, 0] * 2 + 1)


def test_the_gate_starts_half_open_within_zero_and_one():
    assert Gated(Add(LAB)).ranges["gate"] == MaskRange(0.5, low=0.0, high=1.0)


def test_gated_operators_of_two_spaces_raise():
    with pytest.raises(ValueError, match=r"must share one colour space, got \['lab', 'hls'\]"):
        Gated(Add(LAB), Mul(HLS))


def test_a_gate_around_nothing_raises():
    with pytest.raises(ValueError, match="Gated needs at least one operator"):
        Gated()


def test_two_gates_of_one_name_raise():
    with pytest.raises(ValueError, match="'gate' is used twice"):
        Gated(Gated(Add(LAB)))


def test_a_gate_around_something_else_raises():
    with pytest.raises(TypeError, match=r"must be opmask\.Operator objects, got Conv2d"):
        Gated(torch.nn.Conv2d(3, 3, 1))


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
