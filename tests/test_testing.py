import pytest
import torch

from opmask import RGB, MaskRange, Operator
from opmask.testing import check_operator

X = MaskRange(0.0, low=-2.0, high=2.0)


def operator(function, ranges=None, **attributes) -> Operator:
    """An operator of one mask in RGB that does `function(image, mask)`."""

    class Custom(Operator):
        space = RGB

        def forward(self, image, mask):
            return function(image, mask)

    Custom.ranges = {"x": X} if ranges is None else ranges
    for name, value in attributes.items():
        setattr(Custom, name, value)
    return Custom()


def test_a_sound_operator_passes():
    check_operator(operator(lambda image, mask: image * 2**mask))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda i, m: i * m, "masks at their identity"),
        (lambda i, m: i + m.abs().sqrt() * torch.log(m + 1), "must be finite"),
        (lambda i, m: (i + m)[..., :-1], r"shape must stay \(2, 3, 6, 5\), got \(2, 3, 6, 4\)"),
        (lambda i, m: i.float() + m.float(), "identity|dtype must stay"),
        (lambda i, m: i.add_(m), "image must not be changed in place"),
        (lambda i, m: i + m * i.mean(), "must not depend on the others"),
        (lambda i, m: i + m.mean((2, 3), keepdim=True), "without 'spreads' a pixel whose own"),
        (lambda i, m: i + m * i[:1], "must not depend on the others"),
        (lambda i, m: i + m.roll(1, 2), "without 'spreads' a pixel whose own"),
        (lambda i, m: i + torch.cat([m[:, :, 1:], m[:, :, -1:]], 2), "without 'spreads' a pixel"),
        (lambda i, m: i + torch.cat([m[..., :1], m[..., :-1]], 3), "without 'spreads' a pixel"),
        (lambda i, m: i + m.detach(), "gradients must agree"),
        (lambda i, m: i + m * i.abs().sqrt(), "results and gradients must be finite"),
        (lambda i, m: i + m.mul_(1.0).mul_(0.5), "mask must not be changed in place"),
        (lambda i, m: (i * 2**m).clamp(0, 1), "masks at their identity"),
        (lambda i, m: i + m + 0.1 * (i > 1), "masks at their identity"),
        (lambda i, m: i + m * torch.rand_like(i), "equal arguments must give equal results"),
        (lambda i, m: i + 0 * m, r"each mask must have an effect, but \['x'\] have none"),
        (lambda i, m: (i, m), "the result must be a tensor, got tuple"),
        (lambda i, m: torch.lerp(i, i.flip(2), m.float()), r"torch\.float64 must be accepted"),
    ],
)
def test_a_broken_operator_fails_with_the_rule_that_it_breaks(function, message):
    with pytest.raises(AssertionError, match=message):
        check_operator(operator(function))


def test_a_wrong_shape_fails():
    with pytest.raises(AssertionError, match=r"shape must stay|identity"):
        check_operator(operator(lambda i, m: torch.cat([i, m], 1) if m.any() else i))


def test_an_operator_without_masks_fails():
    with pytest.raises(AssertionError, match="'ranges' must name at least one mask"):
        check_operator(operator(lambda i, m: i, ranges={}))


def test_ranges_of_another_kind_fail():
    with pytest.raises(AssertionError, match="'ranges' must map names to MaskRange"):
        check_operator(operator(lambda i, m: i, ranges={"x": (0, 1)}))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"space": "rgb"}, r"'space' must be an opmask\.ColorSpace, got 'rgb'"),
        ({"gates": ("z",)}, r"'gates' must be drawn from \['x'\], got \['z'\]"),
        ({"unit": "stops"}, r"'unit' must be a number and a text, .*got 'stops'"),
        ({"by_channel": lambda self, channels, masks: [*channels]}, "'by_channel' must compute"),
        ({"pixelwise": True}, "with 'pixelwise' a pixel must not depend on its neighbours"),
    ],
)
def test_a_wrong_attribute_fails(attributes, message):
    with pytest.raises(AssertionError, match=message):
        check_operator(operator(lambda i, m: i + m * i.roll(1, -1), **attributes))


def test_a_mask_that_nobody_uses_fails():
    with pytest.raises(AssertionError, match=r"each mask must have an effect, but \['y'\]"):
        check_operator(operator(lambda i, m: i + m[:, :1], ranges={"x": X, "y": X}))


def test_something_else_raises():
    with pytest.raises(TypeError, match=r"must be an opmask\.Operator, got Identity"):
        check_operator(torch.nn.Identity())
