from statistics import mean

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import opmask
from opmask.datasets import ADE20K
from opmask.fitting import fit_masks, fit_record
from opmask.fitting.solver import MaskBounds, solve_bounded
from opmask.operators import Blur, LowResolution, Relight
from opmask.perturb import (
    DEFAULT,
    Filter,
    PerturbationRecord,
    RegionChange,
    composite,
    draw,
    sample_seed,
)

RGB_AFFINE = opmask.Retoucher(opmask.Mul(opmask.RGB), opmask.Add(opmask.RGB))


class Exposure(opmask.Operator):
    """Light, doubled for each unit of the mask."""

    space = opmask.LINEAR_RGB
    ranges = {"exposure": opmask.MaskRange(identity=0.0, low=-2.0, high=2.0)}

    def forward(self, image, mask):
        return image * 2**mask


class Sharpen(opmask.Operator):
    """Looks at neighbours: adds what a blur takes away."""

    space = opmask.RGB
    ranges = {"sharpen": opmask.MaskRange(identity=0.0, low=-1.0, high=4.0)}

    def forward(self, image, mask):
        blurred = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), 5, 1)
        return image + mask * (image - blurred)


def photo(batch=1, height=20, width=24):
    return torch.rand(batch, 3, height, width) * 0.4 + 0.3


def related(image):
    """Another image that a line for each channel predicts in part."""
    slope, shift = torch.tensor([[0.6, 1.4, 0.9], [0.2, -0.2, 0.1]], dtype=image.dtype)
    line = image * slope.view(3, 1, 1) + shift.view(3, 1, 1)
    return line + 0.1 * (torch.rand_like(image) - 0.5)


def halves(image):
    """Region 7 on the left, 0 in the middle, 3 on the right, by thirds."""
    third = image.shape[-1] // 3
    regions = torch.zeros(image[:, 0].shape, dtype=torch.long)
    regions[..., :third], regions[..., -third:] = 7, 3
    return regions


def constants(retoucher, regions, values):
    """Masks that have the values of each region, by its number, and the identity outside."""
    masks = {}
    for name, mask_range in retoucher.ranges.items():
        mask = torch.full(regions.shape, mask_range.identity)
        for number, value in values.items():
            mask[regions == number] = value[name]
        masks[name] = mask[:, None]
    return masks


def left(retoucher, changed, real, masks):
    """The share of the squared error that is left."""
    error = (retoucher(changed, masks) - real).square().mean()
    return float(error / (changed - real).square().mean())


# --- what is found ---


def test_masks_are_constant_in_regions_and_the_identity_outside():
    changed = photo(2)
    real, regions = related(changed), halves(changed)
    masks = fit_masks(opmask.lab_retoucher(), changed, real, regions)
    assert list(masks) == list(opmask.lab_retoucher().ranges)
    for name, mask in masks.items():
        assert mask.shape == (2, 1, 20, 24)
        assert mask.dtype == torch.float32
        assert (mask[:, 0][regions == 0] == opmask.lab_retoucher().ranges[name].identity).all()
        inside = [mask[i, 0][regions[i] == label] for i in (0, 1) for label in (3, 7)]
        assert all((values == values[0]).all() for values in inside)
        assert len({float(values[0]) for values in inside}) == 4


def test_operators_linear_in_rgb_get_numpy_s_linear_regression():
    changed = photo(2).double()
    real, regions = related(changed), halves(changed)
    masks = fit_masks(RGB_AFFINE, changed, real, regions, pixels=10**6)
    for image, label in ((0, 3), (0, 7), (1, 3), (1, 7)):
        inside = regions[image] == label
        for c, channel in enumerate("rgb"):
            x, y = changed[image, c][inside].numpy(), real[image, c][inside].numpy()
            slope, intercept = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)[0]
            found = [masks[f"{channel}_{kind}"][image, 0][inside][0] for kind in ("mul", "add")]
            assert found == pytest.approx([slope, intercept], abs=5e-4)


