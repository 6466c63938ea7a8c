import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from opmask.datasets import (
    ADE20K,
    BrokenPhotoError,
    Composites,
    Photo,
    Resized,
    Sources,
    random_crop,
)
from opmask.perturb import (
    DEFAULT,
    REFERENCE,
    Composite,
    CompositeBatch,
    Perturber,
    collate,
    composite,
    draw,
    sample_seed,
)


def photo(number, height=20, width=28):
    generator = torch.Generator().manual_seed(number)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    label_map = torch.arange(6).repeat_interleave(width).repeat(height)[: height * width]
    return Photo(image, label_map.view(height, width), f"photo {number}")


PHOTOS = [photo(number) for number in range(5)]


class Breaking:
    """Photos of which some cannot be read."""

    def __init__(self, count, broken):
        self.count, self.broken = count, broken

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index in self.broken:
            raise BrokenPhotoError(f"{index}.jpg cannot be read")
        return PHOTOS[index % 5]


def composites(photos=PHOTOS, **settings):
    return Composites(photos, Perturber(), **settings)


def load(data, count, **settings):
    return DataLoader(data, count, collate_fn=collate, **settings)


def same(first, second):
    return first.applied == second.applied and all(map(torch.equal, first[:3], second[:3]))


def numbers(data, positions):
    """The places of the photos that are at these positions, of sources that are not cropped."""
    names = [data.source(position)[0].name for position in positions]
    return [int(name.removeprefix("photo ")) for name in names]


def test_samples_are_those_of_the_sample_seed():
    for index, sample in enumerate(composites(seed=4)):
        image, label_map, _ = PHOTOS[index]
        expected = composite(image, label_map, draw(label_map, sample_seed(4, 0, index)))
        assert isinstance(sample, Composite)
        assert same(sample, expected)


def test_there_are_as_many_as_photos_and_reading_ends_there():
    assert len(composites()) == len(list(composites())) == 5


def test_positions_beyond_the_length_are_later_epochs():
    data = composites(seed=4)
    assert numbers(data, [5 * 7 + 3]) == [3]
    assert data[5 * 7 + 3].applied.seed == sample_seed(4, 7, 3)


def test_epochs_change_the_photos_in_other_ways():
    data = composites(seed=1)
    assert torch.equal(data[2].real, data[7].real)
    assert not torch.equal(data[2].composite, data[7].composite)


def test_a_sample_depends_on_seed_and_position_only():
    forwards = [composites(shuffle=True, seed=1)[p] for p in range(12)]
    data = composites(shuffle=True, seed=1)
    backwards = [data[p] for p in reversed(range(12))]
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))


def test_another_seed_gives_other_samples():
    seeds = [[s.applied for s in composites(seed=seed)] for seed in (0, 1)]
    assert not set(seeds[0]) & set(seeds[1])


def test_shuffled_epochs_hold_every_photo_once_in_orders_of_their_own():
    data = composites(shuffle=True)
    epochs = [tuple(numbers(data, range(5 * e, 5 * e + 5))) for e in range(6)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(epochs)) > 3


def test_shuffling_changes_the_order_but_not_the_samples():
    plain = {sample.applied for sample in composites()}
    assert {sample.applied for sample in composites(shuffle=True)} == plain


def test_the_order_depends_on_the_seed():
    data = [composites(shuffle=True, seed=seed) for seed in range(5)]
    assert len({tuple(numbers(each, range(5))) for each in data}) > 2


def test_negative_positions_are_refused():
    with pytest.raises(IndexError, match="'position' must not be negative, got -1"):
        composites()[-1]


def test_no_photos_are_refused():
    with pytest.raises(ValueError, match="'photos' must hold at least one photo, got none"):
        composites([])


