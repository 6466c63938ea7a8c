from dataclasses import replace

import numpy as np
import pytest
import torch

import opmask
from opmask.fitting import fit_masks, solver
from opmask.fitting.solver import MaskBounds, Problem, initial_values, linear_regression, minimise

LAB_LINE = {"mul": (0.8, 1.3, 0.7), "add": (0.1, -0.05, 0.04)}
ONE_REGION = torch.ones(1, 8, 8, dtype=torch.long)


def problem(retoucher, pixels, target):
    ranges = retoucher.ranges.values()
    bounds = MaskBounds(*(pixels.new_tensor([getattr(r, n) for r in ranges]) for n in FIELDS))
    weight = torch.full_like(pixels[:, :1], 1 / pixels.shape[2])
    return Problem(retoucher, pixels, target, weight, bounds)


FIELDS = ("identity", "low", "high")


def colours(regions=4, count=50):
    return (torch.rand(regions, 3, count) * 0.15 + 0.45).double()


def by_line(pixels, noise=0.0):
    """Pixels changed by a line for each channel of LAB, and by noise in RGB."""
    mul, add = (torch.tensor(LAB_LINE[k], dtype=pixels.dtype).view(3, 1, 1) for k in LAB_LINE)
    lab = opmask.LAB.from_rgb(pixels[:, :, None]) * mul + add
    return opmask.LAB.to_rgb(lab)[:, :, 0] + noise * torch.randn_like(pixels)


# --- regression in the colour space ---


def test_regression_is_numpy_s_with_the_slopes_of_the_target():
    x = colours(2)
    y = by_line(x, noise=0.01)
    task = problem(opmask.lab_retoucher(), x, y)
    found = linear_regression(task, task.retoucher.stages[0])[0]
    for region in range(2):
        rows, rest = [], []
        for p in range(x.shape[2]):
            u, v = (opmask.LAB.from_rgb(i[region, :, p, None, None])[:, 0, 0] for i in (x, y))
            to_rgb = lambda lab: opmask.LAB.to_rgb(lab[:, None, None])[:, 0, 0]  # noqa: E731
            slopes = torch.autograd.functional.jacobian(to_rgb, v).numpy()
            rows.append(slopes @ np.hstack([np.diag(u.numpy()), np.eye(3)]))
            rest.append(slopes @ v.numpy())
        expected = np.linalg.lstsq(np.vstack(rows), np.concatenate(rest), rcond=None)[0]
        np.testing.assert_allclose(found[region].numpy(), expected, atol=5e-3)


def test_regression_finds_what_was_done_in_its_space_and_says_so():
    x = colours()
    task = problem(opmask.lab_retoucher(), x, by_line(x))
    found, forecast = linear_regression(task, task.retoucher.stages[0])
    expected = torch.tensor(LAB_LINE["mul"] + LAB_LINE["add"]).double().expand(4, 6)
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)
    away = (expected - task.bounds.identity) / task.bounds.scale
    torch.testing.assert_close(forecast, 1e-6 * away.square().sum(1), rtol=1e-2, atol=0)


def test_regression_forecasts_the_error_that_is_left():
    x = colours(4, 400)
    task = problem(opmask.lab_retoucher(), x, by_line(x, noise=0.01))
    found, forecast = linear_regression(task, task.retoucher.stages[0])
    torch.testing.assert_close(task.error_of(found), forecast, rtol=0.02, atol=0)
    assert forecast.mean() == pytest.approx(3e-4, rel=0.1)


def test_regression_weighs_pixels():
    x = colours(1, 4)
    task = problem(opmask.Retoucher(opmask.Add(opmask.RGB, "r")), x, x.clone())
    task.target[:, 0] += torch.tensor([0.1, 0.2, 0.0, 0.0])
    weight = torch.tensor([[[0.75, 0.25, 0.0, 0.0]]]).double()
    found = linear_regression(replace(task, weight=weight), task.retoucher.stages[0])[0]
    assert found.item() == pytest.approx(0.125, abs=1e-4)


def test_regression_stays_in_the_ranges():
    x = colours() / 2
    task = problem(opmask.Retoucher(opmask.Mul(opmask.RGB)), x, 2.5 * x)
    assert linear_regression(task, task.retoucher.stages[0])[0].eq(2).all()


@pytest.mark.parametrize("space", [opmask.HLS, opmask.HSV])
def test_hues_are_turned_the_shorter_way_round(space):
    half_turn = opmask.MaskRange(0.0, low=-0.5, high=0.5)
    retoucher = opmask.Retoucher(opmask.Add(space, "h", range=half_turn))
    x = torch.tensor([0.8, 0.3, 0.35]).view(1, 3, 1) * torch.linspace(0.5, 1, 9)
    turned = retoucher(x[:, :, None], {"h_add": torch.full((1, 1, 1, 1), 0.1)})[:, :, 0]
    found = linear_regression(problem(retoucher, x, turned), retoucher.stages[0])[0]
    assert found.item() == pytest.approx(0.1, abs=1e-3)


def test_operators_that_are_not_linear_in_their_masks_are_not_forecast():
    retoucher = opmask.Retoucher(opmask.Gated(opmask.Add(opmask.RGB)))
    x = colours()
    task = problem(retoucher, x, x + 0.1)
    assert linear_regression(task, retoucher.stages[0])[1].isinf().all()
    assert not initial_values(task)[2].any()