def test_a_shift_alone_is_the_mean_difference():
    changed, real = photo().double(), photo().double()
    retoucher, regions = opmask.Retoucher(opmask.Add(opmask.RGB)), halves(changed)
    masks = fit_masks(retoucher, changed, real, regions, pixels=160)
    inside = halves(changed)[0] == 3
    for c, channel in enumerate("rgb"):
        expected = (real - changed)[0, c][inside].mean()
        torch.testing.assert_close(
            masks[f"{channel}_add"][0, 0][inside][0], expected, rtol=1e-5, atol=0
        )


def test_a_factor_alone_is_the_ratio_of_moments():
    changed, real = photo().double(), photo().double()
    retoucher, regions = opmask.Retoucher(opmask.Mul(opmask.RGB)), halves(changed)
    masks = fit_masks(retoucher, changed, real, regions, pixels=160)
    x, y = changed[0, 1][:, :8], real[0, 1][:, :8]
    torch.testing.assert_close(
        masks["g_mul"][0, 0, 0, 0], (x * y).sum() / (x * x).sum(), rtol=1e-4, atol=0
    )


TRUE = {
    "lab": {"l_mul": 0.8, "a_mul": 1.3, "b_mul": 0.7, "l_add": 0.1, "a_add": -0.05, "b_add": 0.04},
    "hls": {"l_mul": 0.9, "s_mul": 0.8, "l_add": 0.05, "s_add": 0.03, "h_add": 0.08},
}


@pytest.mark.parametrize("name", ["lab", "hls"])
def test_what_a_retoucher_did_is_found_again(name):
    retoucher = {"lab": opmask.lab_retoucher, "hls": opmask.hls_retoucher}[name]()
    changed = photo(1, 30, 36)
    regions = halves(changed)
    other = {
        n: r.scale(torch.tensor(TRUE[name][n]), 0.5).item() for n, r in retoucher.ranges.items()
    }
    true = constants(retoucher, regions, {7: TRUE[name], 3: other})
    masks = fit_masks(retoucher, changed, retoucher(changed, true), regions)
    for key in masks:
        torch.testing.assert_close(masks[key], true[key], rtol=0, atol=1e-3)
    assert left(retoucher, changed, retoucher(changed, true), masks) < 1e-3


def test_operators_of_one_s_own_and_in_several_spaces_are_fitted():
    retoucher = opmask.Retoucher(Exposure(), opmask.Mul(opmask.HLS, "s"))
    changed = photo()
    regions = halves(changed)
    values = {7: {"exposure": -0.6, "s_mul": 0.5}, 3: {"exposure": 0.4, "s_mul": 1.2}}
    true = constants(retoucher, regions, values)
    masks = fit_masks(retoucher, changed, retoucher(changed, true), regions)
    for key in masks:
        torch.testing.assert_close(masks[key], true[key], rtol=0, atol=1e-3)


def test_operators_that_look_at_neighbours_are_fitted_in_the_whole_image():
    retoucher = opmask.Retoucher(Sharpen(), opmask.Add(opmask.RGB, "g"))
    changed = photo(2)
    regions = halves(changed)
    values = {7: {"sharpen": 0.7, "g_add": 0.05}, 3: {"sharpen": -0.4, "g_add": -0.1}}
    true = constants(retoucher, regions, values)
    masks = fit_masks(retoucher, changed, retoucher(changed, true), regions)
    for key in masks:
        torch.testing.assert_close(masks[key], true[key], rtol=0, atol=1e-3)


@pytest.mark.parametrize("operator", [Relight(), Relight(softness=0.2), Blur()])
def test_masks_that_act_on_neighbours_are_fitted_to_the_end(operator):
    retoucher = opmask.Retoucher(operator)
    changed = photo()
    regions = halves(changed)
    (name, r), *_ = retoucher.ranges.items()
    values = {7: {name: 0.5 * r.high}, 3: {name: 0.25 * r.high}}
    real = retoucher(changed, constants(retoucher, regions, values))
    masks = fit_masks(retoucher, changed, real, regions, pixels=32)
    assert left(retoucher, changed, real, masks) < 1e-5


