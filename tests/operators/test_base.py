import math

import pytest
import torch

from opmask import LAB, LINEAR_RGB, MaskRange, Operator

BOUNDED = MaskRange(1.0, low=0.0, high=3.0)


def test_logits_of_zero_are_exactly_the_identity():
    for r in (
        BOUNDED,
        MaskRange(0.0),
        MaskRange(1.0, low=0.0),
        MaskRange(0.3, low=-0.1, high=0.7),
    ):
        assert r.from_logits(torch.zeros(3)).tolist() == [pytest.approx(r.identity, abs=1e-7)] * 3
    assert BOUNDED.from_logits(torch.zeros(1)).item() == 1.0


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-1.0, 1.5)])
def test_bounded_masks_follow_the_formula(low, high):
    z, share = torch.linspace(-4, 4, 9, dtype=torch.float64), (1.0 - low) / (high - low)
    expected = [low + (high - low) / (1 + math.exp(-v - math.log(share / (1 - share)))) for v in z]
    mine = MaskRange(1.0, low, high).from_logits(z)
    torch.testing.assert_close(mine, torch.tensor(expected, dtype=torch.float64))


def test_bounded_masks_reach_both_ends():
    masks = BOUNDED.from_logits(torch.tensor([-60.0, 60.0]))
    torch.testing.assert_close(masks, torch.tensor([0.0, 3.0]))


def test_one_open_end_gives_the_papers_relu_up_to_the_bias():
    z = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(MaskRange(1.0, low=0.0).from_logits(z), (1 + z).relu())


def test_an_upper_bound_alone_clamps_from_above():
    z = torch.tensor([-9.0, 0.0, 9.0])
    assert MaskRange(0.0, high=2.0).from_logits(z).tolist() == [-9.0, 0.0, 2.0]


def test_no_bounds_add_the_logits_to_the_identity():
    z = torch.tensor([-9.0, 0.5])
    assert MaskRange(2.0).from_logits(z).tolist() == [-7.0, 2.5]


def test_strength_is_measured_from_the_identity():
    mask = torch.tensor([0.5, 1.0, 1.25])
    assert BOUNDED.scale(mask, strength=0.0).tolist() == [1.0, 1.0, 1.0]
    assert BOUNDED.scale(mask, strength=2.0).tolist() == [0.0, 1.0, 1.5]
    assert BOUNDED.scale(mask).tolist() == mask.tolist()


def test_an_offset_is_added_in_mask_units_and_the_range_is_kept():
    mask = torch.tensor([0.5, 1.0, 2.75])
    assert BOUNDED.scale(mask, offset=0.5).tolist() == [1.0, 1.5, 3.0]
    assert BOUNDED.scale(mask, offset=-0.75).tolist() == [0.0, 0.25, 2.0]


@pytest.mark.parametrize(
    "bounds", [(0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (2.0, 0.0, 1.0), (math.nan, 0, 1)]
)
def test_an_identity_that_is_not_strictly_inside_raises(bounds):
    with pytest.raises(ValueError, match="'identity' must lie strictly between 'low' and 'high'"):
        MaskRange(*bounds)


def test_ranges_compare_and_hash_by_value():
    assert MaskRange(0.0, -1.0, 1.0) == MaskRange(0.0, -1.0, 1.0)
    assert len({MaskRange(0.0), MaskRange(0.0), MaskRange(0.5)}) == 2


def test_an_operator_without_forward_cannot_be_made():
    class Half(Operator):
        space, ranges = LAB, {"half": MaskRange(0.0)}

    with pytest.raises(TypeError, match="abstract"):
        Half()


class Warmth(Operator):
    """An operator as users write it: no constructor."""

    space, ranges = LINEAR_RGB, {"warmth": MaskRange(0.0, low=-2.0, high=2.0)}

    def forward(self, image, mask):
        return image * 2 ** torch.cat([mask, torch.zeros_like(mask), -mask], 1)


class Late(Warmth):
    """One with a constructor that declares its masks after that of the base class."""

    def __init__(self, name, weights=(1.0, 2.0), kernel=None):
        super().__init__()
        self.name, self.weights, self.kernel = name, weights, torch.ones(3)
        self.ranges = {name: MaskRange(0.0)}


def test_an_operator_without_a_constructor_takes_ranges_and_a_prefix():
    wide = MaskRange(0.0, low=-3.0, high=3.0)
    assert Warmth(ranges={"warmth": wide}, prefix="sky_").ranges == {"sky_warmth": wide}
    assert Warmth().ranges == Warmth.ranges == {"warmth": MaskRange(0.0, -2.0, 2.0)}


def test_an_operator_may_declare_its_masks_after_the_base_class():
    assert list(Late("late").ranges) == ["late"]


def test_arguments_are_the_parameters_that_are_kept_as_plain_values():
    assert Warmth(prefix="sky_").arguments == {}
    assert Late("late").arguments == {"name": "late", "weights": (1.0, 2.0)}


def test_a_range_for_an_unknown_mask_raises():
    with pytest.raises(ValueError, match=r"'ranges' must be drawn from \['warmth'\], got \['x'\]"):
        Warmth(ranges={"x": MaskRange(0.0)})


def test_gates_have_the_prefix_too():
    class Masked(Warmth):
        gates = ("warmth",)

    assert Masked(prefix="sky_").gates == ("sky_warmth",)
