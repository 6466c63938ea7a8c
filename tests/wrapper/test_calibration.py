import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.measure import label

from opmask.wrapper.calibration import FEATHER, Calibration, connected_regions

TRUST = Calibration(0.5, confidence=(0.6, 0.8), strength=(0.2, 1.0))


def gate_of(*blocks, size=(32, 32)):
    """A closed gate but for blocks of (row, column, value), each 9x9."""
    gate = torch.zeros(1, 1, *size)
    for row, column, value in blocks:
        gate[..., row : row + 9, column : column + 9] = value
    return gate


@pytest.mark.parametrize(
    ("confidence", "strength"),
    [(0.55, 0.2), (0.6, 0.2), (0.65, 0.4), (0.7, 0.6), (0.8, 1.0), (0.95, 1.0)],
)
def test_strengths_are_linear_between_knots_and_constant_beyond(confidence, strength):
    strengths = TRUST.strengths(gate_of((10, 10, confidence)))
    torch.testing.assert_close(strengths[0, 0, 14, 14], torch.tensor(strength))


def test_confidence_is_the_mean_gate_over_the_region_alone():
    gate = gate_of((10, 10, 0.6)) + 0.05
    gate[..., 10:19, 10:13] = 0.95  # a third of the region: mean (0.95 + 2 * 0.65) / 3 = 0.75
    torch.testing.assert_close(TRUST.strengths(gate)[0, 0, 14, 14], torch.tensor(0.8))


def test_each_region_has_its_own_strength_also_in_a_batch():
    gate = torch.cat([gate_of((2, 2, 0.7), (20, 20, 0.9)), gate_of((2, 2, 0.9))])
    strengths = TRUST.strengths(gate)[:, 0, [6, 24], [6, 24]]
    torch.testing.assert_close(strengths, torch.tensor([[0.6, 1.0], [1.0, 0.0]]))


def test_regions_that_touch_by_a_corner_are_one():
    apart, touching = gate_of((2, 2, 0.6), (12, 12, 0.8)), gate_of((2, 2, 0.6), (11, 11, 0.8))
    torch.testing.assert_close(TRUST.strengths(apart)[0, 0, 5, 5], torch.tensor(0.2))
    torch.testing.assert_close(TRUST.strengths(touching)[0, 0, 5, 5], torch.tensor(0.6))


def test_a_pixel_at_the_threshold_is_outside():
    assert not TRUST.strengths(torch.full((1, 1, 16, 16), 0.5)).any()
    assert TRUST.strengths(torch.full((1, 1, 16, 16), 0.51)).all()


def test_a_gate_that_is_open_everywhere_has_one_strength_up_to_the_edge():
    strengths = TRUST.strengths(torch.full((2, 1, 16, 20), 0.7))
    torch.testing.assert_close(strengths, torch.full((2, 1, 16, 20), 0.6))


def test_borders_are_a_ramp_as_wide_as_the_feather():
    gate = torch.zeros(1, 1, 16, 32)
    gate[..., :16] = 0.9
    ramp = TRUST.strengths(gate)[0, 0, 8, 12:20]
    torch.testing.assert_close(ramp, torch.tensor([1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0]))
    assert FEATHER == 5


def test_feathering_is_the_mean_of_a_square_within_the_picture():
    gate = (torch.rand(1, 1, 20, 24) > 0.6).float()
    inside = F.pad(torch.ones(1, 1, 20, 24), (2, 2, 2, 2))
    padded, kernel = F.pad(gate, (2, 2, 2, 2)), torch.ones(1, 1, 5, 5)
    expected = F.conv2d(padded, kernel) / F.conv2d(inside, kernel)
    torch.testing.assert_close(TRUST.strengths(gate), expected)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.35, 0.41, 0.6, 0.9])
def test_components_are_those_of_scikit_image(share):
    found = np.random.default_rng(0).random((3, 1, 61, 83)) < share
    labels = connected_regions(torch.from_numpy(found)).numpy()
    for ours, area in zip(labels[:, 0], found[:, 0], strict=True):
        theirs = label(area, connectivity=2)
        pairs = np.unique(np.stack([ours.ravel(), theirs.ravel()]), axis=1)
        assert pairs.shape[1] == theirs.max() + 1 == len(np.unique(ours))
        assert ((ours == 0) == (theirs == 0)).all()


def test_a_long_winding_region_is_one():
    found = torch.zeros(1, 1, 63, 64, dtype=torch.bool)
    found[:, :, ::2] = True
    found[:, :, 1::4, -1] = found[:, :, 3::4, 0] = True
    assert len(connected_regions(found)[found].unique()) == 1


def test_regions_of_different_images_never_join():
    labels = connected_regions(torch.ones(3, 1, 4, 4, dtype=torch.bool))
    assert len(labels.unique()) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_strengths_have_the_type_of_the_gate_and_no_gradient(dtype):
    gate = gate_of((10, 10, 0.9)).to(dtype).requires_grad_()
    strengths = TRUST.strengths(gate)
    assert (strengths.dtype, strengths.requires_grad) == (dtype, False)