NEIGHBOURS = {
    "a soft shadow": Relight(softness=0.1),
    "coarse masks": LowResolution(opmask.Mul(opmask.LAB, "l", "a"), size=5),
    "a gate": opmask.Gated(Relight()),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_masks_that_act_on_neighbouring_regions_are_found_together(name):
    retoucher, changed = opmask.Retoucher(NEIGHBOURS[name]), photo(2, 60, 80)
    regions = 1 + torch.arange(60)[:, None] // 20 * 3 + torch.arange(80) // 27
    regions = torch.stack([regions, (regions == 5) * 7])
    shares = torch.rand(len(retoucher.ranges), 10).mul(0.8).sub(0.4)
    true = {
        key: r.identity
        + (regions > 0)[:, None] * (share[regions][:, None] * (r.high - r.identity))
        for (key, r), share in zip(retoucher.ranges.items(), shares, strict=True)
    }
    real = retoucher(changed, true)
    masks = fit_masks(retoucher, changed, real, regions)
    inside = (regions > 0)[:, None]
    before, after = (
        (x - real).square()[inside.expand_as(x)].mean()
        for x in (changed, retoucher(changed, masks))
    )
    assert after < 1e-4 * before


def test_gates_are_fitted_with_what_they_gate():
    retoucher = opmask.Retoucher(opmask.Gated(opmask.Add(opmask.RGB)))
    changed = photo()
    real = torch.where(halves(changed)[:, None] == 3, changed + 0.1, changed)
    masks = fit_masks(retoucher, changed, real, halves(changed))
    assert left(retoucher, changed, real, masks) < 1e-3
    assert 0.5 < masks["gate"].max() < 1


def test_gates_are_opened_where_what_they_gate_is_at_its_bound():
    retoucher = opmask.Retoucher(opmask.Gated(opmask.Add(opmask.RGB)))
    changed = photo() / 3
    masks = fit_masks(retoucher, changed, changed + 0.7, halves(changed))
    shift = masks["gate"] * masks["r_add"]
    assert shift[0, 0, 0, 0] == pytest.approx(0.7, abs=0.01)
    assert masks["gate"][0, 0, 0, 0] > 0.69


def test_pixels_that_are_clipped_are_fitted_as_they_are_seen():
    changed = torch.cat([torch.ones(1, 3, 4, 8), photo(1, 4, 8)], 2)
    real = torch.cat([torch.full((1, 3, 4, 8), 0.8), changed[:, :, 4:] * 0.8], 2)
    regions = torch.ones(1, 8, 8, dtype=torch.long)
    masks = fit_masks(opmask.Retoucher(opmask.Mul(opmask.RGB)), changed, real, regions)
    assert masks["r_mul"][0, 0, 0, 0] == pytest.approx(0.8, abs=1e-3)


# --- what the pixels leave open ---


def test_an_unchanged_region_gets_the_identity():
    real = photo()
    masks = fit_masks(opmask.lab_retoucher(), real, real, halves(real))
    for name, mask_range in opmask.lab_retoucher().ranges.items():
        torch.testing.assert_close(
            masks[name], torch.full((1, 1, 20, 24), mask_range.identity), rtol=0, atol=1e-3
        )


@pytest.mark.parametrize("area", [1, 9])
def test_a_region_of_one_colour_gets_the_smallest_change(area):
    changed = torch.full((1, 3, 1, area), 0.5)
    real = torch.full((1, 3, 1, area), 0.6)
    masks = fit_masks(RGB_AFFINE, changed, real, torch.ones(1, 1, area, dtype=torch.long))
    # The nearest point to (1, 0) on the line 0.5 m + a = 0.6.
    assert masks["r_mul"][0, 0, 0, 0] == pytest.approx(1 + 0.1 * 0.5 / 1.25, abs=1e-3)
    assert masks["r_add"][0, 0, 0, 0] == pytest.approx(0.1 / 1.25, abs=1e-3)
    assert left(RGB_AFFINE, changed, real, masks) < 1e-6


@pytest.mark.parametrize("high", [2.0, float("inf")])
def test_distances_from_the_identity_count_in_halves_of_the_range_or_in_units(high):
    mul = opmask.Mul(opmask.RGB, range=opmask.MaskRange(1.0, low=0.0, high=high))
    add = opmask.Add(opmask.RGB, range=opmask.MaskRange(0.0, low=-0.5, high=0.5))
    retoucher = opmask.Retoucher(mul, add)
    changed, real = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.6)
    masks = fit_masks(retoucher, changed, real, torch.ones(1, 1, 1, dtype=torch.long))
    assert masks["r_mul"].item() == pytest.approx(1 + 0.1 * 0.5 / 0.5, abs=1e-3)
    assert masks["r_add"].item() == pytest.approx(0.1 * 0.25 / 0.5, abs=1e-3)


