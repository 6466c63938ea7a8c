import pytest
import torch

from opmask.metrics import (
    add_mask_iou,
    best_threshold,
    effective_change,
    iou,
    iou_sweep,
    localization_iou,
)
from opmask.metrics.localization import SWEEP


def area(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("region", "predicted", "expected"),
    [
        (area(1, 1, 1, 0, 0), area(0, 1, 1, 1, 0), 2 / 4),
        (area(1, 1, 1, 1, 0), area(0, 0, 0, 1, 0), 1 / 4),
        (area(1, 1, 0), area(0, 0, 1), 0),
        (area(0, 1, 0), area(0, 1, 0), 1),
        (area(0, 0, 0), area(0, 0, 1), 0),
        (area(0, 1, 0), area(0, 0, 0), 0),
        (area(0, 0, 0), area(0, 0, 0), 1),
    ],
)
def test_iou_of_small_areas_is_as_counted_by_hand(region, predicted, expected):
    torch.testing.assert_close(iou(region, predicted), torch.tensor([float(expected)]))


def test_iou_equals_a_plain_loop_for_each_image():
    region, predicted = torch.rand(2, 4, 1, 5, 6)
    for value, r, p in zip(iou(region, predicted), region, predicted, strict=True):
        pairs = [(a > 0.5, b > 0.5) for a, b in zip(r.flatten(), p.flatten(), strict=True)]
        expected = sum(a and b for a, b in pairs) / sum(a or b for a, b in pairs)
        assert value.item() == pytest.approx(float(expected))


def test_soft_areas_are_cut_above_one_half():
    assert iou(area(0.5, 0.51, 1), area(0, 1, 1)).item() == 1
    assert iou(area(0, 1, 1), area(0.5, 0.51, 1)).item() == 1


def test_bool_areas_are_accepted():
    region, predicted = area(1, 1, 0).bool(), area(1, 0, 0).bool()
    torch.testing.assert_close(iou(region, predicted), torch.tensor([0.5]))


def test_the_effective_change_is_that_of_the_largest_channel():
    image = torch.full((1, 3, 1, 2), 0.5)
    change = torch.tensor([[0.1, -0.1], [-0.3, 0.0], [0.2, 0.05]]).reshape(1, 3, 1, 2)
    torch.testing.assert_close(effective_change(image + change, image), area(0.3, 0.1))


def test_the_effective_change_keeps_batch_and_size():
    output, image = torch.rand(2, 2, 3, 5, 4)
    assert effective_change(output, image).shape == (2, 1, 5, 4)


def test_a_pixel_counts_as_changed_above_four_levels():
    levels = torch.tensor([0, 3, 4, 5, 60]).expand(1, 3, 1, 5)
    output = (100 + levels) / 255
    value = localization_iou(output, torch.full_like(output, 100 / 255), area(0, 0, 0, 1, 1))
    assert value.item() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_four_levels_are_no_change_wherever_they_lie(dtype):
    # As floats, some of these differences are above 4/255.
    values = torch.arange(256, dtype=dtype).expand(1, 3, 1, -1) / 255
    output, image, region = values[..., 4:], values[..., :-4], torch.zeros(1, 1, 1, 252)
    assert localization_iou(output, image, region).item() == 1
    assert localization_iou(image, output, region).item() == 1


def test_a_change_just_above_the_threshold_counts():
    image, region = torch.zeros(1, 3, 1, 2), area(1, 0)
    assert localization_iou(image + 0.25001 * region, image, region, threshold=0.25).item() == 1
    assert localization_iou(image + 0.25 * region, image, region, threshold=0.25).item() == 0


def test_changes_in_the_wrong_place_lower_the_score():
    image, region = torch.zeros(2, 3, 1, 4), area(1, 1, 0, 0).expand(2, 1, 1, 4)
    output = image + torch.stack([0.1 * area(1, 1, 0, 0)[0], 0.1 * area(0, 1, 1, 0)[0]])
    torch.testing.assert_close(localization_iou(output, image, region), torch.tensor([1.0, 1 / 3]))


def test_nothing_to_change_and_nothing_changed_is_perfect():
    image = torch.rand(1, 3, 4, 4)
    assert localization_iou(image, image, torch.zeros(1, 1, 4, 4)).item() == 1


def test_areas_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"'region' must have shape \(B, 1, H, W\), got \(3, 4\)"):
        iou(torch.zeros(3, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"'region' must have .* got \(1, 3, 4, 4\)"):
        iou(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"'predicted' must have the shape of 'region'"):
        iou(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))


def test_images_that_do_not_fit_are_refused():
    image = torch.zeros(1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"'image' must have the shape of 'output'"):
        effective_change(image, image[..., :2])
    with pytest.raises(TypeError, match=r"'image' must be .* Divide 8-bit images by 255"):
        effective_change(image, image.byte())
    with pytest.raises(ValueError, match=r"'output' must have shape \(B, 3, H, W\)"):
        effective_change(image[0], image[0])


def test_the_sweep_is_the_score_at_each_threshold():
    output, image = torch.rand(2, 3, 3, 9, 9)
    region = torch.rand(3, 1, 9, 9)
    sweep = iou_sweep(output, image, region)
    assert tuple(sweep) == SWEEP
    for level, values in sweep.items():
        expected = localization_iou(output, image, region, threshold=level / 255)
        torch.testing.assert_close(values, expected, rtol=0, atol=0)


def test_the_sweep_has_the_default_threshold_of_four_levels():
    output, image = torch.rand(2, 1, 3, 9, 9) / 8
    region = torch.rand(1, 1, 9, 9)
    assert 4 in SWEEP
    expected = localization_iou(output, image, region)
    torch.testing.assert_close(iou_sweep(output, image, region)[4], expected)


def test_a_change_of_exactly_the_threshold_does_not_count_in_the_sweep():
    image, region = torch.zeros(1, 3, 1, 2), area(1, 0)
    sweep = iou_sweep(image + 8 / 255 * region, image, region, levels=(7, 8))
    assert {level: value.item() for level, value in sweep.items()} == {7: 1, 8: 0}


def test_the_best_threshold_has_the_highest_mean():
    sweep = {4: torch.tensor([0.9, 0.1]), 1: torch.tensor([0.2, 0.6]), 8: torch.tensor([0.7, 0.5])}
    level, mean = best_threshold(sweep)
    assert (level, mean) == (8, pytest.approx(0.6))


def test_of_equal_thresholds_the_lowest_is_best():
    sweep = {level: torch.tensor([0.5, 0.25]) for level in (4, 2, 8)}
    assert best_threshold(sweep)[0] == 2


def test_add_masks_find_a_pixel_where_any_of_them_acts_with_any_sign():
    region = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]])
    masks = {
        "l_add": torch.tensor([[[[0.2, 0.0, 0.0, 0.0]]]]),
        "b_add": torch.tensor([[[[0.0, -0.2, 0.00009, 0.0]]]]),
        "l_mul": torch.ones(1, 1, 1, 4),
    }
    torch.testing.assert_close(add_mask_iou(masks, region), torch.tensor([2 / 3]))
    torch.testing.assert_close(add_mask_iou(masks, region, 8e-5), torch.tensor([1.0]))
    torch.testing.assert_close(add_mask_iou(masks, 0 * region, 0.5), torch.tensor([1.0]))
    with pytest.raises(KeyError, match=r"name ends in '_add', got \['l_mul'\]"):
        add_mask_iou({"l_mul": region}, region)
