import pytest
import torch

from opmask import RGB, MaskRange, Operator
from opmask.testing import check_operator


def operator(function, ranges=None) -> Operator:
    """An operator of one mask in RGB that does `function(image, mask)`."""

    class Custom(Operator):
        space = RGB

        def forward(self, image, mask):
            return function(image, mask)

    Custom.ranges = {"x": MaskRange(0.0, low=-2.0, high=2.0)} if ranges is None else ranges
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
        (lambda i, m: i + m.detach(), "gradients must agree"),
        (lambda i, m: i + m * i.abs().sqrt(), "results and gradients must be finite"),
        (lambda i, m: i + m.mul_(1.0).mul_(0.5), "mask must not be changed in place"),
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


def test_something_else_raises():
    with pytest.raises(TypeError, match=r"must be an opmask\.Operator, got Identity"):
        check_operator(torch.nn.Identity())