@pytest.mark.parametrize("settings", [DEFAULT, REFERENCE])
@pytest.mark.parametrize("size", [None, 8])
def test_samples_are_what_the_perturber_makes_of_the_size(settings, size):
    image, label_map, _ = PHOTOS[1]
    sample = Composites(PHOTOS, Perturber(settings), size=size)[1]
    seed = sample_seed(0, 0, 1)
    made = Perturber(settings)(image[None], label_map[None], [seed], size=size)
    assert same(sample, Composite(*(part[0] for part in made)))


def test_resizing_comes_after_the_change():
    assert composites(size=8)[1].applied == draw(PHOTOS[1].label_map, sample_seed(0, 0, 1))


def test_crops_are_drawn_anew_in_each_epoch_apart_from_the_change():
    data = composites(crop=12, seed=3)
    for epoch in range(3):
        seed = sample_seed(3, epoch, 2)
        piece = random_crop(PHOTOS[2], 12, sample_seed(seed, 0, 0))
        sample = data[5 * epoch + 2]
        assert torch.equal(sample.real, piece.image / 255)
        assert sample.applied == draw(piece.label_map, seed)


def test_samples_can_be_cropped_and_then_resized():
    assert composites(crop=16, size=8)[0].composite.shape == (3, 8, 8)


def test_samples_collate_into_batches():
    batch = next(iter(load(composites(size=8), 3)))
    assert isinstance(batch, CompositeBatch)
    assert batch.composite.shape == batch.real.shape == (3, 3, 8, 8)
    assert batch.region.shape == (3, 1, 8, 8)
    assert [applied.seed for applied in batch.applied] == [sample_seed(0, 0, i) for i in range(3)]


def test_workers_give_the_same_batches_as_none():
    data = composites(size=8, shuffle=True)
    alone = load(data, 3, sampler=range(3, 15))
    shared = load(data, 3, sampler=range(3, 15), num_workers=2)
    assert len(shared) == 4
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_training_resumes_at_any_position():
    data = composites(size=8, shuffle=True)
    whole = list(load(data, 2, sampler=range(0, 16)))
    rest = list(load(data, 2, sampler=range(10, 16)))
    assert all(same(a, b) for a, b in zip(whole[5:], rest, strict=True))


@pytest.mark.parametrize("settings", [{"crop": 8}, {"crop": 8, "size": 12, "shuffle": True}])
def test_sources_that_are_changed_in_a_batch_give_the_samples_of_workers(settings):
    data = composites(seed=3, **settings)
    sources = DataLoader(Sources(data), 5, sampler=range(2, 12), num_workers=1)
    samples = load(data, 5, sampler=range(2, 12))
    for (photos, seeds), batch in zip(sources, samples, strict=True):
        assert same(data.compose(photos, seeds), batch)


def test_sources_are_as_many_as_composites_and_are_not_changed():
    data = composites(seed=3)
    assert len(Sources(data)) == 5
    assert Sources(data)[1] == (PHOTOS[1], sample_seed(3, 0, 1))


@pytest.mark.gpu
def test_sources_are_changed_on_the_device_that_they_are_on():
    data = composites(crop=8)
    photos, seeds = next(iter(DataLoader(Sources(data), 5)))
    made, expected = data.compose(photos.to("cuda"), seeds), data.compose(photos, seeds)
    assert made.composite.is_cuda
    assert same(made.to("cpu"), expected)


def test_composites_pickle():
    again = pickle.loads(pickle.dumps(composites(size=8, shuffle=True, seed=2)))
    assert same(again[3], composites(size=8, shuffle=True, seed=2)[3])


def test_a_broken_photo_is_skipped_with_a_warning():
    data = composites(Breaking(5, {1}))
    with pytest.warns(UserWarning, match=r"^photo skipped: 1.jpg cannot be read$"):
        sample = data[1]
    assert torch.equal(sample.real, PHOTOS[2].image / 255)
    assert sample.applied.seed == sample_seed(0, 0, 1)


