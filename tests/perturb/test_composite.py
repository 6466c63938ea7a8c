import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from opmask.datasets import ADE20K
from opmask.perturb import (
    FILTERS,
    Applied,
    Filter,
    Perturber,
    RegionChange,
    choose_regions,
    composite,
    draw,
    sample_seed,
)
from opmask.perturb.draws import stream

IMAGE = torch.arange(3 * 6 * 8, dtype=torch.uint8).view(3, 6, 8)
LABEL_MAP = torch.arange(12).repeat_interleave(4).view(6, 8)  # 11 classes and 0
TWO = Applied(
    0,
    (
        RegionChange(2, (Filter("moon"),)),
        RegionChange(5, (Filter("kelvin"), Filter("lofi"))),
    ),
)


def by_hand(image, label_map, applied):
    """The composite, region by region and pixel by pixel."""
    result = image.clone()
    for change in applied.regions:
        filtered = image
        for perturbation in change.perturbations:
            filtered = perturbation(filtered)
        for row, column in (label_map == change.label).nonzero().tolist():
            result[:, row, column] = filtered[:, row, column]
    return result


def batch(count=3):
    images = torch.randint(0, 256, (count, 3, 6, 8), dtype=torch.uint8)
    return images, LABEL_MAP.expand(count, 6, 8), list(range(count))


def test_composites_equal_those_made_pixel_by_pixel():
    made = composite(IMAGE, LABEL_MAP, TWO)
    assert torch.equal((made.composite * 255).round().byte(), by_hand(IMAGE, LABEL_MAP, TWO))


def test_composites_change_in_their_region_only():
    made = composite(IMAGE, LABEL_MAP, TWO)
    changed = (made.composite != made.real).any(0, keepdim=True)
    assert torch.equal(changed, made.region.bool())


def test_the_region_is_the_union_of_the_changed_classes():
    region = composite(IMAGE, LABEL_MAP, TWO).region
    assert torch.equal(region[0], ((LABEL_MAP == 2) | (LABEL_MAP == 5)).float())


def test_images_are_exact_levels():
    made = composite(IMAGE, LABEL_MAP, TWO)
    levels = torch.from_numpy(np.arange(256, dtype=np.float32) / np.float32(255))
    assert torch.equal(made.real, levels[IMAGE.long()])
    assert torch.equal(made.composite, levels[by_hand(IMAGE, LABEL_MAP, TWO).long()])


def test_shapes_and_types_are_those_of_the_documentation():
    made = composite(IMAGE, LABEL_MAP, TWO)
    assert [tuple(part.shape) for part in made[:3]] == [(3, 6, 8), (3, 6, 8), (1, 6, 8)]
    assert {part.dtype for part in made[:3]} == {torch.float32}
    assert made.applied is TWO


def test_nothing_applied_gives_the_photo():
    made = composite(IMAGE, LABEL_MAP, Applied(0, ()))
    assert torch.equal(made.composite, made.real)
    assert not made.region.any()


def test_filters_see_the_whole_untouched_image():
    # Earlybird darkens towards the corners, so what it does depends on the frame.
    applied = Applied(0, tuple(RegionChange(i, (Filter("earlybird"),)) for i in range(1, 12)))
    made = composite(IMAGE, LABEL_MAP, applied)
    expected = torch.where(LABEL_MAP == 0, IMAGE, Filter("earlybird")(IMAGE))
    assert torch.equal((made.composite * 255).round().byte(), expected)


def test_the_photo_is_not_written_into():
    image, label_map = IMAGE.clone(), LABEL_MAP.clone()
    composite(image, label_map, TWO)
    assert torch.equal(image, IMAGE)
    assert torch.equal(label_map, LABEL_MAP)


def test_draws_are_pinned():
    # The seeds of a benchmark split stand for these: they must never change.
    assert [(c.label, c.perturbations[0].name) for c in draw(LABEL_MAP, 0).regions] == [
        (5, "gingham"),
        (9, "maven"),
        (10, "lark"),
    ]
    assert [(c.label, c.perturbations[0].name) for c in draw(LABEL_MAP, 1).regions] == [
        (2, "gingham"),
        (9, "maven"),
        (10, "lofi"),
    ]


def test_draws_choose_regions_first_and_a_filter_for_each():
    applied = draw(LABEL_MAP, 5)
    numbers = stream(5)
    assert tuple(c.label for c in applied.regions) == choose_regions(LABEL_MAP, numbers)
    for change in applied.regions:
        assert change.perturbations == (Filter(FILTERS[int(numbers() * 23)]),)
    assert applied.seed == 5


def test_every_filter_is_as_likely():
    drawn = [draw(torch.ones(1, 1).long(), seed).regions[0] for seed in range(4600)]
    counts = Counter(change.perturbations[0].name for change in drawn)
    assert set(counts) == set(FILTERS)
    assert all(140 < count < 260 for count in counts.values())


def test_records_survive_json():
    assert Applied.from_json(TWO.to_json()) == TWO
    assert "\n" not in TWO.to_json()


def test_records_have_a_format_that_does_not_change():
    text = '{"seed": 9, "regions": [{"label": 3, "perturbations": [{"filter": "moon"}]}]}'
    assert Applied.from_json(text) == Applied(9, (RegionChange(3, (Filter("moon"),)),))
    assert Applied.from_json(text).to_json() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"seed": 1}',
        '{"seed": 1, "regions": [{"label": 2}]}',
        '{"seed": 1, "regions": [{"label": 2, "perturbations": [{"filter": "nope"}]}]}',
    ],
)
def test_other_text_is_no_record(text):
    with pytest.raises(ValueError, match=r"'text' must be what Applied.to_json wrote, got "):
        Applied.from_json(text)


