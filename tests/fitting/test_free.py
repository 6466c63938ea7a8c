import pytest
import torch
import torch.nn.functional as F

import opmask
from opmask.datasets import ADE20K
from opmask.fitting import fit_masks, free
from opmask.operators import Exposure, Relight, Saturation
from opmask.perturb import DEFAULT, Filter, GaussianBlur, composite, draw, sample_seed

PRESETS = {
    "lab": opmask.lab_retoucher,
    "hls": opmask.hls_retoucher,
    "photo": opmask.photo_retoucher,
}


class Sharpen(opmask.Operator):
    """Looks at neighbours: adds what a blur takes away."""

    space = opmask.RGB
    ranges = {"sharpen": opmask.MaskRange(identity=0.0, low=-1.0, high=4.0)}

    def forward(self, image, mask):
        blurred = F.avg_pool2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), 5, 1)
        return image + mask * (image - blurred)


def photo(batch=1, height=24, width=32):
    """Soft blobs of colour, with some grain."""
    blobs = F.interpolate(torch.rand(batch, 3, 4, 5), (height, width), mode="bicubic")
    return (blobs.clamp(0, 1) * 0.6 + 0.2) + 0.03 * torch.rand(batch, 3, height, width)


def psnr(output, real):
    return -10 * (output - real).square().mean().log10().item()


def changed_by(retoucher, image, values):
    """What constants make of an image."""
    masks = {
        name: image.new_full((1, 1, 1, 1), values.get(name, r.identity))
        for name, r in retoucher.ranges.items()
    }
    return retoucher(image, masks)


def everywhere(image):
    return torch.ones_like(image[:, 0], dtype=torch.long)


# --- what is found ---


def test_free_masks_have_the_names_shapes_and_ranges_of_masks():
    changed = photo(2)
    retoucher = opmask.lab_retoucher()
    masks = fit_masks(retoucher, changed, 1 - changed)
    assert list(masks) == list(retoucher.ranges)
    for name, mask in masks.items():
        assert (mask.shape, mask.dtype) == ((2, 1, 24, 32), torch.float32)
        assert (
            retoucher.ranges[name].low <= mask.min() <= mask.max() <= retoucher.ranges[name].high
        )


VALUES = {
    "lab": {"l_mul": 0.8, "a_mul": 1.3, "b_add": 0.04},
    "hls": {"l_mul": 0.9, "s_mul": 0.8, "h_add": 0.05},
    "photo": {"exposure": -0.4, "temperature": 0.2, "saturation": 0.8},
}


@pytest.mark.parametrize("name", PRESETS)
def test_where_the_truth_is_constant_little_is_lost_against_constants(name):
    retoucher, changed = PRESETS[name](), photo()
    real = changed_by(retoucher, changed, VALUES[name])
    masks = fit_masks(retoucher, changed, real)
    assert psnr(retoucher(changed, masks), real) > min(50.0, psnr(changed, real) + 20)


@pytest.mark.parametrize("name", PRESETS)
def test_where_the_truth_differs_from_place_to_place_free_masks_are_far_better(name):
    retoucher, changed = PRESETS[name](), photo()
    left = torch.arange(32) < 16
    real = torch.where(left, changed_by(retoucher, changed, VALUES[name]), changed)
    constants = fit_masks(retoucher, changed, real, everywhere(changed))
    masks = fit_masks(retoucher, changed, real)
    assert psnr(retoucher(changed, masks), real) > psnr(retoucher(changed, constants), real) + 10


def test_where_nothing_was_done_masks_stay_at_the_identity():
    retoucher, real = opmask.photo_retoucher(), photo()
    left = torch.arange(32) < 12
    changed = torch.where(left, changed_by(retoucher, real, {"exposure": 0.5}), real)
    masks = fit_masks(retoucher, changed, real)
    exposure = masks["exposure"][0, 0]
    assert exposure[:, :10].mean() < -0.3
    assert exposure[:, 16:].abs().mean() < 0.02


def test_an_image_that_was_not_changed_gets_the_identity():
    retoucher, image = opmask.lab_retoucher(), photo()
    masks = fit_masks(retoucher, image, image.clone())
    for name, expected in retoucher.identity(image).items():
        torch.testing.assert_close(masks[name], expected, rtol=0, atol=1e-3)


def test_operators_that_look_at_neighbours_are_fitted():
    retoucher, blurred = opmask.Retoucher(Sharpen(), Exposure()), photo()
    real = changed_by(retoucher, blurred, {"sharpen": 1.5, "exposure": 0.3})
    masks = fit_masks(retoucher, blurred, real)
    assert psnr(retoucher(blurred, masks), real) > psnr(blurred, real) + 15
    assert masks["sharpen"].mean() > 0.7


