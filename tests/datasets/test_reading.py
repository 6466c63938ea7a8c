import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import (
    BrokenPhotoError,
    UnlabelledPhotoError,
    read_image,
    read_label_map,
    read_photo,
    read_region,
)

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
ORIENTATION = 0x112


def save(path, array, **settings):
    Image.fromarray(array).save(path, **settings)
    return path


def save_png(path, values, bits, kind):
    """A PNG of one row, whose bytes Pillow does not write: kind 0 grey, 2 RGB, 4 LA, 6 RGBA."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    digits = "".join(f"{value:0{bits}b}" for value in values)
    row = int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8), "big")
    header = struct.pack(">IIBBBBB", len(values) // channels, 1, bits, kind, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def pixels_of(path):
    return read_image(path).permute(1, 2, 0).numpy()


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


def test_black_and_white_images_become_rgb(tmp_path):
    image = read_image(save_png(tmp_path / "a.png", [1, 0, 0, 1], 1, 0))
    assert image.tolist() == [[[255, 0, 0, 255]]] * 3


@pytest.mark.parametrize("channels", [(0, 1), (0, 1, 2, 1)])
def test_alpha_is_dropped(tmp_path, pixels, channels):
    image = pixels_of(save(tmp_path / "a.png", pixels[..., channels]))
    expected = pixels[..., channels[:-1]]
    assert (image == expected).all()
    assert image.shape == (5, 7, 3)


@pytest.mark.parametrize("transparency", [0, bytes([0, 100, 255, 7])])
def test_palettes_are_looked_up_and_their_transparency_is_dropped(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8)).convert("P")
    image.putdata([0, 1, 2, 3])
    image.putpalette([9, 8, 7, 200, 100, 50, 1, 2, 3, 4, 5, 6])
    image.save(tmp_path / "a.png", transparency=transparency)
    expected = [[[9, 8, 7], [200, 100, 50], [1, 2, 3], [4, 5, 6]]]
    assert pixels_of(tmp_path / "a.png").tolist() == expected


def test_transparent_colours_stay(tmp_path, pixels):
    path = save(tmp_path / "a.png", pixels, transparency=tuple(pixels[0, 0].tolist()))
    assert (pixels_of(path) == pixels).all()


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    difference = pixels_of(tmp_path / "red.jpg").astype(int) - (255, 0, 0)
    assert np.abs(difference).max() <= 3


@pytest.mark.parametrize("kind", [0, 2, 4, 6])
def test_of_16_bits_the_upper_eight_are_kept(tmp_path, kind):
    values = [0, 255, 256, 511, 512, 32767, 32768, 65279, 65280, 65535]
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    repeated = [value for value in values for _ in range(channels)]
    image = read_image(save_png(tmp_path / "deep.png", repeated, 16, kind))
    assert image.dtype == torch.uint8
    assert image.tolist() == [[[0, 0, 1, 1, 2, 127, 128, 254, 255, 255]]] * 3


def test_grey_of_16_bits_in_either_byte_order_is_read(tmp_path):
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.frombytes("I;16B", (4, 1), values.astype(">u2").tobytes()).save(tmp_path / "big.tif")
    save(tmp_path / "little.tif", values)
    for name in "big.tif", "little.tif":
        assert read_image(tmp_path / name).tolist() == [[[0, 0, 1, 255]]] * 3


@pytest.mark.parametrize(("kind", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_images_of_32_bits_are_refused(tmp_path, kind, mode):
    path = save(tmp_path / "deep.tiff", np.full((4, 4), 1, kind))
    with pytest.raises(BrokenPhotoError, match=rf"deep.tiff must have 8 or 16 .* mode '{mode}'\."):
        read_image(path)


def test_label_maps_are_read_as_numbers(tmp_path):
    labels = np.array([[0, 1, 150], [255, 2, 3]], np.uint8)
    label_map = read_label_map(save(tmp_path / "a.png", labels))
    assert label_map.dtype == torch.int64
    assert label_map.tolist() == labels.tolist()


@pytest.mark.parametrize("settings", [{}, {"bits": 2}, {"transparency": bytes([0, 9, 255])}])
def test_the_palette_of_a_label_map_is_ignored(tmp_path, settings):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putdata([0, 1, 2, 1])
    image.putpalette([200, 100, 50, 9, 9, 9, 77, 0, 0])
    image.save(tmp_path / "a.png", **settings)
    assert read_label_map(tmp_path / "a.png").tolist() == [[0, 1], [2, 1]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_label_maps_of_every_depth_hold_the_numbers_of_the_file(tmp_path, bits):
    labels = [0, 1, 2**bits - 1, 2 ** (bits - 1)]
    assert read_label_map(save_png(tmp_path / "a.png", labels, bits, 0)).tolist() == [labels]


@pytest.mark.parametrize("channels", [(0, 1), (0, 0, 0), (0, 0, 0, 1)])
def test_label_maps_of_equal_channels_are_read_and_alpha_is_dropped(tmp_path, pixels, channels):
    label_map = read_label_map(save(tmp_path / "a.png", pixels[..., channels]))
    assert label_map.tolist() == pixels[..., 0].tolist()


@pytest.mark.parametrize("odd", [1, 2])
def test_label_maps_of_channels_that_differ_are_refused(tmp_path, odd):
    labels = np.full((5, 7, 3), 9, np.uint8)
    labels[4, 6, odd] = 8
    with pytest.raises(
        BrokenPhotoError, match=r"colour.png must have a single .*\(5, 7, 3\) with channels that"
    ):
        read_label_map(save(tmp_path / "colour.png", labels))


@pytest.mark.parametrize("kind", [2, 4, 6])
def test_label_maps_of_several_channels_of_16_bits_are_refused(tmp_path, kind):
    path = save_png(tmp_path / "deep.png", [7] * 12, 16, kind)
    with pytest.raises(BrokenPhotoError, match=r"deep.png must have a single .* if it has 16 b"):
        read_label_map(path)


@pytest.mark.parametrize("labels", [np.float32([[0.5]]), np.int32([[3, -1]])])
def test_label_maps_of_fractions_or_negative_numbers_are_refused(tmp_path, labels):
    path = save(tmp_path / "odd.tiff", labels)
    with pytest.raises(
        BrokenPhotoError, match=rf"odd.tiff must hold whole numbers from 0.* of {labels.min()}\."
    ):
        read_label_map(path)


def test_label_maps_of_32_bits_are_read(tmp_path):
    assert read_label_map(save(tmp_path / "a.tiff", np.int32([[0, 70000]]))).tolist() == [
        [0, 70000]
    ]


@pytest.mark.parametrize("read", [read_image, read_label_map])
@pytest.mark.parametrize("data", [b"", b"not a picture"])
def test_files_that_are_no_pictures_are_named(tmp_path, read, data):
    (tmp_path / "junk.jpg").write_bytes(data)
    with pytest.raises(BrokenPhotoError, match=r"junk.jpg cannot be read: it is no picture"):
        read(tmp_path / "junk.jpg")


@pytest.mark.parametrize("read", [read_image, read_label_map])
def test_folders_are_named(tmp_path, read):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BrokenPhotoError, match=r"folder.png cannot be read: .*directory"):
        read(tmp_path / "folder.png")


@pytest.mark.parametrize("read", [read_image, read_label_map, read_region])
def test_a_png_without_pixels_is_named(tmp_path, read):
    chunks = save_png(tmp_path / "whole.png", [7], 8, 0).read_bytes()
    place = chunks.index(b"IDAT")
    length = struct.unpack(">I", chunks[place - 4 : place])[0]
    (tmp_path / "bare.png").write_bytes(chunks[: place - 4] + chunks[place + 8 + length :])
    with pytest.raises(BrokenPhotoError, match=r"bare.png cannot be read: \S"):
        read(tmp_path / "bare.png")


@pytest.mark.parametrize("read", [read_image, read_label_map, read_region])
def test_pipes_and_devices_are_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.png")
    for path in tmp_path / "pipe.png", "/dev/zero":
        with pytest.raises(BrokenPhotoError, match="cannot be read: it is no regular file"):
            read(path)


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
    with pytest.raises(BrokenPhotoError, match=r"gone.jpg cannot be read: there is no such file"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize("read", [read_image, read_label_map])
def test_decompression_bombs_are_named(tmp_path, read, monkeypatch):
    path = save(tmp_path / "bomb.png", NOISE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 // 2 - 1)
    with pytest.raises(BrokenPhotoError, match=r"bomb.png cannot be read: .*decompression bomb"):
        read(path)


def put(folder, image, labels, **settings):
    """Both files of a photo."""
    return save(folder / "barn.png", image, **settings), save(folder / "labels.png", labels)


def turned(folder, image, labels, orientation):
    """The photo, with an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return read_photo(*put(folder, image, labels, exif=exif))


