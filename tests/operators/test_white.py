import math

import numpy as np
import pytest
import torch

from opmask import LINEAR_RGB, Retoucher
from opmask.operators import Temperature, Tint
from opmask.operators.white import ACROSS, WHITE, adapt, planckian

# Bruce Lindbloom, "Chromatic Adaptation" and "RGB/XYZ Matrices": Bradford, D65 to D50.
D65_TO_D50 = np.array(
    [
        [1.0478112, 0.0228866, -0.0501270],
        [0.0295424, 0.9904844, -0.0170491],
        [-0.0092345, 0.0150436, 0.7521316],
    ]
)
RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def uv(x, y):
    return 4 * x / (12 * y - 2 * x + 3), 6 * y / (12 * y - 2 * x + 3)


def white_of(operator, value):
    """The chromaticity x, y of what was white."""
    name = next(iter(operator.ranges))
    output = Retoucher(operator).unclipped(
        torch.ones(1, 3, 1, 1, dtype=torch.float64),
        {name: torch.full((1, 1, 1, 1), value, dtype=torch.float64)},
    )
    xyz = RGB_TO_XYZ @ LINEAR_RGB.from_rgb(output).flatten().numpy()
    return xyz[:2] / xyz.sum(), xyz[1]


def test_adaptation_to_d50_is_lindblooms_bradford_matrix():
    rgb = torch.rand(1, 3, 5, 5, dtype=torch.float64)
    x, y = 0.96422, 0.82521  # X and Z of D50; Y is 1
    total = x + 1 + y
    u, v = uv(x / total, 1 / total)
    output = adapt(rgb, *(torch.full((1, 1, 5, 5), c, dtype=torch.float64) for c in (u, v)))
    expected = D65_TO_D50 @ RGB_TO_XYZ @ rgb.flatten(2)[0].numpy()
    np.testing.assert_allclose(RGB_TO_XYZ @ output.flatten(2)[0].numpy(), expected, atol=2e-4)


@pytest.mark.parametrize(
    ("kelvins", "x", "y"),
    [
        (2000, 0.5267, 0.4133),
        (2856, 0.4476, 0.4074),
        (4000, 0.3805, 0.3768),
        (10000, 0.2807, 0.2884),
    ],
)
def test_glowing_bodies_have_the_published_colors(kelvins, x, y):
    """The Planckian locus of Wyszecki and Stiles, Color Science (1982)."""
    found = [c.item() for c in planckian(torch.tensor(1e6 / kelvins, dtype=torch.float64))]
    assert found == pytest.approx(uv(x, y), abs=3e-4)


def test_temperature_follows_the_daylight_locus_of_the_cie():
    """CIE 15: x of daylight at 5003 K (D50) and 7504 K (D75) is 0.3457 and 0.2990."""
    for kelvins, xy in ((5003, (0.3457, 0.3585)), (7504, (0.2990, 0.3149))):
        found, luminance = white_of(Temperature(), 1e4 / kelvins - 1e4 / 6504)
        assert found == pytest.approx(xy, abs=2e-3)
        assert luminance == pytest.approx(1.0, abs=1e-4)


def test_warm_is_orange_and_cold_is_blue():
    grey = torch.full((1, 3, 1, 1), 0.5)
    for value in (1.0, -1.0):
        red, green, blue = Temperature()(grey, torch.full((1, 1, 1, 1), value)).flatten()
        assert (red > green > blue) if value > 0 else (red < green < blue)


def test_tint_is_magenta_above_zero_and_crosses_the_locus_at_a_right_angle():
    red, green, blue = Tint()(torch.full((1, 3, 1, 1), 0.5), torch.ones(1, 1, 1, 1)).flatten()
    assert green < 0.45 < min(red, blue)
    (u, v), (u2, v2) = (planckian(torch.tensor(1e6 / t)) for t in (6604, 6404))
    along = (u2 - u).item(), (v2 - v).item()
    across = along[0] * ACROSS[0] + along[1] * ACROSS[1]
    assert across / math.hypot(*along) == pytest.approx(0, abs=0.01)


def test_a_tint_of_one_is_a_duv_of_three_hundredths():
    found, luminance = white_of(Tint(), 1.0)
    assert math.dist(uv(*found), WHITE) == pytest.approx(0.03, abs=1e-4)
    assert luminance == pytest.approx(1.0, abs=1e-4)