def minimum(retoucher, changed, real, masks):
    """What is minimised, at masks and after many steps of a slow solver from there."""
    ranges = retoucher.ranges.values()
    ends = (torch.tensor([getattr(r, n) for r in ranges]) for n in ("identity", "low", "high"))
    bounds = free.MaskBounds(*ends)
    problem = free.FreeProblem(retoucher, changed, real, bounds, 0.03, changed.shape[-2:])
    (values,) = (torch.cat([*masks.values()], 1) - bounds.identity[:, None, None]) / bounds.scale[
        :, None, None
    ]
    values.requires_grad_()
    solver = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")

    def cost():
        solver.zero_grad()
        total = problem.error(values).sum() + problem.penalty(values)
        total.backward()
        return total

    return cost().item(), (solver.step(cost), cost().item())[1]


def test_masks_that_act_on_neighbours_are_found_to_two_percent_of_what_is_minimised():
    retoucher, real = opmask.Retoucher(Relight(softness=0.1)), photo(1, 48, 64)
    light = torch.zeros(1, 1, 48, 64)
    light[..., 10:30, 20:44] = -1.0
    changed = retoucher(real, {"relight": light})
    found, least = minimum(retoucher, changed, real, fit_masks(retoucher, changed, real))
    assert found < 1.02 * least


def test_gates_are_fitted():
    retoucher, image = opmask.Retoucher(opmask.Gated(opmask.Add(opmask.LAB, "l"))), photo()
    real = torch.where(torch.arange(32) < 16, (image + 0.1).clamp(0, 1), image)
    masks = fit_masks(retoucher, image, real)
    assert psnr(retoucher(image, masks), real) > psnr(image, real) + 10


# --- smoothness, size ---


def test_smoother_masks_vary_less_and_fit_less():
    retoucher, changed = opmask.lab_retoucher(), photo()
    real = photo()
    found = [fit_masks(retoucher, changed, real, smoothness=s) for s in (0.001, 0.03, 1.0)]
    rough = [float(opmask.losses.mask_total_variation(masks)) for masks in found]
    fits = [psnr(retoucher(changed, masks), real) for masks in found]
    assert rough == sorted(rough, reverse=True)
    assert fits == sorted(fits, reverse=True)


def test_masks_of_a_lower_resolution_are_enlarged_linearly():
    retoucher, changed = opmask.Retoucher(Exposure(), Saturation()), photo()
    real = (changed * torch.linspace(0.7, 1.0, 32)).clamp(0, 1)
    masks = fit_masks(retoucher, changed, real, mask_size=4)
    assert masks["exposure"].shape == (1, 1, 24, 32)
    small = masks["exposure"][..., 4::8, 4::8] + masks["exposure"][..., 3::8, 3::8]
    assert len(small.unique()) <= 12
    assert psnr(retoucher(changed, masks), real) > psnr(changed, real) + 8


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (40, 1), (3, 50)])
def test_images_of_any_shape_are_fitted(shape):
    changed = torch.rand(1, 3, *shape) * 0.5 + 0.25
    real = changed * 0.8
    masks = fit_masks(opmask.lab_retoucher(), changed, real)
    assert masks["l_mul"].shape == (1, 1, *shape)
    assert psnr(opmask.lab_retoucher()(changed, masks), real) > psnr(changed, real) + 5


def test_sizes_double_up_to_that_of_the_image():
    assert free.mask_sizes(48, 64, None) == [(6, 8), (12, 16), (24, 32), (48, 64)]
    assert free.mask_sizes(48, 64, 20) == [(4, 5), (8, 10), (15, 20)]
    assert free.mask_sizes(3, 3, None) == [(3, 3)]


# --- the solver ---


def test_the_divergence_is_the_transpose_of_the_variation():
    values, jumps = torch.rand(2, 5, 7), torch.rand(4, 5, 7)
    across = (free.variation(values) * jumps).sum()
    torch.testing.assert_close(across, (values * free.divergence(jumps)).sum())


def test_the_stiffness_is_the_diagonal_of_the_quadratic_form():
    weight = torch.rand(3, 4)
    points = torch.eye(12).view(12, 1, 3, 4)
    form = [(p * free.divergence(weight * free.variation(p))).sum() for p in points]
    torch.testing.assert_close(free.stiffness(weight).flatten(), torch.stack(form))


def test_gathering_is_the_transpose_of_enlarging():
    retoucher, image = opmask.lab_retoucher(), photo()
    bounds = free.MaskBounds(*(torch.zeros(6) for _ in range(3)))
    problem = free.FreeProblem(retoucher, image, image, bounds, 0.1, (5, 7))
    small, planes = torch.rand(6, 5, 7), torch.rand(6, 24, 32)
    torch.testing.assert_close(
        (problem.enlarge(small) * planes).sum(), (small * problem.gather(planes)).sum()
    )
    expected = F.interpolate(small[None], (24, 32), mode="bilinear")[0]
    torch.testing.assert_close(problem.enlarge(small), expected)