def test_a_photo_is_its_image_its_labels_and_its_name(tmp_path, pixels):
    image_path, label_path = put(tmp_path, pixels, pixels[..., 0])
    image, label_map, name = read_photo(image_path, label_path)
    assert torch.equal(image, read_image(image_path))
    assert torch.equal(label_map, read_label_map(label_path))
    assert name == "barn"


# What each orientation means, in NumPy's words: the stored pixels to those seen.
VIEWS = {
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", VIEWS)
def test_a_photograph_that_fits_only_when_turned_is_turned(tmp_path, pixels, orientation):
    photo = turned(tmp_path, pixels, pixels[..., 0].T, orientation)
    assert (photo.image.permute(1, 2, 0).numpy() == VIEWS[orientation](pixels)).all()
    assert photo.label_map.tolist() == pixels[..., 0].T.tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_stay_as_stored_where_they_fit_the_label_map(tmp_path, pixels, orientation):
    photo = turned(tmp_path, pixels, pixels[..., 0], orientation)
    assert (photo.image.permute(1, 2, 0).numpy() == pixels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_square_photographs_stay_as_stored(tmp_path, orientation):
    photo = turned(tmp_path, NOISE, NOISE[:32, :32, 0], orientation)
    assert (photo.image.permute(1, 2, 0).numpy() == NOISE).all()


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 0, 9, 99])
def test_other_orientations_turn_nothing(tmp_path, pixels, orientation):
    with pytest.raises(BrokenPhotoError, match="5x7, to within 1%, got 7x5"):
        turned(tmp_path, pixels, pixels[..., 0].T, orientation)


