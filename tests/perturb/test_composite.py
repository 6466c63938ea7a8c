import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from opmask.datasets import ADE20K
from opmask.perturb import (
    DEFAULT,
    REFERENCE,
    REFERENCE_RGB,
    Filter,
    GaussianBlur,
    LabScaling,
    PerturbationRecord,
    Perturber,
    RegionChange,
    composite,
    draw,
    sample_seed,
)

ALL = [REFERENCE, REFERENCE_RGB, DEFAULT]

IMAGE = torch.arange(3 * 6 * 8, dtype=torch.uint8).view(3, 6, 8)
LABEL_MAP = torch.arange(12).repeat_interleave(4).view(6, 8)  # 11 classes and 0
TWO = PerturbationRecord(
    0,
    (
        RegionChange(2, (Filter("moon"),)),
        RegionChange(5, (Filter("kelvin"), Filter("sepia", 0.4), LabScaling((0.9, 1.1, 1.0)))),
    ),
)
BLURRED = replace(TWO, degradation=GaussianBlur())


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
    made = composite(IMAGE, LABEL_MAP, PerturbationRecord(0, ()))
    assert torch.equal(made.composite, made.real)
    assert not made.region.any()


def test_filters_see_the_whole_untouched_image():
    # Earlybird darkens towards the corners, so what it does depends on the frame.
    applied = PerturbationRecord(
        0, tuple(RegionChange(i, (Filter("earlybird"),)) for i in range(1, 12))
    )
    made = composite(IMAGE, LABEL_MAP, applied)
    expected = torch.where(LABEL_MAP == 0, IMAGE, Filter("earlybird")(IMAGE))
    assert torch.equal((made.composite * 255).round().byte(), expected)


def test_the_photo_is_not_written_into():
    image, label_map = IMAGE.clone(), LABEL_MAP.clone()
    composite(image, label_map, TWO)
    assert torch.equal(image, IMAGE)
    assert torch.equal(label_map, LABEL_MAP)


def test_a_degradation_is_for_all_but_the_regions():
    made = composite(IMAGE, LABEL_MAP, BLURRED)
    blurred = GaussianBlur()(IMAGE).float() / 255
    assert torch.equal(made.real, blurred)
    clean = by_hand(IMAGE, LABEL_MAP, TWO).float() / 255
    assert torch.equal(made.composite, torch.where(made.region.bool(), clean, blurred))
    assert torch.equal(made.region, composite(IMAGE, LABEL_MAP, TWO).region)