def test_the_gradient_is_that_of_what_is_minimised():
    retoucher, image = opmask.lab_retoucher(), photo().double()
    r = retoucher.ranges.values()
    ends = [
        torch.tensor([getattr(one, key) for one in r]).double()
        for key in ("identity", "low", "high")
    ]
    problem = free.FreeProblem(
        retoucher, image, image.flip(-1), free.MaskBounds(*ends), 0.1, (6, 8)
    )
    values = (0.2 * torch.rand(6, 6, 8).double() - 0.1).requires_grad_()
    (expected,) = torch.autograd.grad(problem.error(values).sum() / 2, values)
    torch.testing.assert_close(problem.linearise(values.detach()).gradient, expected)


# --- repeated, alone, in other types ---


def test_an_image_gets_the_same_masks_alone_and_in_a_batch():
    changed, real = photo(3), photo(3)
    together = fit_masks(opmask.photo_retoucher(), changed, real)
    alone = fit_masks(opmask.photo_retoucher(), changed[1:2], real[1:2])
    for name, mask in alone.items():
        torch.testing.assert_close(together[name][1:2], mask, rtol=0, atol=1e-5)


def test_a_fit_is_repeated_to_the_last_bit():
    changed, real = photo(), photo()
    first, second = (fit_masks(opmask.hls_retoucher(), changed, real) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_half_precision_is_fitted_in_float32_and_float64_stays():
    changed = photo()
    for dtype, expected in ((torch.float16, torch.float32), (torch.float64, torch.float64)):
        masks = fit_masks(opmask.lab_retoucher(), changed.to(dtype), (changed * 0.9).to(dtype))
        assert {mask.dtype for mask in masks.values()} == {expected}


def test_no_gradient_is_left_behind():
    changed = photo().requires_grad_()
    masks = fit_masks(opmask.lab_retoucher(), changed, changed * 0.9)
    assert not any(mask.requires_grad for mask in masks.values())


@pytest.mark.gpu
def test_free_masks_are_fitted_on_the_device_of_the_images():
    changed, real = photo(), photo()
    masks = fit_masks(opmask.lab_retoucher().cuda(), changed.cuda(), real.cuda())
    result = opmask.lab_retoucher()(changed, {name: mask.cpu() for name, mask in masks.items()})
    expected = fit_masks(opmask.lab_retoucher(), changed, real)
    assert psnr(result, real) > psnr(opmask.lab_retoucher()(changed, expected), real) - 0.5


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smoothness": -0.1}, "'smoothness' must be finite and at least 0, got -0.1"),
        ({"smoothness": float("nan")}, "'smoothness' must be finite and at least 0, got nan"),
        ({"mask_size": 0}, "'mask_size' must be at least 1, got 0"),
        ({"pixels": 0}, "'pixels' must be at least 1, got 0"),
    ],
)
def test_settings_out_of_bounds_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fit_masks(opmask.lab_retoucher(), photo(), photo(), **change)


# --- real photographs ---


@pytest.fixture(scope="module")
def pieces(data_root):
    """A few photographs with their label maps, 96 pixels wide."""
    photos = ADE20K(data_root / "scenes", "validation")
    cut = [(slice(None, 192, 2), slice(None, 192, 2))] * 2
    return [(photos[i].image[:, h, w], photos[i].label_map[h, w]) for i, (h, w) in enumerate(cut)]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("change", [Filter("xpro2"), Filter("1977"), GaussianBlur()])
def test_filters_are_undone_better_by_free_masks_than_by_constants(pieces, name, change):
    retoucher, image = PRESETS[name](), pieces[0][0]
    changed, real = change(image)[None] / 255, image[None] / 255
    constants = fit_masks(retoucher, changed, real, everywhere(changed), pixels=1024)
    masks = fit_masks(retoucher, changed, real)
    assert psnr(retoucher(changed, masks), real) > psnr(retoucher(changed, constants), real) + 3


@pytest.mark.parametrize("name", PRESETS)
def test_regions_are_found_without_being_told(pieces, name):
    retoucher = PRESETS[name]()
    for index, (image, label_map) in enumerate(pieces):
        applied = draw(label_map, sample_seed(0, 0, index), DEFAULT)
        sample = composite(image, label_map, applied)
        changed, real = sample.composite[None], sample.real[None]
        told = fit_masks(retoucher, changed, real, applied.region_map(label_map)[None])
        masks = fit_masks(retoucher, changed, real)
        by_regions = psnr(retoucher(changed, told), real)
        assert psnr(retoucher(changed, masks), real) > min(by_regions - 1, 40)
