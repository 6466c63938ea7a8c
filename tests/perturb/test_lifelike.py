import math
from collections import Counter

import numpy as np
import pytest
import torch
from skimage import color

from opmask.perturb import (
    JPEG,
    LIFELIKE,
    ColorTransfer,
    Filter,
    Light,
    PerturbationRecord,
    RegionChange,
    draw,
)
from opmask.perturb.light import LIGHT, draw_light
from opmask.perturb.rng import make_rng
from opmask.perturb.transfer import draw_transfer


def region(seed=0):
    """Pixels that are neither black nor white, so that nothing is clipped."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(90, 160, (3, 20, 30), dtype=torch.uint8, generator=generator)


def lab(image):
    """L*, a*, b* of scikit-image, (3, N)."""
    return color.rgb2lab(image.permute(1, 2, 0).numpy()).reshape(-1, 3).T


def test_exposure_doubles_linear_light():
    linear = ((128 / 255 + 0.055) / 1.055) ** 2.4
    doubled = 1.055 * (2 * linear) ** (1 / 2.4) - 0.055
    image = torch.full((3, 1, 1), 128, dtype=torch.uint8)
    assert Light(exposure=1.0)(image).unique().tolist() == [round(255 * doubled)]


@pytest.mark.parametrize("perturbation", [Light(), ColorTransfer()])
def test_nothing_drawn_changes_nothing(perturbation):
    assert torch.equal(perturbation(region()), region())


@pytest.mark.parametrize("name", LIGHT)
def test_each_part_of_light_has_an_effect_at_both_ends(name):
    low, high = (Light(**{name: end})(region()).float() for end in LIGHT[name])
    assert (low - high).abs().mean() > 2


def test_a_shift_moves_the_means():
    moved = ColorTransfer(shift=(5.0, -3.0, 4.0))(region())
    change = (lab(moved) - lab(region())).mean(1)
    np.testing.assert_allclose(change, (5, -3, 4), atol=0.1)


def test_a_spread_scales_the_deviations_and_keeps_the_means():
    x, y = lab(region()), lab(ColorTransfer(spread=(0.6, 0.8, 0.7))(region()))
    np.testing.assert_allclose(y.std(1) / x.std(1), (0.6, 0.8, 0.7), atol=0.02)
    np.testing.assert_allclose(y.mean(1), x.mean(1), atol=0.1)


def test_a_skew_changes_the_form_alone():
    x, y = lab(region()), lab(ColorTransfer(skew=(0.4, 0.0, 0.0))(region()))
    third = [(((v - v.mean()) / v.std()) ** 3).mean() for v in (x[0], y[0])]
    assert third[1] > third[0] + 0.3
    np.testing.assert_allclose((y.mean(1), y.std(1)), (x.mean(1), x.std(1)), atol=0.15)


def test_a_quarter_turn_makes_a_of_b():
    x, y = lab(region()), lab(ColorTransfer(turn=0.25)(region()))
    expected = x[1:].mean(1)[:, None] + np.stack([-1 * (x[2] - x[2].mean()), x[1] - x[1].mean()])
    inside = (y[0] > 25) & (y[0] < 75)  # away from the ends of the gamut
    assert np.abs(y[1:] - expected)[:, inside].mean() < 3


def test_a_transfer_between_regions_gives_the_means_and_deviations_of_the_other():
    other = (region(1).float() * 0.7 + torch.tensor([40.0, 20, 0]).view(3, 1, 1)).byte()
    made = ColorTransfer.between(region(), other)(region())
    np.testing.assert_allclose(lab(made).mean(1), lab(other).mean(1), atol=0.2)
    np.testing.assert_allclose(lab(made).std(1), lab(other).std(1), atol=0.3)


def test_flat_regions_are_shifted_only():
    flat = torch.full((3, 4, 4), 120, dtype=torch.uint8)
    made = ColorTransfer((10.0, 0.0, 0.0), (2.0, 2.0, 2.0), (0.5, 0.5, 0.5), 0.1)(flat)
    assert made.unique().tolist() == [146]  # L* higher by 10
    assert ColorTransfer.between(flat, region()).spread == (4.0, 4.0, 4.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Light(exposure=3.0), r"'exposure' must be in \[-2, 2\], got 3.0"),
        (lambda: Light(contrast=math.nan), r"'contrast' must be in \[0, 2\], got nan"),
        (lambda: ColorTransfer(shift=(math.inf, 0, 0)), "must get finite numbers"),
        (lambda: ColorTransfer(spread=(1.0, -1.0, 1.0)), "'spread' must be at least 0"),
        (lambda: ColorTransfer(skew=(0.0, 0.0, 2.0)), r"'skew' must be in \[-1, 1\]"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_life_does_is_drawn_with_its_shares():
    drawn = [LIFELIKE.draw_first(make_rng(seed)) for seed in range(1000)]
    counts = Counter(type(perturbation) for perturbation in drawn)
    assert counts.keys() == {ColorTransfer, Light, Filter}
    assert abs(counts[ColorTransfer] - 400) < 50
    assert abs(counts[Light] - 400) < 50


def test_each_way_of_transferring_comes_up():
    drawn = [draw_transfer(make_rng(seed)) for seed in range(100)]
    assert {(any(t.skew), t.turn != 0) for t in drawn} == {(0, 0), (1, 0), (0, 1)}
    shifts = np.array([t.shift for t in drawn])
    assert (np.abs(shifts).max(0) < (30.1, 12.6, 20.1)).all()


def test_light_is_drawn_within_its_bounds():
    for light in (draw_light(make_rng(seed)) for seed in range(100)):
        assert all(low <= getattr(light, name) <= high or name != "exposure"
                   for name, (low, high) in LIGHT.items())  # fmt: skip


def test_some_regions_were_saved_as_jpeg():
    label_map = torch.tensor([[1, 2]])
    drawn = [draw(label_map, seed, LIFELIKE).regions[0].perturbations for seed in range(300)]
    qualities = [p[1].quality for p in drawn if len(p) == 2 and isinstance(p[1], JPEG)]
    assert 60 < len(qualities) < 120
    assert min(qualities) >= 40
    assert max(qualities) <= 95


def test_records_of_life_survive_json():
    for seed in range(30):
        applied = draw(torch.tensor([[1, 2, 3, 4, 5]]), seed, LIFELIKE)
        assert PerturbationRecord.from_json(applied.to_json()) == applied


def test_a_record_with_a_light_that_is_out_of_range_is_refused():
    applied = PerturbationRecord(0, (RegionChange(1, (Light(exposure=1.5),)),))
    with pytest.raises(ValueError, match=r"'exposure' must be in \[-2, 2\]"):
        PerturbationRecord.from_json(applied.to_json().replace("1.5", "15"))