def test_one_knot_is_one_strength_for_all():
    strengths = Calibration(0.1, (0.5,), (0.3,)).strengths(gate_of((2, 2, 0.2), (20, 20, 0.9)))
    torch.testing.assert_close(strengths[0, 0, [6, 24], [6, 24]], torch.tensor([0.3, 0.3]))


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 32), (1, 3, 32, 32)])
def test_a_gate_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"'gate' must have shape \(B, 1, H, W\), got"):
        TRUST.strengths(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, (0.5,), (1.0,)), "'threshold' must lie in [0, 1), got 1.0."),
        ((-0.1, (0.5,), (1.0,)), "'threshold' must lie in [0, 1), got -0.1."),
        ((float("nan"), (0.5,), (1.0,)), "'threshold' must lie in [0, 1), got nan."),
        ((0.5, (0.5, 1.1), (0.0, 1.0)), "'confidence' must lie in [0, 1], got (0.5, 1.1)."),
        ((0.5, (-0.1,), (1.0,)), "'confidence' must lie in [0, 1], got (-0.1,)."),
        ((0.5, (0.5,), (1.5,)), "'strength' must lie in [0, 1], got (1.5,)."),
        ((0.5, (0.5,), (float("nan"),)), "'strength' must lie in [0, 1], got (nan,)."),
        ((0.5, (), ()), "'confidence' must hold ascending knots, got ()."),
        ((0.5, (0.5, 0.5), (0.0, 1.0)), "'confidence' must hold ascending knots, got (0.5, 0.5)."),
        ((0.5, (0.6, 0.5), (0.0, 1.0)), "'confidence' must hold ascending knots, got (0.6, 0.5)."),
        ((0.5, (0.5,), (0.0, 1.0)), "'strength' must hold one value for each of the 1 knots of"),
        ((0.5, (0.5,), (1.0,), False, 0.9), "'limit' must be None, or finite and at least 1, got"),
        ((0.5, (0.5,), (1.0,), False, 2, 1.1), "'told' must lie in [0, 1], got 1.1."),
        ((0.5, (0.5,), (1.0,), False, 2, 1.0, -0.1), "'rough' must lie in [0, 1], got -0.1."),
        ((0.5, (0.5,), (1.0,), False, 2, math.nan), "'told' must lie in [0, 1], got nan."),
        ((0.5, (0.5,), (1.0,), False, 2, 1, 1, -1), "'told_error' must be finite and at least 0"),
        ((0.5, (0.5,), (1.0,), False, 2, 1, 1, 0, math.inf), "'rough_error' must be finite and"),
        ((0.5, (0.5,), (1.0,), False, 2, 1, 1, math.nan), "'told_error' must be finite and"),
    ],
)
def test_values_out_of_order_or_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Calibration(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0.3", (0.5,), (1.0,)), "a calibration must hold numbers, got Calibration(threshold="),
        ((0.3, (0.5,), (True,)), "a calibration must hold numbers"),
        ((0.3, (0.5,), (1.0,), False, "2"), "a calibration must hold numbers"),
        ((0.3, (0.5,), (1.0,), False, 2, "1"), "a calibration must hold numbers, got"),
        ((0.3, (0.5,), (1.0,), False, 2, 1, 1, "1"), "a calibration must hold numbers, got"),
        ((0.3, (0.5,), (1.0,), "no"), "'refines' must be True or False, got 'no'."),
        ((0.3, (0.5,), (1.0,), None), "'refines' must be True or False, got None."),
    ],
)
def test_values_of_another_kind_are_refused(arguments, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        Calibration(*arguments)


def test_changes_are_weighed_as_by_a_wiener_filter():
    trust = replace(TRUST, told=0.9, rough=0.5, told_error=6.0, rough_error=12.0)
    change = torch.tensor([0.0, 6.0, 6.0, 24.0, 1e6])
    strengths = trust.told_strengths(change, [False, False, True, True, False])
    torch.testing.assert_close(strengths, torch.tensor([0.0, 0.45, 0.1, 0.4, 0.9]))
    assert trust.told_strengths(torch.tensor([6]), [False]).item() == pytest.approx(0.45)
    sure = replace(trust, told_error=0.0, rough_error=0.0)
    torch.testing.assert_close(
        sure.told_strengths(change[:2], [False, True]), torch.tensor([0.9, 0.5])
    )


def test_the_ends_of_the_ranges_are_allowed():
    assert Calibration(0, (0, 1), (1, 0)).strength == (1, 0)


def test_json_brings_back_the_same_calibration():
    assert Calibration.from_json(TRUST.to_json()) == TRUST
    told = replace(TRUST, told=0.9, rough_error=12.5)
    assert Calibration.from_json(told.to_json()) == told
    assert json.loads(TRUST.to_json())["confidence"] == [0.6, 0.8]


def test_numbers_of_numpy_become_json():
    fitted = Calibration(np.float32(0.5), tuple(np.float32([0.25])), tuple(np.float64([0.75])))
    assert Calibration.from_json(fitted.to_json()) == Calibration(0.5, (0.25,), (0.75,))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"threshold": 0.5, "confidence": [0.5]}',
        '{"threshold": 0.5, "confidence": [0.5], "strength": [1.0], "more": 1}',
        '{"threshold": "0.5", "confidence": [0.5], "strength": [1.0]}',
        '{"threshold": true, "confidence": [0.5], "strength": [1.0]}',
        '{"threshold": 0.5, "confidence": [true], "strength": [1.0]}',
        '{"threshold": 0.5, "confidence": 0.5, "strength": [1.0]}',
        '{"threshold": 0.5, "confidence": [0.5], "strength": [NaN]}',
        '{"threshold": 0.5, "confidence": [0.5], "strength": [2]}',
        '{"threshold": 0.5, "confidence": [0.5], "strength": {"a": 1}}',
    ],
)
def test_json_of_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="the calibration must be as to_json wrote it, got"):
        Calibration.from_json(text)


@pytest.mark.gpu
def test_strengths_on_a_gpu_are_those_on_the_cpu():
    gate = torch.rand(2, 1, 61, 83)
    strengths = Calibration(0.55, (0.6, 0.9), (0.1, 0.8)).strengths
    torch.testing.assert_close(strengths(gate.cuda()).cpu(), strengths(gate))
