import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import (
    BrokenPhotoError,
    Photo,
    Resized,
    random_crop,
    read_image,
    read_label_map,
    read_photo,
    resize_photo,
)
from opmask.datasets.photos import resize_nearest

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def photo(height=10, width=14, labels=None):
    """A photo whose labels are the numbers of its pixels, and whose red channel repeats them."""
    label_map = torch.arange(height * width).view(height, width) if labels is None else labels
    image = torch.stack([label_map, 255 - label_map, label_map // 2]).byte()
    return Photo(image, label_map, "barn")


def save(path, array):
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_images_are_read_in_rgb_order(tmp_path, pixels):
    image = read_image(save(tmp_path / "a.png", pixels))
    assert image.dtype == torch.uint8
    assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(pixels))


def test_jpegs_are_read_as_pillow_reads_them(tmp_path, pixels):
    path = save(tmp_path / "a.jpg", pixels)
    assert torch.equal(read_image(path).permute(1, 2, 0), torch.tensor(np.array(Image.open(path))))


def test_grey_images_become_rgb(tmp_path, pixels):
    image = read_image(save(tmp_path / "a.png", pixels[..., 0]))
    assert torch.equal(image, torch.from_numpy(pixels[..., 0]).expand(3, 5, 7))


def test_alpha_is_dropped(tmp_path, pixels):
    rgba = np.concatenate([pixels, pixels[..., :1]], axis=2)
    image = read_image(save(tmp_path / "a.png", rgba))
    assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(pixels))


def test_16_bit_images_are_refused(tmp_path):
    path = save(tmp_path / "deep.png", np.full((4, 4), 40000, np.uint16))
    with pytest.raises(
        BrokenPhotoError, match=r"deep.png must have 8 bits a channel, got mode 'I"
    ):
        read_image(path)


def test_float_images_are_refused(tmp_path):
    path = save(tmp_path / "deep.tiff", np.full((4, 4), 0.5, np.float32))
    with pytest.raises(BrokenPhotoError, match=r"deep.tiff must have 8 bits .* mode 'F'"):
        read_image(path)


def test_label_maps_are_read_as_numbers(tmp_path):
    labels = np.array([[0, 1, 150], [255, 2, 3]], np.uint8)
    label_map = read_label_map(save(tmp_path / "a.png", labels))
    assert label_map.dtype == torch.int64
    assert label_map.tolist() == labels.tolist()


def test_the_palette_of_a_label_map_is_ignored(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putdata([0, 1, 2, 1])
    image.putpalette([200, 100, 50, 9, 9, 9, 77, 0, 0])
    image.save(tmp_path / "a.png")
    assert read_label_map(tmp_path / "a.png").tolist() == [[0, 1], [2, 1]]


def test_16_bit_label_maps_are_read(tmp_path):
    path = save(tmp_path / "a.png", np.array([[0, 40000]], np.uint16))
    assert read_label_map(path).tolist() == [[0, 40000]]


def test_label_maps_of_several_channels_are_refused(tmp_path, pixels):
    path = save(tmp_path / "colour.png", pixels)
    with pytest.raises(BrokenPhotoError, match=r"colour.png must have a single .*\(5, 7, 3\)"):
        read_label_map(path)


@pytest.mark.parametrize("read", [read_image, read_label_map])
def test_files_that_are_no_pictures_are_named(tmp_path, read):
    (tmp_path / "junk.jpg").write_bytes(b"not a picture")
    with pytest.raises(BrokenPhotoError, match=r"junk.jpg cannot be read: cannot identify"):
        read(tmp_path / "junk.jpg")


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated_files_are_named(tmp_path, ending):
    whole = save(tmp_path / f"whole.{ending}", NOISE)
    (tmp_path / f"half.{ending}").write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(BrokenPhotoError, match=rf"half.{ending} cannot be read"):
        read_image(tmp_path / f"half.{ending}")


def test_damage_inside_a_png_is_named(tmp_path):
    data = bytearray(save(tmp_path / "whole.png", NOISE).read_bytes())
    data[20:30] = b"0123456789"
    (tmp_path / "hurt.png").write_bytes(data)
    with pytest.raises(BrokenPhotoError, match=r"hurt.png cannot be read"):
        read_image(tmp_path / "hurt.png")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(BrokenPhotoError, match=r"gone.jpg cannot be read: .*No such file"):
        read_image(tmp_path / "gone.jpg")


def test_a_photo_is_its_image_its_labels_and_its_name(tmp_path, pixels):
    image_path = save(tmp_path / "barn.png", pixels)
    label_path = save(tmp_path / "labels.png", pixels[..., 0])
    image, label_map, name = read_photo(image_path, label_path)
    assert torch.equal(image, read_image(image_path))
    assert torch.equal(label_map, read_label_map(label_path))
    assert name == "barn"


def test_labels_of_another_size_are_refused_with_both_sizes(tmp_path, pixels):
    image_path = save(tmp_path / "a.jpg", pixels)
    label_path = save(tmp_path / "small.png", pixels[:4, :, 0])
    with pytest.raises(BrokenPhotoError, match=r"small.png must have the .*, 5x7, got 4x7"):
        read_photo(image_path, label_path)


def test_photos_without_labels_are_refused(tmp_path, pixels):
    image_path = save(tmp_path / "a.jpg", pixels)
    label_path = save(tmp_path / "empty.png", np.zeros((5, 7), np.uint8))
    with pytest.raises(
        BrokenPhotoError, match=r"empty.png must have a labelled pixel, got only l"
    ):
        read_photo(image_path, label_path)


def test_a_broken_photo_is_an_os_error():
    assert issubclass(BrokenPhotoError, OSError)


def test_nearest_resizing_takes_the_pixel_under_the_new_centre():
    values = torch.rand(2, 7, 12)
    expected = torch.nn.functional.interpolate(values[None], (5, 5), mode="nearest-exact")[0]
    assert torch.equal(resize_nearest(values, 5), expected)


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
