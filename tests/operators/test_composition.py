import pytest
import torch

from opmask import HLS, LAB, Add, Gated, MaskRange, Mul


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