def test_a_broken_photo_is_reported_once():
    data = composites(Breaking(5, {1}))
    with pytest.warns(UserWarning, match="photo skipped"):
        first = data[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(first, data[1])


def test_after_the_last_photo_comes_the_first():
    data = composites(Breaking(5, {4}))
    with pytest.warns(UserWarning, match=r"4.jpg"):
        assert numbers(data, [4]) == [0]


def without_labels(number):
    return photo(number)._replace(label_map=torch.zeros(20, 28, dtype=torch.int64))


def test_photos_without_labels_are_skipped_with_a_count_in_the_log(caplog):
    data = composites([without_labels(8), without_labels(9), *PHOTOS])
    assert numbers(data, [0, 0]) == [0, 0]
    assert caplog.messages == [
        f"photo skipped, {count} of 7 so far have no labelled pixel: "
        f"'photo {number}' must have a labelled pixel, got only label 0."
        for count, number in ((1, 8), (2, 9))
    ]


def test_photos_without_labels_do_not_count_as_broken(caplog):
    assert numbers(composites([*map(without_labels, range(9)), *PHOTOS]), [0]) == [0]


def test_there_must_be_a_photo_with_labels():
    with pytest.raises(RuntimeError, match="must have a labelled pixel, got none in 2"):
        composites([without_labels(0), without_labels(1)])[0]


@pytest.mark.parametrize(("count", "most"), [(2, 1), (5, 1), (199, 1), (200, 2), (399, 3)])
def test_one_percent_of_broken_photos_is_borne_and_one_more_is_not(count, most):
    with pytest.warns(UserWarning, match="photo skipped") as caught:
        assert numbers(composites(Breaking(count, range(most))), [0]) == [most % 5]
    assert len(caught) == most
    message = (
        rf"at most 1 % of the photos may be broken, got {most + 1} of {count}. "
        rf"The last one: {most}.jpg cannot be read"
    )
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(RuntimeError, match=message):
        composites(Breaking(count, range(most + 1)))[0]


def test_a_single_photo_must_not_be_broken():
    with pytest.raises(RuntimeError, match="got 1 of 1"):
        composites(Breaking(1, {0}))[0]


@pytest.mark.filterwarnings("ignore:photo skipped")
def test_processes_count_broken_photos_together():
    data = composites(Breaking(8, {2, 5}))
    list(load(data, 1, sampler=[2], num_workers=1))
    with pytest.raises(RuntimeError, match="got 2 of 8"):
        data[5]


def test_other_errors_are_not_swallowed():
    class Failing(Breaking):
        def __getitem__(self, index):
            raise KeyError("a mistake in the data set")

    with pytest.raises(KeyError, match="a mistake"):
        composites(Failing(3, ()))[0]


def test_a_damaged_file_in_a_folder_is_skipped(tmp_path):
    for folder, ending in ("images", "jpg"), ("annotations", "png"):
        (tmp_path / folder / "training").mkdir(parents=True)
        for name in "abc":
            path = tmp_path / folder / "training" / f"{name}.{ending}"
            Image.fromarray(np.full((16, 16), 7, np.uint8)).save(path)
    (tmp_path / "images/training/b.jpg").write_bytes(b"\xff\xd8 no more")
    with pytest.warns(UserWarning, match=r"photo skipped: .*b.jpg cannot be read"):
        sources = list(map(composites(ADE20K(tmp_path, "training")).source, range(3)))
    assert [photo.name for photo, _ in sources] == ["a", "c", "c"]


def test_real_photos_become_composites_of_plausible_error(data_root):
    photos = Resized(ADE20K(data_root / "scenes", "validation"), 64)
    errors = [(s.composite - s.real).mul(255).square().mean() for s in composites(photos)]
    assert 100 < torch.stack(errors).mean() < 500


def test_native_photos_are_changed_and_then_resized(data_root):
    photos = ADE20K(data_root / "ade150_sample", "validation")
    sample = composites(photos, size=64)[0]
    outside = sample.region.expand(3, -1, -1) == 0
    assert sample.composite.shape == (3, 64, 64)
    assert ((sample.composite == sample.real) & outside).sum() > 0.8 * outside.sum()
