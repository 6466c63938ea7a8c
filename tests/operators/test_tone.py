import numpy as np
import pytest
import torch

from opmask import MaskRange
from opmask.operators import (
    Brightness,
    Contrast,
    Exposure,
    Gamma,
    Levels,
    ToneMap,
)

RAMP = torch.linspace(0, 1, 257).view(1, 1, 1, -1).expand(1, 3, 1, -1)


def apply(operator, image, *values):
    mask = torch.tensor(values, dtype=image.dtype).view(1, -1, 1, 1)
    return operator(image, mask.expand(-1, -1, *image.shape[-2:]))


def test_contrast_is_that_of_css():
    """The transfer function of contrast(150%): slope 1.5, intercept -0.25 (W3C, 2018)."""
    torch.testing.assert_close(apply(Contrast(), RAMP, 1.5), 1.5 * RAMP - 0.25)


def test_gamma_is_a_power_and_leaves_black_and_white():
    output = apply(Gamma(), RAMP, 1.0)[0, 0, 0]
    torch.testing.assert_close(output[1:], RAMP[0, 0, 0, 1:].sqrt(), rtol=0, atol=1e-6)
    assert output[[0, -1]].tolist() == [0, 1]


def test_levels_put_the_points_where_photoshop_does():
    """Input levels 32, 2.00, 224 of 255: (x - 32) / 192 to the power 1/2."""
    points = 32 / 255, 1.0, 224 / 255
    image = torch.tensor([32, 80, 128, 224]).view(1, 1, 1, 4).expand(1, 3, 1, 4) / 255
    expected = np.sqrt([0, 48 / 192, 96 / 192, 1])
    found = apply(Levels(), image, *points)[0, 0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_points_of_levels_must_not_meet():
    with pytest.raises(ValueError, match="'ranges' must keep the white point above the black"):
        Levels(ranges={"black_point": MaskRange(0.0, -0.25, 0.8)})


@pytest.mark.parametrize(
    ("operator", "value"),
    [(o(), m) for o, m in ((Brightness, 1), (Gamma, 1), (ToneMap, 2), (Exposure, 2))],
)
def test_brightening_curves_rise_and_darkening_is_no_brightening(operator, value):
    for sign in (1, -1):
        output = apply(operator, RAMP, sign * float(value))[0, 0, 0]
        assert (output.diff() >= 0).all()
        assert (sign * (output - RAMP[0, 0, 0])[1:-1] > 0).all()


def test_tone_mapping_is_undone_by_its_opposite():
    there = apply(ToneMap(), RAMP, 1.5)
    torch.testing.assert_close(apply(ToneMap(), there, -1.5), RAMP, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pivot", [-0.1, 1.1, float("nan")])
def test_a_pivot_out_of_range_is_refused(pivot):
    with pytest.raises(ValueError, match=r"'pivot' must be in \[0, 1\], got"):
        Contrast(pivot=pivot)
