import pytest
import torch

import opmask
from opmask import HLS, LAB, RGB, Add, Gated, MaskRange, Mul, OperatorMaskWrapper, Retoucher
from opmask.backbones import SmallUNet
from opmask.operators import Exposure, Frozen, LowResolution, Parallel, Relight, Tied
from opmask.testing import check_operator


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


def test_gates_within_gates_multiply():
    image, mask = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    twice = Gated(Gated(Mul(LAB), prefix="in_"), prefix="out_")
    gates = torch.rand(1, 2, 4, 4)
    found = twice(image, torch.cat([mask, gates], 1))
    product = gates.prod(1, keepdim=True)
    torch.testing.assert_close(found, Gated(Mul(LAB))(image, torch.cat([mask, product], 1)))
    check_operator(twice)


def test_what_masks_come_to_renders_the_same_with_gates_within_gates():
    retoucher = Retoucher(Gated(Parallel(Gated(Exposure(), prefix="in_"), Add(LAB, "b"))))
    image = torch.rand(1, 3, 4, 4)
    masks = retoucher.from_logits(torch.randn(1, len(retoucher.ranges), 4, 4))
    opened = {gate: torch.ones(1, 1, 4, 4) for gate in retoucher.gates}
    effective = retoucher.effective(masks) | opened
    torch.testing.assert_close(retoucher(image, effective), retoucher(image, masks))


def test_a_gate_around_something_else_raises():
    with pytest.raises(TypeError, match=r"must be opmask\.Operator objects, got Conv2d"):
        Gated(torch.nn.Conv2d(3, 3, 1))


# --- side by side ---


def random_masks(operator, image):
    shares = torch.rand(len(image), len(operator.ranges), *image.shape[2:])
    low, high = torch.tensor([(r.low, r.high) for r in operator.ranges.values()]).T
    return low.view(-1, 1, 1) + (high - low).view(-1, 1, 1) * shares


def test_changes_side_by_side_are_added_whatever_the_order():
    one, two, image = Mul(LAB), Add(LAB, "l"), torch.rand(1, 3, 4, 4)
    masks = random_masks(Parallel(one, two), image)
    first, second = masks.split((3, 1), 1)
    expected = one(image, first) + two(image, second) - image
    torch.testing.assert_close(Parallel(one, two)(image, masks), expected)
    swapped = Parallel(two, one)(image, torch.cat([second, first], 1))
    torch.testing.assert_close(swapped, expected)


def test_operators_of_two_spaces_side_by_side_are_added_in_rgb():
    image, both = torch.rand(1, 3, 4, 4), Parallel(Exposure(), Add(LAB, "l"))
    masks = random_masks(both, image)
    changes = [
        Retoucher(op).unclipped(image, {name: masks[:, i : i + 1]}) - image
        for i, (op, name) in enumerate([(Exposure(), "exposure"), (Add(LAB, "l"), "l_add")])
    ]
    assert both.space is RGB
    torch.testing.assert_close(both(image, masks), image + sum(changes), rtol=0, atol=1e-4)
    check_operator(both)


def test_a_gate_side_by_side_gates_its_own_operator_alone():
    both = Parallel(Gated(Add(LAB, "a")), Add(LAB, "l"))
    shut = {name: torch.full((1, 1, 1, 1), 0.3) for name in both.ranges}
    shut["gate"] = torch.zeros(1, 1, 1, 1)
    assert both.gates == ("gate",)
    found = {name: mask.item() for name, mask in both.effective(shut).items()}
    assert found == {"a_add": 0.0, "l_add": pytest.approx(0.3)}


# --- frozen ---


def test_frozen_masks_are_constants():
    image, mask = torch.rand(1, 3, 4, 4), torch.rand(1, 1, 4, 4)
    frozen = Frozen(Mul(LAB), values={"l_mul": 1.0, "b_mul": 1.0})
    torch.testing.assert_close(frozen(image, mask), Mul(LAB, "a")(image, mask))
    assert frozen.ranges == Mul(LAB, "a").ranges


def test_a_frozen_gate_is_a_strength():
    image, mask = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    half = Frozen(Gated(Add(LAB)), values={"gate": 0.25})
    torch.testing.assert_close(half(image, mask), Add(LAB)(image, mask / 4))
    masks = dict(zip(half.ranges, mask.split(1, 1), strict=True))
    torch.testing.assert_close(half.effective(masks)["a_add"], masks["a_add"] / 4)
    assert half.gates == ()
    check_operator(half)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"h_mul": 1.0}, "'values' must be within the ranges of masks .*, got 1.0 for 'h_mul'"),
        ({"l_mul": 2.5}, "got 2.5 for 'l_mul'"),
        ({"l_mul": float("nan")}, "got nan for 'l_mul'"),
        (dict.fromkeys(["l_mul", "a_mul", "b_mul"], 1.0), "must leave a mask free"),
        ({"l_mul": 1.5}, "must leave images as they are .* Freeze masks at their own identity"),
    ],
)
def test_masks_that_cannot_be_frozen_raise(values, message):
    with pytest.raises(ValueError, match=message):
        Frozen(Mul(LAB), values=values)