def test_a_black_region_keeps_its_factors():
    changed = torch.zeros(1, 3, 4, 4)
    masks = fit_masks(RGB_AFFINE, changed, changed + 0.2, torch.ones(1, 4, 4, dtype=torch.long))
    assert masks["g_mul"].eq(1).all()
    torch.testing.assert_close(masks["g_add"], torch.full((1, 1, 4, 4), 0.2), rtol=0, atol=1e-4)


def test_no_region_gives_the_identity():
    image = photo(2)
    masks = fit_masks(RGB_AFFINE, image, 1 - image, torch.zeros(2, 20, 24, dtype=torch.long))
    assert masks["r_mul"].eq(1).all()
    assert masks["r_add"].eq(0).all()
    assert masks["b_add"].shape == (2, 1, 20, 24)


# --- ranges ---


def test_constants_stay_in_their_range_and_the_others_make_up_for_it():
    changed = photo().double()
    real = 3 * changed - 0.9  # a factor of 2 is the largest
    regions = torch.ones(1, 20, 24, dtype=torch.long)
    masks = fit_masks(RGB_AFFINE, changed, real, regions, pixels=10**6)
    assert masks["r_mul"].max() == 2
    shift = (real - 2 * changed)[0, 0].mean()
    assert masks["r_add"][0, 0, 0, 0] == pytest.approx(float(shift), abs=1e-3)