# --- where steps begin and end ---


def test_what_was_not_changed_is_done_at_the_identity():
    x = colours()
    values, least, done = initial_values(task := problem(opmask.lab_retoucher(), x, x))
    assert torch.equal(values, task.bounds.identity.expand(4, 6))
    assert least.eq(0).all()
    assert done.all()


def test_several_stages_begin_at_the_identity():
    x = colours()
    retoucher = opmask.Retoucher(opmask.Mul(opmask.RGB), opmask.Add(opmask.LAB, "l"))
    values, least, done = initial_values(task := problem(retoucher, x, x * 0.8))
    assert torch.equal(values, task.bounds.identity.expand(4, 4))
    torch.testing.assert_close(least, (0.2 * x).square().mean(2).sum(1))
    assert not done.any()


def test_regression_that_is_worse_than_nothing_is_not_used(monkeypatch):
    x = colours()
    task = problem(opmask.lab_retoucher(), x, x + 0.01)
    far = task.bounds.high.expand(4, 6)
    monkeypatch.setattr(solver, "linear_regression", lambda *_: (far, task.error_of(far)))
    values, _, done = initial_values(task)
    assert torch.equal(values, task.bounds.identity.expand(4, 6))
    assert not done.any()


def test_only_regions_that_are_not_done_are_fitted_on(monkeypatch):
    x = colours()
    y = torch.cat([by_line(x[:2]), torch.rand(2, 3, 50).double().round()])
    seen = []
    slopes = Problem.gradient_and_hessian
    monkeypatch.setattr(
        Problem, "gradient_and_hessian", lambda s, v: seen.append(len(v)) or slopes(s, v)
    )
    found = minimise(problem(opmask.lab_retoucher(), x, y))
    assert seen[0] <= 2
    assert seen == sorted(seen, reverse=True)
    expected = torch.tensor(LAB_LINE["mul"] + LAB_LINE["add"]).double().expand(2, 6)
    torch.testing.assert_close(found[:2], expected, rtol=0, atol=5e-4)


def test_steps_leave_no_more_than_regression():
    x = colours()
    task = problem(opmask.lab_retoucher(), x, torch.rand(4, 3, 50).double())
    begun, fitted = initial_values(task)[0], minimise(task)
    assert (task.error_of(fitted) <= task.error_of(begun)).all()


def test_a_step_forecasts_its_error():
    x = colours()
    task = problem(opmask.Retoucher(opmask.Mul(opmask.RGB)), x, x * 0.9 + 0.02)
    values = task.bounds.identity.repeat(4, 1)
    step, error = solver.levenberg_marquardt_step, task.error_of(values)
    tried, forecast = step(task, values, error, torch.zeros(4).double())
    torch.testing.assert_close(task.error_of(tried), forecast, rtol=1e-4, atol=1e-12)
    short, _ = step(task, values, error, torch.ones(4).double())
    torch.testing.assert_close((short - values) * 2, tried - values, rtol=1e-3, atol=1e-6)


# --- regions that hold little ---


@pytest.mark.parametrize("make", [opmask.lab_retoucher, opmask.hls_retoucher])
@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1, 0, 0)])
def test_regions_of_one_colour_are_moved_towards_the_target(make, colour):
    changed = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 8, 8) * 1.0
    real = torch.tensor([0.5, 0.45, 0.4]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    masks = fit_masks(make(), changed, real, ONE_REGION)
    error = (make()(changed, masks) - real).square().mean()
    assert all(mask.isfinite().all() for mask in masks.values())
    assert error < 0.5 * (changed - real).square().mean()


def test_targets_beyond_white_and_black_are_reached_as_far_as_they_are_seen():
    changed = torch.rand(1, 3, 8, 8) * 0.4 + 0.3
    for real in (torch.zeros_like(changed), torch.ones_like(changed)):
        masks = fit_masks(opmask.lab_retoucher(), changed, real, ONE_REGION)
        assert (opmask.lab_retoucher()(changed, masks) - real).abs().mean() < 0.03


# --- operators that look at more than a pixel ---


class Contrast(opmask.Operator):
    """About the mean of the image."""

    space = opmask.RGB
    ranges = {"contrast": opmask.MaskRange(identity=1.0, low=0.0, high=3.0)}

    def forward(self, image, mask):
        mean = image.mean((2, 3), keepdim=True)
        return mean + mask * (image - mean)


class Corner(opmask.Operator):
    """Stronger to the right."""

    space = opmask.RGB
    ranges = {"corner": opmask.MaskRange(identity=0.0, low=-1.0, high=1.0)}

    def forward(self, image, mask):
        return image + mask * torch.linspace(0, 1, image.shape[-1]).to(image)


@pytest.mark.parametrize(("operator", "value"), [(Contrast(), 0.6), (Corner(), 0.3)])
def test_operators_that_know_the_image_or_the_place_are_fitted(operator, value):
    retoucher = opmask.Retoucher(operator)
    (name,) = retoucher.ranges
    changed = torch.rand(1, 3, 16, 16) * 0.4 + 0.3
    regions = (torch.arange(16) > 9).long().expand(1, 16, 16)
    true = torch.where(regions > 0, value, operator.ranges[name].identity)[:, None]
    masks = fit_masks(retoucher, changed, retoucher(changed, {name: true}), regions)
    torch.testing.assert_close(masks[name], true, rtol=0, atol=1e-3)
