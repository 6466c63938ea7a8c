import pytest
import torch

from opmask.metrics import localization_scores


def average_precision(values, inside):
    """As scikit-learn defines it, with a loop over the thresholds."""
    total, recall = 0.0, 0.0
    for threshold in sorted(set(values), reverse=True):
        found = [i for v, i in zip(values, inside, strict=True) if v >= threshold]
        total += (sum(found) / sum(inside) - recall) * sum(found) / len(found)
        recall = sum(found) / sum(inside)
    return total


def published(predicted, region):
    """F1 and IoU as DIRL's test computes them, after its stretching of a map."""
    span = predicted.max() - predicted.min()
    predicted = (predicted - predicted.min()) / (1 if span < 1e-2 else span)
    cut = (predicted > 0.5).float()
    hits = (cut * region).sum()
    precision, recall = hits / (cut.sum() + 1e-6), hits / (region.sum() + 1e-6)
    f1 = 2 * precision * recall / (precision + recall + 1e-6)
    return predicted, f1, hits / (cut.sum() + region.sum() - hits + 1e-6)


@pytest.mark.parametrize("levels", [4, 256, 2**20])
def test_scores_equal_plain_loops_for_each_image(levels):
    region = (torch.rand(3, 1, 9, 11) > 0.6).float()
    predicted = 0.1 + 0.6 * (torch.rand_like(region) * 0.7 + region * 0.3)
    predicted = (predicted * levels).round() / levels  # some are equal
    scores = localization_scores(predicted, region)
    for index in range(3):
        stretched, f1, overlap = published(predicted[index], region[index])
        ap = average_precision(stretched.flatten().tolist(), region[index].flatten().tolist())
        assert scores["ap"][index].item() == pytest.approx(ap, abs=1e-6)
        assert scores["f1"][index].item() == pytest.approx(f1.item(), abs=1e-5)
        assert scores["iou"][index].item() == pytest.approx(overlap.item(), abs=1e-5)


def test_maps_are_stretched_unless_they_are_flat_or_not_to_be():
    region = torch.tensor([[[[1.0, 0.0]]], [[[1.0, 0.0]]]])
    faint = torch.tensor([[[[0.3, 0.1]]], [[[0.505, 0.5]]]])
    assert localization_scores(faint, region)["iou"].tolist() == [1, 0]
    assert localization_scores(faint, region, stretched=False)["iou"].tolist() == [0, 1]


def test_the_region_found_whole_scores_one_and_an_empty_one_has_no_precision():
    region = torch.zeros(2, 1, 4, 4)
    region[0, ..., :2] = 1
    scores = localization_scores(region, region)
    assert {name: value.tolist() for name, value in scores.items()} == {
        "ap": [1, 0],
        "f1": [1, 1],
        "iou": [1, 1],
    }


def test_other_kinds_and_shapes_are_refused():
    region = torch.zeros(1, 1, 4, 4)
    with pytest.raises(TypeError, match="'predicted' must be a floating point map, got torch"):
        localization_scores(region.byte(), region)
    with pytest.raises(ValueError, match="'predicted' must have the shape of 'region'"):
        localization_scores(region[..., :2], region)