def test_ranges_without_an_end_are_not_clamped():
    retoucher = opmask.Retoucher(opmask.Mul(opmask.RGB, range=opmask.MaskRange(1.0, low=0.0)))
    changed = photo() / 10
    regions = torch.ones(1, 20, 24, dtype=torch.long)
    masks = fit_masks(retoucher, changed, changed * 9, regions)
    assert masks["b_mul"][0, 0, 0, 0] == pytest.approx(9, abs=0.05)
    assert fit_masks(retoucher, changed, -changed, regions)["b_mul"].eq(0).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_step_within_bounds_is_the_best_of_a_grid(seed):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    hessian = root @ root.T + 0.1 * torch.eye(2)
    gradient = 2 * torch.randn(2, generator=generator, dtype=torch.float64)
    one = torch.ones(2, dtype=torch.float64)
    found = solve_bounded(
        hessian[None], gradient[None], 0 * one[None], MaskBounds(0 * one, -one, one)
    )[0]

    def value(x):
        return ((x @ hessian) * x).sum(-1) / 2 + x @ gradient

    axis = torch.linspace(-1, 1, 41, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    assert found.abs().max() <= 1
    clamped = torch.linalg.solve(hessian, -gradient).clamp(-1, 1)
    assert value(found) <= value(clamped) + 1e-12
    assert value(found) <= value(grid).min() + 0.6 * (value(clamped) - value(grid).min()) + 1e-9


def test_what_is_furthest_beyond_its_range_is_bounded_first():
    hessian = torch.tensor([[[1.0, -15.0], [-15.0, 300.0]]])
    gradient = -(hessian @ torch.tensor([12.0, 0.3]))
    high = torch.tensor([10.0, 0.1])
    # By halves of the range, the first is 0.2 beyond and the second 2; then the first is not.
    found = solve_bounded(hessian, gradient, torch.zeros(1, 2), MaskBounds(0 * high, -high, high))
    torch.testing.assert_close(found, torch.tensor([[9.0, 0.1]]), rtol=1e-4, atol=0)


# --- regions ---


def test_the_same_number_in_two_images_is_two_regions():
    changed = photo(2)
    real = changed + torch.tensor([0.1, -0.1]).view(2, 1, 1, 1)
    regions = torch.full((2, 20, 24), 65535)
    masks = fit_masks(opmask.Retoucher(opmask.Add(opmask.RGB)), changed, real, regions)
    assert masks["r_add"].mean((1, 2, 3)).tolist() == pytest.approx([0.1, -0.1], abs=1e-3)


def test_an_image_is_fitted_as_it_would_be_alone():
    changed, real = photo(3), photo(3)
    regions = halves(changed).to(torch.uint8)
    together = fit_masks(opmask.lab_retoucher(), changed, real, regions)
    alone = fit_masks(opmask.lab_retoucher(), changed[1:2], real[1:2], regions[1:2])
    for name, mask in alone.items():
        torch.testing.assert_close(together[name][1:2], mask, rtol=0, atol=1e-3)


def test_small_regions_beside_large_ones_are_fitted_to_their_own_pixels():
    changed = photo()
    regions = torch.ones(1, 20, 24, dtype=torch.long)
    regions[0, 4, 5:7] = 2
    real = torch.where(regions[:, None] == 2, changed + 0.2, changed - 0.1)
    masks = fit_masks(opmask.Retoucher(opmask.Add(opmask.RGB)), changed, real, regions)
    assert masks["g_add"][0, 0, 4, 5:7].tolist() == pytest.approx([0.2] * 2, abs=5e-5)
    assert masks["g_add"][0, 0, 4, 7] == pytest.approx(-0.1, abs=1e-4)


def test_pixels_are_spread_over_the_whole_region():
    changed = photo(1, 40, 40)
    ramp = torch.linspace(-0.2, 0.2, 40).view(1, 1, 40, 1).expand(1, 1, 40, 40)
    retoucher = opmask.Retoucher(opmask.Add(opmask.RGB))
    regions = torch.ones(1, 40, 40, dtype=torch.long)
    masks = fit_masks(retoucher, changed, changed + ramp, regions, pixels=7)
    assert masks["r_add"][0, 0, 0, 0] == pytest.approx(0, abs=0.01)
    one = fit_masks(retoucher, changed, changed + ramp, regions, pixels=1)
    assert one["r_add"][0, 0, 0, 0] == pytest.approx(float(ramp[0, 0, 20, 0]), abs=1e-4)


def test_fitting_needs_no_gradients_and_changes_no_input():
    changed, real = photo(), photo()
    before = changed.clone(), real.clone()
    with torch.no_grad():
        masks = fit_masks(opmask.lab_retoucher(), changed, real, halves(changed))
    assert not any(mask.requires_grad for mask in masks.values())
    assert torch.equal(changed, before[0])
    assert torch.equal(real, before[1])


def test_fitting_works_in_inference_mode():
    changed, real = photo(), photo()
    for regions in (halves(changed), None):
        expected = fit_masks(RGB_AFFINE, changed, real, regions)
        with torch.inference_mode():
            masks = fit_masks(
                RGB_AFFINE, changed + 0, real + 0, None if regions is None else regions + 0
            )
        for key in masks:
            torch.testing.assert_close(masks[key], expected[key])


def test_the_default_type_does_not_matter():
    changed, real = photo(), photo()
    torch.set_default_dtype(torch.float64)
    try:
        masks = fit_masks(RGB_AFFINE, changed, real)
    finally:
        torch.set_default_dtype(torch.float32)
    assert masks["r_mul"].dtype == torch.float32


def test_half_precision_is_fitted_in_single():
    changed, real = photo().half(), photo().half()
    masks = fit_masks(opmask.lab_retoucher(), changed, real, halves(changed))
    assert masks["l_mul"].dtype == torch.float32


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"composite": torch.zeros(1, 3, 2, 2, dtype=torch.uint8)}, TypeError,
         r"'composite' must be floating point in \[0, 1\], got torch.uint8. Divide"),
        ({"real": torch.zeros(1, 3, 2, 2, dtype=torch.uint8)}, TypeError,
         r"'real' must be floating point in \[0, 1\], got torch.uint8"),
        ({"composite": torch.zeros(3, 2, 2)}, ValueError,
         r"'composite' must have shape \(B, 3, H, W\), got \(3, 2, 2\)"),
        ({"composite": torch.zeros(1, 1, 2, 2)}, ValueError,
         r"'composite' must have shape \(B, 3, H, W\), got \(1, 1, 2, 2\)"),
        ({"composite": torch.zeros(0, 3, 2, 2)}, ValueError,
         r"'composite' must hold at least one image, got \(0, 3, 2, 2\)"),
        ({"composite": np.zeros((1, 3, 2, 2))}, TypeError,
         "'composite' must be a tensor, got ndarray"),
        ({"composite": torch.full((1, 3, 2, 2), torch.nan)}, ValueError,
         "'composite' must be finite, got infinity or what is no number"),
        ({"real": torch.full((1, 3, 2, 2), torch.inf)}, ValueError, "'real' must be finite"),
        ({"real": torch.zeros(1, 3, 2, 3)}, ValueError,
         r"'real' must have the shape and device of 'composite', \(1, 3, 2, 2\) on cpu, got "
         r"\(1, 3, 2, 3\)"),
        ({"regions": torch.zeros(1, 2, 2)}, TypeError,
         r"'regions' must be a tensor of integers, got torch\.float32"),
        ({"regions": [[[1, 1], [1, 1]]]}, TypeError, "tensor of integers, got list"),
        ({"regions": torch.zeros(2, 2).long()}, ValueError,
         r"'regions' must have shape \(1, 2, 2\) to fit the images, on cpu, got \(2, 2\)"),
        ({"regions": torch.full((1, 2, 2), -1)}, ValueError,
         "'regions' must be in 0-65535, got -1 to -1"),
        ({"regions": torch.full((1, 2, 2), 70000)}, ValueError, "0-65535, got 70000 to 70000"),
        ({"pixels": 0}, ValueError, "'pixels' must be at least 1, got 0"),
        ({"smoothness": -1.0}, ValueError, "'smoothness' must be finite and at least 0, got -1"),
        ({"mask_size": 0}, ValueError, "'mask_size' must be at least 1, got 0"),
        ({"retoucher": Exposure()}, TypeError,
         r"'retoucher' must be an opmask\.Retoucher, got Exposure\. Put operators into one"),
    ],
)  # fmt: skip
def test_input_that_does_not_fit_is_refused(change, kind, message):
    image = torch.zeros(1, 3, 2, 2)
    good = {"composite": image, "real": image, "regions": torch.zeros(1, 2, 2).long()}
    with pytest.raises(kind, match=message):
        fit_masks(**{"retoucher": RGB_AFFINE, **good, **change})