def test_a_photograph_without_orientation_is_not_turned(tmp_path, pixels):
    with pytest.raises(BrokenPhotoError, match="5x7, to within 1%, got 7x5"):
        read_photo(*put(tmp_path, pixels, pixels[..., 0].T))


def test_a_turned_photograph_may_have_a_label_map_of_another_size(tmp_path, pixels):
    labels = pixels[..., 0].T.repeat(2, 0).repeat(2, 1)
    photo = turned(tmp_path, pixels, labels, 6)
    assert photo.image.shape == (3, 7, 5)
    assert photo.label_map.tolist() == pixels[..., 0].T.tolist()


def test_nearly_square_photographs_are_turned_where_that_fits_exactly(tmp_path):
    image = np.full((200, 201, 3), 9, np.uint8)
    labels = np.ones((201, 200), np.uint8)
    assert turned(tmp_path, image, labels, 6).image.shape == (3, 201, 200)
    assert turned(tmp_path, image, labels.T, 6).image.shape == (3, 200, 201)


BAD_EXIF = [
    b"Exif\0\0garbage!",
    b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x03\0\0\0ab\0\0\0\0\0\0",
]


@pytest.mark.parametrize("exif", BAD_EXIF)
@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_an_invalid_orientation_is_none(tmp_path, pixels, exif, name):
    image_path = save(tmp_path / name, pixels, exif=exif)
    fitting = save(tmp_path / "fitting.png", pixels[..., 0])
    turned = save(tmp_path / "turned.png", pixels[..., 0].T)
    assert read_photo(image_path, fitting).image.shape == (3, 5, 7)
    with pytest.raises(BrokenPhotoError, match=r"turned.png must have the aspect ratio"):
        read_photo(image_path, turned)


@pytest.mark.parametrize("factor", [2, 3])
def test_label_maps_of_another_size_are_resized_by_nearest_neighbour(tmp_path, pixels, factor):
    small, large = pixels[..., 0], pixels[..., 0].repeat(factor, 0).repeat(factor, 1)
    enlarged = read_photo(*put(tmp_path, pixels.repeat(factor, 0).repeat(factor, 1), small))
    assert enlarged.label_map.tolist() == large.tolist()
    assert read_photo(*put(tmp_path, pixels, large)).label_map.tolist() == small.tolist()


@pytest.mark.parametrize("size", [(101, 200), (100, 202), (50, 101), (991, 2000), (100, 199)])
def test_aspect_ratios_may_differ_by_one_percent(tmp_path, size):
    photo = read_photo(*put(tmp_path, np.zeros((100, 200, 3), np.uint8), np.ones(size, np.uint8)))
    assert photo.label_map.shape == (100, 200)


@pytest.mark.parametrize("size", [(102, 200), (100, 203), (99, 200), (100, 198), (200, 100)])
def test_aspect_ratios_that_differ_by_more_are_refused_with_both_sizes(tmp_path, size):
    paths = put(tmp_path, np.zeros((100, 200, 3), np.uint8), np.ones(size, np.uint8))
    sizes = rf"100x200, to within 1%, got {size[0]}x{size[1]}\."
    with pytest.raises(BrokenPhotoError, match=rf"labels.png must have the aspect .*, {sizes}"):
        read_photo(*paths)


def test_photos_without_labels_are_refused(tmp_path, pixels):
    paths = put(tmp_path, pixels, np.zeros((5, 7), np.uint8))
    with pytest.raises(
        UnlabelledPhotoError, match=r"labels.png must have a labelled pixel, got only label 0"
    ):
        read_photo(*paths)


def test_photos_that_lose_their_labels_when_they_are_resized_are_refused(tmp_path):
    labels = np.zeros((40, 40), np.uint8)
    labels[0, 0] = 1
    with pytest.raises(UnlabelledPhotoError):
        read_photo(*put(tmp_path, NOISE[:4, :4], labels))
