import pytest
import torch
from scipy.special import comb

from opmask.operators import (
    Blacks,
    ColorBalance,
    Highlights,
    Midtones,
    Shadows,
    Whites,
)

SLIDERS = [Blacks(), Shadows(), Midtones(), Highlights(), Whites()]
RAMP = torch.zeros(1, 3, 1, 101)
RAMP[:, 0] = torch.linspace(0, 1, 101)
GREYS = torch.linspace(0, 1, 101).view(1, 1, 1, -1).expand(1, 3, 1, -1)


def apply(operator, image, value):
    return operator(image, torch.full((1, 1, 1, image.shape[-1]), float(value)))


@pytest.mark.parametrize("degree", range(5))
def test_each_slider_weights_lightness_by_its_bernstein_polynomial(degree):
    lightness = RAMP[:, 0]
    weight = comb(4, degree) * lightness**degree * (1 - lightness) ** (4 - degree)
    change = apply(SLIDERS[degree], RAMP, 0.1)[:, 0] - lightness
    torch.testing.assert_close(change, 0.1 * weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("slider", SLIDERS, ids=repr)
def test_lightness_rises_within_the_range_and_color_stays(slider):
    (r,) = slider.ranges.values()
    for end in (r.low, r.high):
        output = apply(slider, RAMP, end)
        assert (output[:, 0].diff(dim=-1) > -1e-6).all()
        assert torch.equal(output[:, 1:], RAMP[:, 1:])


def test_shadows_change_the_dark_and_highlights_the_bright():
    peaks = [(apply(s, RAMP, 0.2) - RAMP)[0, 0].argmax().item() for s in SLIDERS]
    assert peaks == [0, 25, 50, 75, 100]


@pytest.mark.parametrize("degree", [2, 3, 8, 12])
def test_a_higher_degree_narrows_shadows_and_highlights(degree):
    for slider, peak in ((Shadows, 100 / degree), (Highlights, 100 - 100 / degree)):
        operator = slider(degree=degree)
        assert (apply(operator, RAMP, 0.1) - RAMP)[0, 0].argmax().item() == pytest.approx(
            peak, abs=1
        )
        test_lightness_rises_within_the_range_and_color_stays(operator)


@pytest.mark.parametrize("slider", [Shadows, Highlights])
def test_a_degree_with_which_lightness_may_fall_raises(slider):
    with pytest.raises(ValueError, match="'degree' must be from 2 to 12, got 13"):
        slider(degree=13)


def test_equal_shifts_of_all_tones_are_one_shift():
    shift = torch.tensor([0.1, -0.2, 0.3]).view(1, 3, 1, 1)
    output = ColorBalance()(GREYS, shift.repeat(1, 3, 1, 101))
    torch.testing.assert_close(output, GREYS + shift, rtol=0, atol=1e-6)