def test_records_pickle_and_hash():
    assert pickle.loads(pickle.dumps(TWO)) == TWO
    assert len({TWO, Applied.from_json(TWO.to_json())}) == 1


def test_a_composite_is_rebuilt_from_its_record_bit_for_bit():
    images, label_maps, seeds = batch()
    made = Perturber()(images, label_maps, seeds)
    for i, applied in enumerate(made.applied):
        again = composite(images[i], label_maps[i], Applied.from_json(applied.to_json()))
        assert torch.equal(again.composite, made.composite[i])
        assert torch.equal(again.region, made.region[i])


def test_the_perturber_draws_from_the_seeds():
    images, label_maps, _ = batch()
    made = Perturber()(images, label_maps, [7, 8, 9])
    assert made.applied == tuple(draw(LABEL_MAP, seed) for seed in (7, 8, 9))
    expected = [composite(*photo) for photo in zip(images, label_maps, made.applied, strict=True)]
    assert torch.equal(made.composite, torch.stack([e.composite for e in expected]))
    assert torch.equal(made.real, images.float() / 255)
    assert torch.equal(made.region, torch.stack([e.region for e in expected]))


def test_a_sample_does_not_depend_on_its_batch_mates():
    images, label_maps, seeds = batch()
    together = Perturber()(images, label_maps, seeds)
    alone = Perturber()(images[2:], label_maps[2:], seeds[2:])
    assert torch.equal(together.composite[2], alone.composite[0])
    assert together.applied[2] == alone.applied[0]


def test_perturbers_are_values():
    assert pickle.loads(pickle.dumps(Perturber())) == Perturber()
    assert hash(Perturber()) == hash(Perturber())


def test_seeds_may_be_a_tensor():
    images, label_maps, _ = batch(2)
    seeds = [sample_seed(0, 0, i) for i in range(2)]
    from_list = Perturber()(images, label_maps, seeds)
    from_tensor = Perturber()(images, label_maps, torch.tensor(seeds))
    assert from_tensor.applied == from_list.applied
    assert from_tensor.applied[0].to_json() == from_list.applied[0].to_json()


def test_numpys_and_torchs_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    Perturber()(IMAGE[None], LABEL_MAP[None], [0])
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_real_photos_are_rebuilt_bit_for_bit(data_root):
    image, label_map, _ = ADE20K(data_root / "ade150_sample", "validation")[0]
    made = Perturber()(image[None], label_map[None], [0])
    again = composite(image, label_map, Applied.from_json(made.applied[0].to_json()))
    assert torch.equal(again.composite, made.composite[0])
    assert not ((made.composite != made.real) & (made.region == 0)).any()


def test_float_images_are_refused():
    with pytest.raises(TypeError, match=r"'image' must be 8-bit .*Pass the 8-bit photo"):
        composite(IMAGE / 255, LABEL_MAP, TWO)
    with pytest.raises(TypeError, match="'images' must be 8-bit"):
        Perturber()(IMAGE[None] / 255, LABEL_MAP[None], [0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_label_maps_of_another_type_are_refused(dtype):
    with pytest.raises(TypeError, match=f"'label_map' must hold integers, got {dtype}"):
        composite(IMAGE, LABEL_MAP.to(dtype), TWO)


def test_a_label_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"size of 'image', \(6, 8\), got \(5, 8\)"):
        composite(IMAGE, LABEL_MAP[:5], TWO)
    with pytest.raises(
        ValueError, match=r"'label_maps' must .* of 'images', \(1, 6, 8\), got \(6"
    ):
        Perturber()(IMAGE[None], LABEL_MAP, [0])


def test_images_of_another_shape_are_refused():
    with pytest.raises(
        ValueError, match=r"'image' must have shape \(3, H, W\), got \(1, 3, 6, 8\)"
    ):
        composite(IMAGE[None], LABEL_MAP, TWO)
    with pytest.raises(ValueError, match=r"'images' must have shape \(B, 3, H, W\), got \(3, 6"):
        Perturber()(IMAGE, LABEL_MAP, [0])


@pytest.mark.parametrize("seeds", [[0, 1], [0, 1, 2, 3], torch.arange(2)])
def test_another_number_of_seeds_is_refused(seeds):
    with pytest.raises(ValueError, match=f"one seed for each of 3 images, got {len(seeds)}"):
        Perturber()(*batch()[:2], seeds)


def test_the_record_of_another_photo_is_refused():
    applied = Applied(0, (RegionChange(99, (Filter("moon"),)),))
    with pytest.raises(ValueError, match="'applied' must name labels of 'label_map', got 99, whi"):
        composite(IMAGE, LABEL_MAP, applied)


def test_a_photo_without_labels_is_refused():
    with pytest.raises(ValueError, match="'label_map' must have a labelled pixel"):
        Perturber()(IMAGE[None], torch.zeros(1, 6, 8).long(), [0])


@pytest.mark.gpu
def test_composites_are_the_same_on_a_gpu():
    images, label_maps, seeds = batch()
    made = Perturber()(images, label_maps, seeds)
    on_gpu = Perturber()(images.cuda(), label_maps.cuda(), seeds)
    assert on_gpu.composite.is_cuda
    assert torch.equal(on_gpu.composite.cpu(), made.composite)
    assert on_gpu.applied == made.applied