@pytest.mark.parametrize("size", [1, 4, 5, 12])
@pytest.mark.parametrize("applied", [TWO, BLURRED])
def test_composite_and_real_go_through_the_same_antialiased_resize(applied, size):
    whole, small = (
        composite(IMAGE, LABEL_MAP, applied),
        composite(IMAGE, LABEL_MAP, applied, size=size),
    )
    for name in ("composite", "real"):
        image = getattr(whole, name)[None]
        expected = F.interpolate(image, (size, size), mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(getattr(small, name), expected.clamp(0, 1))


def test_what_was_not_changed_stays_equal_when_resized():
    made = composite(
        IMAGE, LABEL_MAP, PerturbationRecord(0, (RegionChange(2, (Filter("moon"),)),)), size=5
    )
    untouched = made.composite == made.real
    assert untouched[:, -2:].all()
    assert not untouched.all()


@pytest.mark.parametrize("size", [4, 5, 12])
def test_the_region_stays_zero_or_one_when_resized(size):
    whole, small = composite(IMAGE, LABEL_MAP, TWO), composite(IMAGE, LABEL_MAP, TWO, size=size)
    expected = F.interpolate(whole.region[None], (size, size), mode="nearest-exact")[0]
    assert torch.equal(small.region, expected)
    assert set(small.region.unique().tolist()) == {0, 1}


def test_resized_images_stay_within_zero_and_one():
    white = torch.full((3, 23, 31), 255, dtype=torch.uint8)
    for size in (7, 11, 13):
        assert (
            composite(
                white, torch.ones(23, 31).long(), PerturbationRecord(0, ()), size=size
            ).real.max()
            <= 1
        )


def test_resizing_is_in_the_type_of_the_images():
    for settings in ALL:
        applied = draw(LABEL_MAP, 0, settings)
        assert {p.dtype for p in composite(IMAGE, LABEL_MAP, applied, size=5)[:3]} == {
            torch.float32
        }
        assert {p.dtype for p in composite(IMAGE, LABEL_MAP, applied)[:3]} == {torch.float32}


@pytest.mark.parametrize("settings", ALL)
@pytest.mark.parametrize("size", [None, 5])
def test_a_composite_is_rebuilt_from_its_record_bit_for_bit(settings, size):
    images, label_maps, seeds = batch()
    made = Perturber(replace(settings, degradation_rate=0.5))(images, label_maps, seeds, size=size)
    for i, applied in enumerate(made.applied):
        record = PerturbationRecord.from_json(applied.to_json())
        again = composite(images[i], label_maps[i], record, size=size)
        assert torch.equal(again.composite, made.composite[i])
        assert torch.equal(again.real, made.real[i])
        assert torch.equal(again.region, made.region[i])


@pytest.mark.parametrize("settings", ALL)
def test_the_perturber_draws_from_the_seeds(settings):
    images, label_maps, _ = batch()
    made = Perturber(settings)(images, label_maps, [7, 8, 9])
    assert made.applied == tuple(draw(LABEL_MAP, seed, settings) for seed in (7, 8, 9))
    expected = [composite(*photo) for photo in zip(images, label_maps, made.applied, strict=True)]
    assert torch.equal(made.composite, torch.stack([e.composite for e in expected]))
    assert torch.equal(made.real, torch.stack([e.real for e in expected]))
    assert torch.equal(made.region, torch.stack([e.region for e in expected]))


def test_the_perturbers_settings_are_the_default_unless_told_otherwise():
    assert Perturber().settings == DEFAULT


@pytest.mark.parametrize("settings", ALL)
@pytest.mark.parametrize("size", [None, 5])
def test_a_sample_does_not_depend_on_its_batch_mates(settings, size):
    images, label_maps, seeds = batch()
    perturber = Perturber(replace(settings, degradation_rate=1))
    together = perturber(images, label_maps, seeds, size=size)
    alone = perturber(images[2:], label_maps[2:], seeds[2:], size=size)
    assert torch.equal(together.composite[2], alone.composite[0])
    assert together.applied[2] == alone.applied[0]


def test_perturbers_are_values():
    assert pickle.loads(pickle.dumps(Perturber(REFERENCE))) == Perturber(REFERENCE) != Perturber()
    assert hash(Perturber(REFERENCE)) == hash(Perturber(REFERENCE))


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
    again = composite(image, label_map, PerturbationRecord.from_json(made.applied[0].to_json()))
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
    applied = PerturbationRecord(0, (RegionChange(99, (Filter("moon"),)),))
    with pytest.raises(ValueError, match="'applied' must name labels of 'label_map', got 99, whi"):
        composite(IMAGE, LABEL_MAP, applied)


@pytest.mark.parametrize("size", [0, -3])
def test_sizes_below_one_are_refused(size):
    with pytest.raises(ValueError, match=f"'size' must be at least 1, got {size}"):
        composite(IMAGE, LABEL_MAP, TWO, size=size)
    with pytest.raises(ValueError, match="'size' must be at least 1"):
        Perturber()(IMAGE[None], LABEL_MAP[None], [0], size=size)


def test_a_photo_without_labels_is_refused():
    with pytest.raises(ValueError, match="'label_map' must have a labelled pixel"):
        Perturber()(IMAGE[None], torch.zeros(1, 6, 8).long(), [0])


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [REFERENCE_RGB, DEFAULT])
def test_composites_are_the_same_on_a_gpu(settings):
    images, label_maps, seeds = batch(20)
    perturber = Perturber(replace(settings, degradation_rate=0.5))
    made = perturber(images, label_maps, seeds)
    on_gpu = perturber(images.cuda(), label_maps.cuda(), seeds)
    assert on_gpu.composite.is_cuda
    assert torch.equal(on_gpu.composite.cpu(), made.composite)
    assert torch.equal(on_gpu.real.cpu(), made.real)
    assert on_gpu.applied == made.applied