# --- records ---


def test_a_record_fits_its_own_regions():
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    label_map = halves(image[None])[0]
    applied = PerturbationRecord(0, (RegionChange(3, (Filter("brightness", 0.8),)),))
    sample = composite(image, label_map, applied)
    masks = fit_record(applied, opmask.Retoucher(opmask.Mul(opmask.RGB)), *sample[:2], label_map)
    assert masks["r_mul"].shape == (1, 24, 24)
    assert masks["r_mul"][0][label_map == 3].mean() == pytest.approx(1.25, abs=5e-3)
    assert masks["r_mul"][0][label_map != 3].eq(1).all()


def test_a_record_fits_resized_images():
    image = torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8)
    label_map = torch.arange(40)[:, None].expand(40, 30) // 10
    applied = draw(label_map, 1, DEFAULT)
    sample = composite(image, label_map, applied, size=16)
    masks = fit_record(applied, opmask.lab_retoucher(), sample.composite, sample.real, label_map)
    changed = torch.stack(list(masks.values())) != torch.tensor([1.0, 1, 1, 0, 0, 0]).view(
        6, 1, 1, 1
    )
    assert masks["l_mul"].shape == (1, 16, 16)
    assert torch.equal(changed.any(0).float(), sample.region)


@pytest.mark.gpu
def test_masks_are_fitted_on_the_device_of_the_images():
    changed = photo(2)
    real, regions = related(changed), halves(changed)
    masks = fit_masks(opmask.lab_retoucher(), changed, real, regions)
    on_gpu = fit_masks(opmask.lab_retoucher().cuda(), changed.cuda(), real.cuda(), regions.cuda())
    for name, mask in masks.items():
        torch.testing.assert_close(on_gpu[name].cpu(), mask, rtol=0, atol=1e-2)


