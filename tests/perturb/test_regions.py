from collections import Counter
from random import Random

import pytest
import torch
from changes import rng_of

from opmask.perturb import choose_regions
from opmask.perturb.regions import present_labels
from opmask.perturb.rng import make_rng


def labels(count, first=1):
    return torch.arange(first, first + count).view(1, -1)


@pytest.mark.parametrize(
    ("classes", "draws"), [(1, 1), (4, 1), (5, 2), (9, 2), (10, 3), (15, 4), (150, 31)]
)
def test_a_fifth_of_the_classes_and_one_more_are_drawn(classes, draws):
    chosen = choose_regions(labels(classes), rng_of(i / draws for i in range(draws)))
    assert len(chosen) == draws
    with pytest.raises(StopIteration):
        choose_regions(labels(classes), rng_of([0.0] * (draws - 1)))


def test_the_number_of_draws_is_that_of_the_papers_formula():
    for count in range(1, 200):
        calls, rng = [], Random()
        rng.random = lambda: calls.append(0) or 0.0  # noqa: B023
        choose_regions(labels(count), rng)
        assert len(calls) == int(0.2 * count) + 1


def test_draws_are_with_replacement_and_repeats_are_dropped():
    assert choose_regions(labels(10), rng_of([0.55, 0.55, 0.55])) == (6,)


def test_regions_come_in_rising_order():
    assert choose_regions(labels(10), rng_of([0.95, 0.05, 0.55])) == (1, 6, 10)


def test_label_zero_is_neither_counted_nor_chosen():
    label_map = labels(5, first=0)  # four classes: one draw
    assert choose_regions(label_map, rng_of([0.0])) == (1,)
    assert choose_regions(label_map, rng_of([0.99])) == (4,)


def test_a_class_counts_once_however_many_pixels_it_has():
    label_map = torch.tensor([[7, 7, 7, 7], [7, 7, 7, 200]])
    assert choose_regions(label_map, rng_of([0.49])) == (7,)
    assert choose_regions(label_map, rng_of([0.5])) == (200,)


def test_every_class_is_as_likely():
    rng = make_rng(0)
    chosen = Counter(label for _ in range(4000) for label in choose_regions(labels(4), rng))
    assert all(abs(count - 1000) < 120 for count in chosen.values())


@pytest.mark.parametrize(("classes", "expected"), [(5, 1.80), (10, 2.71), (15, 3.62)])
def test_the_number_of_regions_is_that_of_drawing_with_replacement(classes, expected):
    # n (1 - (1 - 1/n)^k) distinct ones on average
    rng = make_rng(1)
    counts = [len(choose_regions(labels(classes), rng)) for _ in range(3000)]
    assert sum(counts) / len(counts) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integer_type_will_do(dtype):
    assert choose_regions(labels(3).to(dtype), rng_of([0.5])) == (2,)


def test_the_largest_label_of_a_16_bit_file_is_accepted():
    assert choose_regions(torch.tensor([[65535]]), make_rng(0)) == (65535,)


def test_a_map_without_labels_is_refused():
    with pytest.raises(ValueError, match="'label_map' must have a labelled pixel, got only label"):
        choose_regions(torch.zeros(4, 4, dtype=torch.int64), make_rng(0))


@pytest.mark.parametrize(("label", "got"), [(-1, "-1 to 2"), (65536, "2 to 65536")])
def test_labels_out_of_range_are_refused(label, got):
    with pytest.raises(ValueError, match=f"'label_map' must hold labels in 0-65535, got {got}. U"):
        choose_regions(torch.tensor([[2, label]]), make_rng(0))


def test_the_labels_of_a_photo_come_in_rising_order_without_zero():
    assert present_labels(torch.tensor([[[9, 0, 3], [3, 65535, 9]]])) == [[3, 9, 65535]]
    assert present_labels(torch.zeros(1, 2, 2, dtype=torch.uint8)) == [[]]


def test_the_classes_of_several_photos_are_found_at_once():
    label_maps = torch.tensor([[[7, 0]], [[0, 0]], [[255, 7]], [[1, 2]]])
    assert present_labels(label_maps) == [[7], [], [7, 255], [1, 2]]


def test_label_maps_may_be_8_bit():
    assert present_labels(torch.tensor([[[200, 3]], [[0, 1]]], dtype=torch.uint8)) == [
        [3, 200],
        [1],
    ]
