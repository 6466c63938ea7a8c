import numpy as np
import pytest
import torch

from opmask.operators import CDL, ColorCurve, LiftGammaGain, ToneCurve

RAMP = torch.linspace(0, 1, 101).view(1, 1, 1, -1).expand(1, 3, 1, -1)


def masks(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


def test_the_curve_is_numpys_interpolation_between_its_knots():
    stops = np.array([1.0, -2.0, 0.5, -1.0])
    heights = np.concatenate([[0], np.cumsum(2**stops) / 4])
    expected = np.interp(RAMP[0, 0, 0].numpy(), np.linspace(0, 1, 5), heights)
    found = ToneCurve(knots=4)(RAMP, masks(*stops))[0, 0, 0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_the_curve_always_rises_also_out_of_range():
    image = torch.linspace(-1, 2, 301).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    for _ in range(5):
        output = ToneCurve()(image, torch.rand(1, 8, 1, 1) * 4 - 2)
        assert (output.diff(dim=-1) > 0).all()


def test_a_curve_for_each_channel_is_three_curves():
    drawn = torch.rand(1, 12, 1, 1) * 4 - 2
    output = ColorCurve(knots=4)(RAMP, drawn)
    for c in range(3):
        alone = ToneCurve(knots=4)(RAMP, drawn[:, 4 * c : 4 * c + 4])
        torch.testing.assert_close(output[:, c], alone[:, c])


@pytest.mark.parametrize("kind", [ToneCurve, ColorCurve])
def test_there_are_at_least_two_knots(kind):
    with pytest.raises(ValueError, match="'knots' must be at least 2, got 1"):
        kind(knots=1)


def test_the_decision_list_is_that_of_the_standard():
    """ASC CDL 1.2: clamp(in * slope + offset) ** power, then saturation about Rec. 709 luma."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0.1, 0.9, (3, 50))
    slope, offset = rng.uniform(0.5, 1.5, (3, 1)), rng.uniform(0, 0.2, (3, 1))
    exponent, saturation = rng.uniform(0.5, 2, (3, 1)), 1.3
    graded = np.clip(image * slope + offset, 0, None) ** exponent
    luma = np.array([0.2126, 0.7152, 0.0722]) @ graded
    numbers = [*slope.flat, *offset.flat, *exponent.flat, saturation]
    found = CDL()(torch.from_numpy(image).float().view(1, 3, 1, -1), masks(*numbers))
    expected = luma + saturation * (graded - luma)
    np.testing.assert_allclose(found[0, :, 0].numpy(), expected, atol=1e-5)


def test_lift_leaves_white_and_gain_leaves_black():
    ends = RAMP[..., [0, -1]]
    lifted = LiftGammaGain()(ends, masks(0.2, 0.2, 0.2, 0, 0, 0, 1, 1, 1))
    gained = LiftGammaGain()(ends, masks(0, 0, 0, 0, 0, 0, 0.5, 0.5, 0.5))
    torch.testing.assert_close(lifted[0, 0, 0], torch.tensor([0.2, 1.0]))
    torch.testing.assert_close(gained[0, 0, 0], torch.tensor([0.0, 0.5]))