# --- real photographs ---


@pytest.fixture(scope="module")
def samples(data_root):
    """Composites of photographs, 24 of scenes and 3 of ADE20K, at half of their size."""
    drawn = []
    for root in ("scenes", "ade150_sample"):
        photos = ADE20K(data_root / root, "validation")
        for index in range(min(24, len(photos))):
            image, label_map, _ = photos[index]
            image, label_map = image[:, ::2, ::2], label_map[::2, ::2]
            applied = draw(label_map, sample_seed(0, 0, index), DEFAULT)
            drawn.append((composite(image, label_map, applied), label_map))
    return drawn


@pytest.mark.parametrize(
    ("retoucher", "most"), [(opmask.lab_retoucher(), 0.15), (opmask.hls_retoucher(), 0.22)]
)
def test_little_is_left_of_the_error_on_real_photographs(samples, retoucher, most):
    shares = []
    for sample, label_map in samples:
        masks = fit_record(sample.applied, retoucher, sample.composite, sample.real, label_map)
        batched = {name: mask[None] for name, mask in masks.items()}
        shares.append(left(retoucher, sample.composite[None], sample.real[None], batched))
    print(f"left of the MSE: mean {mean(shares):.3f}, most {max(shares):.3f}")
    assert mean(shares) < most
    assert max(shares) < 1


def test_no_more_than_linear_regression_in_lab_is_left(samples):
    retoucher = opmask.lab_retoucher()
    for sample, label_map in samples[:8]:
        changed, real = sample.composite[None].double(), sample.real[None].double()
        regions = sample.applied.region_map(label_map)[None]
        masks = fit_masks(retoucher, changed, real, regions)
        by_regression = regression_in_lab(changed, real, regions)
        fitted = left(retoucher, changed, real, masks)
        assert fitted < 1.02 * left(retoucher, changed, real, by_regression) + 1e-4


def regression_in_lab(changed, real, regions):
    """A line for each channel of LAB and each region, by NumPy, clipped to the ranges."""
    x, y = opmask.LAB.from_rgb(changed), opmask.LAB.from_rgb(real)
    values = {}
    for label in regions.unique().tolist():
        inside = regions[0] == label
        for c, channel in enumerate("lab"):
            slope, shift = np.polyfit(x[0, c][inside].numpy(), y[0, c][inside].numpy(), 1)
            line = {f"{channel}_mul": min(max(slope, 0), 2), f"{channel}_add": shift}
            values.setdefault(label, {}).update(line if label else {})
    values.pop(0, None)
    return constants(opmask.lab_retoucher(), regions, values)


def test_regions_of_sixteen_bits_are_taken():
    composite, real = torch.rand(2, 1, 3, 6, 6)
    regions = torch.ones(1, 6, 6, dtype=torch.uint16)
    found, wanted = (
        fit_masks(opmask.Retoucher(opmask.Mul(opmask.RGB)), composite, real, numbers)
        for numbers in (regions, regions.long())
    )
    assert all(torch.equal(found[name], wanted[name]) for name in found)
