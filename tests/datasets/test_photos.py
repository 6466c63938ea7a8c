import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import (
    BrokenPhotoError,
    Photo,
    Resized,
    UnlabelledPhotoError,
    random_crop,
    read_image,
    resize_photo,
)
from opmask.datasets.photos import resize_nearest


def photo(height=10, width=14, labels=None):
    """A photo whose labels are the numbers of its pixels, and whose red channel repeats them."""
    label_map = torch.arange(height * width).view(height, width) if labels is None else labels
    image = torch.stack([label_map, 255 - label_map, label_map // 2]).byte()
    return Photo(image, label_map, "barn")


def test_a_broken_photo_is_an_os_error_and_an_unlabelled_one_is_broken():
    assert issubclass(BrokenPhotoError, OSError)
    assert issubclass(UnlabelledPhotoError, BrokenPhotoError)


def test_nearest_resizing_takes_the_pixel_under_the_new_centre():
    values = torch.rand(2, 7, 12)
    expected = torch.nn.functional.interpolate(values[None], (5, 5), mode="nearest-exact")[0]
    assert torch.equal(resize_nearest(values, 5), expected)


@pytest.mark.parametrize("size", [(3, 20), (14, 5), (7, 12)])
def test_nearest_resizing_takes_a_height_and_a_width(size):
    values = torch.rand(2, 7, 12)
    expected = torch.nn.functional.interpolate(values[None], size, mode="nearest-exact")[0]
    assert torch.equal(resize_nearest(values, size), expected)


@pytest.mark.parametrize("size", [1, 3, 7, 14, 64])
def test_nearest_resizing_keeps_to_the_values_of_the_map(size):
    values = torch.tensor([[1, 2, 3], [4, 5, 60000]])
    resized = resize_nearest(values, size)
    assert resized.shape == (size, size)
    assert resized.dtype == torch.int64
    assert set(resized.unique().tolist()) <= set(values.unique().tolist())


def test_nearest_resizing_to_the_same_size_changes_nothing():
    values = torch.rand(1, 6, 6)
    assert torch.equal(resize_nearest(values, 6), values)


def test_photos_are_resized_with_antialiasing():
    # Every fourth column is white: an even dark grey, which two pixels of four would miss.
    stripes = (torch.arange(64) % 4 == 0).mul(255).byte().expand(3, 64, 64)
    resized = resize_photo(Photo(stripes, torch.ones(64, 64).long(), "barn"), 16)
    assert resized.image.dtype == torch.uint8
    assert resized.image[:, :, 1:-1].float().sub(255 / 4).abs().max() < 2


def test_resized_photos_are_close_to_pillows(data_root):
    path = data_root / "ade150_sample/images/validation/ADE_val_00000001.jpg"
    resized = resize_photo(Photo(read_image(path), torch.ones(1, 1).long(), ""), 64).image
    expected = Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    difference = resized.permute(1, 2, 0).int() - torch.tensor(np.array(expected)).int()
    assert difference.abs().max() <= 1


def test_resized_photos_keep_their_name_and_match_their_labels():
    resized = resize_photo(photo(20, 12), 6)
    assert resized.name == "barn"
    assert resized.image.shape == (3, 6, 6)
    assert torch.equal(resized.label_map, resize_nearest(photo(20, 12).label_map, 6))


def test_crops_are_pieces_of_the_photo():
    for seed in range(50):
        piece = random_crop(photo(), 4, seed)
        assert piece.image.shape == (3, 4, 4)
        assert piece.label_map.shape == (4, 4)
        assert piece.name == "barn"
        assert torch.equal(piece.image, photo(labels=piece.label_map).image)


def test_crops_are_neighbouring_pixels_and_flipped_half_of_the_time():
    steps = [random_crop(photo(), 4, seed).label_map.diff() for seed in range(400)]
    assert all((step == step[0, 0]).all() and abs(step[0, 0]) == 1 for step in steps)
    assert 150 < sum(int(step[0, 0]) == -1 for step in steps) < 250


def test_crops_reach_every_place_of_the_photo():
    places = {int(random_crop(photo(6, 7), 4, seed).label_map.min()) for seed in range(300)}
    assert places == {7 * top + left for top in range(3) for left in range(4)}


def test_a_crop_of_the_full_size_is_the_photo():
    pieces = [random_crop(photo(8, 8), 8, seed) for seed in range(10)]
    for piece in pieces:
        kept, flipped = photo(8, 8).label_map, photo(8, 8).label_map.flip(-1)
        assert torch.equal(piece.label_map, kept) or torch.equal(piece.label_map, flipped)


def test_crops_depend_on_the_seed_only():
    first = [random_crop(photo(), 4, seed).label_map for seed in range(20)]
    again = [random_crop(photo(), 4, seed).label_map for seed in range(20)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(labels.flatten().tolist()) for labels in first}) > 10


@pytest.mark.parametrize("place", [(0, 0), (0, 199), (199, 0), (199, 199), (120, 80)])
def test_crops_always_hold_a_labelled_pixel(place):
    labels = torch.zeros(200, 200, dtype=torch.int64)
    labels[place] = 9
    for seed in range(20):
        piece = random_crop(photo(labels=labels), 4, seed)
        assert piece.label_map.shape == (4, 4)
        assert piece.label_map.any()


def test_every_square_with_a_labelled_pixel_may_be_cut():
    labels = torch.zeros(9, 9, dtype=torch.int64)
    labels[5, 5] = 9
    pieces = [random_crop(photo(labels=labels), 6, seed).label_map for seed in range(300)]
    assert {int(piece.argmax()) // 6 for piece in pieces} == {2, 3, 4, 5}


@pytest.mark.parametrize(("height", "width"), [(3, 9), (9, 3)])
def test_photos_smaller_than_the_crop_are_refused(height, width):
    with pytest.raises(ValueError, match=rf"got 4 for 'barn' of {height}x{width}. Enlarge the ph"):
        random_crop(photo(height, width), 4, 0)


class Counting:
    """One photo that counts how often it was read."""

    def __init__(self, labels=None):
        self.reads = 0
        self.photo = photo(20, 12) if labels is None else photo(labels=labels)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.reads += 1
        return self.photo


def test_resized_photos_are_read_once():
    photos = Counting()
    small = Resized(photos, 6)
    first, second = small[0], small[0]
    assert photos.reads == 1
    assert torch.equal(first.image, second.image)


@pytest.mark.parametrize("largest", [1, 127, 128, 255, 256, 65535])
def test_resized_photos_equal_those_of_resize_photo(largest):
    photos = Counting(torch.tensor([[largest, 0], [1, 0]]).repeat_interleave(8, 0))
    resized, expected = Resized(photos, 6)[0], resize_photo(photos[0], 6)
    assert torch.equal(resized.image, expected.image)
    assert torch.equal(resized.label_map, expected.label_map)
    assert resized.label_map.dtype == torch.int64
    assert resized.name == "barn"


def test_writing_into_a_resized_label_map_does_not_reach_the_next_one():
    small = Resized([photo()], 6)
    small[0].label_map.zero_()
    assert small[0].label_map.any()


def test_resized_has_as_many_photos_and_ends_after_them():
    small = Resized([photo(), photo(8, 9)], 6)
    assert len(small) == len(list(small)) == 2
    assert not torch.equal(small[0].image, small[1].image)