@pytest.mark.parametrize(
    ("kind", "tables", "message"),
    [
        (Frozen, {"values": ["l_mul"]}, r"'values' must map masks to numbers, .*\['l_mul'\]"),
        (Frozen, {"values": {"l_mul": "off"}}, "'l_mul' must be a number, got 'off'"),
        (Tied, {"ties": [("a_mul", "b_mul")]}, "'ties' must map new names to lists of masks"),
        (Tied, {"ties": {"c": "a_mul"}}, "lists of masks, as in .*, got {'c': 'a_mul'}"),
        (Tied, {"ties": {"c": ()}}, r"lists of masks, as in .*, got {'c': \(\)}"),
    ],
)
def test_tables_of_another_kind_raise(kind, tables, message):
    with pytest.raises(TypeError, match=message):
        kind(Mul(LAB), **tables)


# --- tied ---


def test_tied_masks_follow_one():
    image, mask = torch.rand(1, 3, 4, 4), torch.rand(1, 2, 4, 4)
    tied = Tied(Mul(LAB), Add(LAB, "l"), ties={"c_mul": ("a_mul", "b_mul", "l_mul")})
    expected = Add(LAB, "l")(Mul(LAB)(image, mask[:, :1].expand(-1, 3, -1, -1)), mask[:, 1:])
    torch.testing.assert_close(tied(image, mask), expected)
    assert list(tied.ranges) == ["c_mul", "l_add"]
    masks = dict(zip(tied.ranges, mask.split(1, 1), strict=True))
    assert tied.effective(masks).keys() == masks.keys()
    check_operator(tied)


def test_tied_gates_are_one_gate_and_ranges_are_what_all_allow():
    wide = MaskRange(0.0, low=-0.5, high=3.0)
    tied = Tied(
        Gated(Add(LAB, "l"), prefix="x_"),
        Gated(Add(LAB, "a", range=wide), prefix="y_"),
        ties={"gate": ("x_gate", "y_gate"), "add": ("l_add", "a_add")},
    )
    assert tied.gates == ("gate",)
    assert tied.ranges == {"add": MaskRange(0.0, -0.5, 1.0), "gate": MaskRange(0.5, 0.0, 1.0)}


@pytest.mark.parametrize(
    ("ties", "message"),
    [
        ({"x": ("h_mul",)}, r"'ties' must name masks of \['l_mul', .*\], each at most once"),
        ({"x": ("a_mul",), "y": ("a_mul",)}, "each at most once"),
        ({"l_mul": ("a_mul", "b_mul")}, r"must have new names, but \['l_mul'\] are"),
        ({"x": ("a_mul", "l_add")}, r"must tie masks of one identity, .*'x': \('a_mul', 'l_add'"),
    ],
)
def test_masks_that_cannot_be_tied_raise(ties, message):
    with pytest.raises(ValueError, match=message):
        Tied(Mul(LAB), Add(LAB, "l"), ties=ties)


# --- coarse masks ---


def test_coarse_masks_have_neither_edges_nor_texture():
    coarse, image = LowResolution(Add(LAB, "l")), torch.zeros(1, 3, 128, 128)
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 64:] = 1.0
    assert coarse(image, mask)[:, 0].diff(dim=-1).max() < 0.08
    texture = torch.rand(1, 1, 128, 128) - 0.5
    assert coarse(image, texture)[:, 0].std() < 0.1 * texture.std()


def test_even_masks_stay_as_they_are_when_coarse():
    coarse, image = LowResolution(Mul(LAB), size=3), torch.rand(1, 3, 13, 9)
    mask = torch.full((1, 3, 13, 9), 1.5)
    torch.testing.assert_close(coarse(image, mask), image * 1.5)


def test_a_coarse_mask_acts_around_where_it_is_drawn():
    assert LowResolution(Add(LAB)).spreads
    assert Gated(LowResolution(Add(LAB))).spreads
    assert Frozen(Relight()).spreads
    assert not Frozen(Add(LAB)).spreads


@pytest.mark.parametrize("kind", [Frozen, LowResolution, Tied])
def test_one_after_the_other_they_share_a_space(kind):
    with pytest.raises(ValueError, match=r"must share one colour space, got \['lab', 'hls'\]"):
        kind(Add(LAB), Mul(HLS))


@pytest.mark.parametrize("kind", [Frozen, LowResolution, Parallel, Tied])
def test_nothing_inside_raises(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs at least one operator"):
        kind()


@pytest.mark.parametrize("size", [0, 4097])
def test_a_grid_of_no_size_raises(size):
    with pytest.raises(ValueError, match=f"'size' must be from 1 to 4096, got {size}"):
        LowResolution(Add(LAB), size=size)


@pytest.mark.parametrize(
    "operator",
    [
        Frozen(Gated(Mul(LAB), Add(LAB)), values={"l_mul": 1.0, "gate": 0.5}),
        Tied(Mul(LAB, prefix="x_"), ties={"x_c": ("x_a_mul", "x_b_mul")}),
        Parallel(Gated(Mul(LAB), prefix="x_"), LowResolution(Exposure(), size=5)),
    ],
)
def test_a_file_describes_operators_in_operators(operator, tmp_path):
    model = OperatorMaskWrapper(SmallUNet(width=8), Retoucher(operator))
    opmask.save(model, tmp_path / "model.safetensors")
    (again,) = opmask.load(tmp_path / "model.safetensors").retoucher.operators
    image = torch.rand(1, 3, 8, 8)
    masks = random_masks(operator, image)
    assert (again.ranges, again.arguments) == (operator.ranges, operator.arguments)
    assert torch.equal(again(image, masks), operator(image, masks))
