import itertools
import math

import pytest
import torch

from opmask import Retoucher
from opmask.color.curves import CUBE, DECODE, ENCODE, OK_CUBE, OK_ROOT, ROOT, Curve
from opmask.operators import Contrast, Exposure, Saturation, Temperature, Tint

CURVES = {"DECODE": DECODE, "ENCODE": ENCODE, "ROOT": ROOT, "CUBE": CUBE}
ALL = {**CURVES, "OK_ROOT": OK_ROOT, "OK_CUBE": OK_CUBE}
STANDARD = {
    "DECODE": lambda v: v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4,
    "ENCODE": lambda v: 12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055,
    "ROOT": lambda v: v ** (1 / 3) if v > (6 / 29) ** 3 else v / (3 * (6 / 29) ** 2) + 4 / 29,
    "CUBE": lambda v: v**3 if v > 6 / 29 else 3 * (6 / 29) ** 2 * (v - 4 / 29),
}
INVERSES = [(DECODE, ENCODE), (ROOT, CUBE), (OK_ROOT, OK_CUBE)]


def wide(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.cat([torch.linspace(-0.5, 2.5, 3001), torch.logspace(-9, 0, 500)]).to(dtype)


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_is_that_of_its_standard(name: str):
    expected = torch.tensor([STANDARD[name](v) for v in wide().tolist()], dtype=torch.float64)
    # The standard's own step at its rounded knee is 3e-8.
    torch.testing.assert_close(CURVES[name](wide()), expected, rtol=0, atol=5e-8)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_is_close_to_double(name: str):
    found, expected = ALL[name](wide(torch.float32)), ALL[name](wide(torch.float32).double())
    torch.testing.assert_close(found.double(), expected, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_in_place_equals_out_of_place_and_leaves_its_argument(name: str):
    for dtype in (torch.float32, torch.float64):
        values = wide(dtype)
        before = values.clone()
        torch.testing.assert_close(ALL[name].in_place(values), ALL[name](values))
        assert torch.equal(values, before)


@pytest.mark.parametrize(("there", "back"), INVERSES)
def test_a_curve_has_an_inverse(there, back):
    torch.testing.assert_close(back(there(wide())), wide(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CURVES)
def test_the_gradient_is_the_slope_on_either_side_and_one_of_the_two_at_the_knee(name: str):
    curve = CURVES[name]
    values = [-1.0, 0.0, curve.knee - 1e-6, 0.9, curve.knee]
    v = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    *found, knee = torch.autograd.grad(curve(v).sum(), v)[0].tolist()
    upper = [
        curve.scale * curve.power * (v + curve.shift) ** (curve.power - 1)
        for v in (0.9, curve.knee)
    ]
    assert found == pytest.approx([*3 * [curve.slope], upper[0]])
    assert knee == pytest.approx(upper[1]) or knee == pytest.approx(curve.slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_wherever_a_number_is(name: str, dtype):
    values = [0.0, -0.0, 1e-45, 1e-38, -1e-38, 1e-5, -1e-5, 1.0, -1.0, 1e4, -1e4]
    v = torch.tensor(values, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(ALL[name](v).sum(), v)
    assert gradient.isfinite().all()
    assert (gradient > 0).all()


@pytest.mark.parametrize("name", ["OK_ROOT", "OK_CUBE"])
def test_signed_curves_are_odd_and_go_through_zero(name: str):
    curve = ALL[name]
    assert torch.equal(curve(-wide()), -curve(wide()))
    assert curve(torch.zeros(1)).item() == 0


@pytest.mark.parametrize("name", ["DECODE", "ENCODE", "ROOT"])
def test_the_polynomial_is_close_up_to_its_top_and_goes_on_as_a_line(name: str):
    curve: Curve = CURVES[name]
    inside = torch.logspace(math.log10(curve.knee), math.log10(curve.top), 5000).double()
    inside = inside.clamp(curve.knee, curve.top)
    exact = curve.above(inside)
    for values in (inside, inside.float()):
        found = curve._polynomial(values).double()
        torch.testing.assert_close(found, exact, rtol=3e-6, atol=3e-6)
    beyond = curve._polynomial(torch.tensor([1.0, 2.0, 30.0]) + curve.top)
    slope = (beyond[2] - beyond[1]) / 28
    assert slope.item() == pytest.approx((beyond[1] - beyond[0]).item(), rel=1e-4)
    assert slope > 0


def test_polynomials_reach_as_far_as_masks_push_a_colour():
    light = Retoucher(Temperature(), Tint(), Exposure(), Contrast(), Saturation())
    for temperature, tint in itertools.product((-1.0, 1.0), repeat=2):
        values = zip(light.ranges, (temperature, tint, 2.0, 2.0, 2.0), strict=True)
        masks = {name: torch.full((1, 1, 1, 1), value) for name, value in values}
        brightest = light.unclipped(torch.eye(3).view(1, 3, 1, 3), masks).max()
        assert 5 < brightest < DECODE.top
    assert DECODE(torch.tensor(DECODE.top, dtype=torch.float64)) < ENCODE.top == ROOT.top


def test_black_and_white_stay_what_they_are():
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for curve in (DECODE, ENCODE):
        torch.testing.assert_close(curve(ends), ends, rtol=0, atol=1e-15)


def test_the_pieces_of_srgb_meet_at_the_knee():
    v = DECODE.knee
    assert v / 12.92 == pytest.approx(((v + 0.055) / 1.055) ** 2.4, abs=1e-16)
    assert math.isclose(ENCODE.knee, v / 12.92)
