import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opmask.files.regions import (
    boxes_region,
    inverted,
    label_region,
    region_files,
    soft,
    strokes_region,
    to_region,
)

INSIDE = np.zeros((6, 8), bool)
INSIDE[1:4, 2:5] = True


def grey(inside=255, outside=0, dtype=np.uint8):
    return Image.fromarray(np.where(INSIDE, inside, outside).astype(dtype))


def colour(alpha=None):
    """A photo, and, as a cut-out, the same with alpha."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    picture = Image.fromarray(pixels)
    if alpha is not None:
        picture.putalpha(alpha)
    return picture


def palette(*colours):
    """A picture that holds the numbers 0 outside and 1 inside, with these colours."""
    picture = Image.frombytes("P", (8, 6), INSIDE.astype(np.uint8).tobytes())
    picture.putpalette([value for each in colours for value in each])
    return picture


def transparent_palette():
    picture = colour().quantize(4)
    picture.info["transparency"] = bytes([0, 255, 255, 255])
    return picture


BLACK, WHITE, MAROON = (0, 0, 0), (255, 255, 255), (128, 0, 0)
SAME = {
    "1": grey().convert("1"),
    "L": grey(),
    "LA": grey().convert("LA"),
    "RGB": grey().convert("RGB"),
    "RGBA": grey().convert("RGBA"),
    "RGBA, clear outside": Image.merge("RGBA", (*[grey()] * 3, grey())),
    "CMYK": grey().convert("RGB").convert("CMYK"),
    "YCbCr": grey().convert("RGB").convert("YCbCr"),
    "P of Pillow": grey().convert("P"),
    "P of black and white": palette(BLACK, WHITE),
    "P of labels, as VOC has them": palette(BLACK, MAROON),
    "P of two colours": palette((0, 0, 255), MAROON),
    "P of nothing but black": palette(BLACK, BLACK),
    "PA": palette(BLACK, WHITE).convert("PA"),
    "0 and 1": grey(1),
    "0 and 128": grey(128),
    "RGB of 0 and 1": grey(1).convert("RGB"),
    "16 bits": grey(65535, dtype=np.uint16),
    "16 bits of 0 and 1": grey(1, dtype=np.uint16),
    "16 bits, the other byte order": Image.frombytes(
        "I;16B", (8, 6), np.where(INSIDE, 300, 0).astype(">u2").tobytes()
    ),
    "a cut-out": colour(grey()),
    "a cut-out of which alpha is 0 and 1": colour(grey(1)),
    "a silhouette": Image.merge("LA", (grey(7, 7), grey())),
}


@pytest.mark.parametrize("kind", SAME)
def test_a_region_is_understood_however_a_file_says_it(kind):
    region = to_region(SAME[kind])
    assert region.dtype == np.float32
    np.testing.assert_array_equal(region, INSIDE.astype(np.float32))


def test_what_a_palette_shows_counts_more_than_its_numbers():
    shown = to_region(palette(WHITE, BLACK))
    np.testing.assert_array_equal(shown, 1 - INSIDE.astype(np.float32))


@pytest.mark.parametrize("suffix", ["PNG", "TIFF", "WEBP", "GIF"])
def test_formats_without_loss_say_the_same(suffix):
    file = io.BytesIO()
    grey().convert("RGB").save(file, suffix, **({"lossless": True} if suffix == "WEBP" else {}))
    np.testing.assert_array_equal(to_region(Image.open(file)), INSIDE.astype(np.float32))


@pytest.mark.parametrize(("suffix", "mode"), [("JPEG", "L"), ("JPEG", "RGB"), ("WEBP", "RGB")])
def test_formats_with_loss_are_soft(suffix, mode):
    file = io.BytesIO()
    grey().resize((80, 60)).convert(mode).save(file, suffix)
    region = to_region(Image.open(file))
    np.testing.assert_allclose(region, np.asarray(grey().resize((80, 60))) / 255, atol=0.15)
    assert 0 < region.max() <= 1


def test_one_value_that_is_not_0_is_everything():
    for picture in grey(1, 1), grey(9, 9, np.uint16), grey(9, 9).convert("RGB"):
        assert (to_region(picture) == 1).all()
    for picture in grey(0, 0), grey(0, 0, np.uint16), grey(0, 0).convert("RGBA"):
        assert (to_region(picture) == 0).all()


def test_more_values_are_shares_of_the_largest_of_their_type():
    levels = np.array([[0, 51, 102, 204]], np.uint8)
    np.testing.assert_array_equal(soft(levels), levels / np.float32(255))
    np.testing.assert_array_equal(
        soft(levels.astype(np.uint16) * 257), levels.astype(np.float32) * 257 / np.float32(65535)
    )


@pytest.mark.parametrize("values", [(0, 1, 2), (1, 2), (0, 3, 12), (10, 11)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_are_refused_rather_than_taken_for_next_to_nothing(values, dtype):
    levels = np.zeros((4, 5), dtype) + dtype(values[0])
    levels[0, : len(values)] = values
    top = np.iinfo(dtype).max
    message = rf"a\.png must be 0 and one other value, or soft with {top} for inside, got several "
    with pytest.raises(ValueError, match=rf"{message}values of at most {values[-1]}\. They look"):
        soft(levels, "a.png")


@pytest.mark.parametrize(
    "picture",
    [
        colour(),
        colour(grey(255, 255)),
        palette(BLACK, MAROON).resize((8, 6)).convert("RGB"),
        colour().quantize(9),
    ],
)
def test_colours_without_alpha_are_refused(picture):
    message = "a.png must be grey, white inside and black outside, or a cut-out with alpha, got"
    with pytest.raises(ValueError, match=re.escape(message)):
        to_region(picture, "a.png")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(mode):
    with pytest.raises(ValueError, match=r"must have 8 or 16 bits a channel, got mode"):
        to_region(Image.new(mode, (8, 6)))


def test_the_transparent_colour_of_a_palette_is_outside():
    picture = transparent_palette()
    np.testing.assert_array_equal(to_region(picture), np.asarray(picture) != 0)


def test_the_masks_of_the_data_are_read_as_before(data_root):
    paths = [*data_root.glob("iharmony4_sample/*/masks/*.png"),
             *data_root.glob("*_composites/masks/*.png")]  # fmt: skip
    assert len(paths) > 200
    for path in paths:
        with Image.open(path) as picture:
            np.testing.assert_array_equal(255 * to_region(picture), np.asarray(picture))


# --- labels, boxes, strokes ---


def test_a_label_is_a_region_whatever_its_colour():
    numbers = np.array([[0, 1], [2, 2]], np.uint8)
    picture = Image.fromarray(numbers)
    palette = Image.fromarray(numbers)
    palette.putpalette([9, 9, 9, 8, 8, 8, 7, 7, 7])
    for one in (picture, palette, Image.fromarray(numbers.astype(np.uint16))):
        assert label_region(one, 2).tolist() == [[0, 0], [1, 1]]
    with pytest.raises(ValueError, match=r"'label' must be one of those in 'region', 0, 1, 2, "):
        label_region(picture, 3)
    with pytest.raises(ValueError, match="must be grey or have a palette"):
        label_region(picture.convert("RGB"), 1)


def test_boxes_add_up_and_must_lie_in_the_photo():
    assert boxes_region([(0, 0, 1, 1), (2, 0, 3, 2)], (2, 3)).tolist() == [[1, 0, 1], [0, 0, 1]]
    for box in [(0, 0, 4, 1), (1, 0, 1, 1), (-1, 0, 1, 1), (2, 1, 1, 2)]:
        with pytest.raises(ValueError, match="'boxes' must be x0,y0,x1,y1"):
            boxes_region([box], (2, 3))
    with pytest.raises(ValueError, match="at least one box"):
        boxes_region([], (2, 3))


def test_strokes_say_something_only_where_they_are():
    levels = np.array([[[255, 255], [0, 255], [255, 0], [0, 9]]], np.uint8)
    assert strokes_region(Image.fromarray(levels)).tolist() == [[1, 0, -1, -1]]
    assert inverted(strokes_region(Image.fromarray(levels))).tolist() == [[0, 1, -1, -1]]
    with pytest.raises(ValueError, match="must have a transparent ground"):
        strokes_region(Image.new("L", (2, 2)))
    with pytest.raises(ValueError, match="nothing is painted"):
        strokes_region(Image.new("LA", (2, 2)))


@pytest.mark.parametrize(
    "color", [(255, 0, 0), (0, 0, 255), (200, 60, 60), (255, 255, 0), (64, 0, 0)]
)
def test_strokes_of_a_colour_are_refused(color):
    picture = Image.new("RGBA", (4, 2), (*color, 0))  # under what is transparent it does not count
    picture.putpixel((0, 0), (255, 250, 240, 255))
    assert strokes_region(picture)[0].tolist() == [1, -1, -1, -1]
    picture.putpixel((1, 0), (*color, 255))
    with pytest.raises(ValueError, match=f"of another colour, {','.join(map(str, color))}"):
        strokes_region(picture)


def test_composites_of_iharmony4_share_the_mask_of_their_names(tmp_path):
    for name in ("f1_1.png", "f1_2.png", "f2.png"):
        (tmp_path / name).touch()
    photos = [Path("f1_1_4.jpg"), Path("f1_2_4.jpg"), Path("f2.jpg")]
    assert [f.name for f in region_files(photos, tmp_path)] == ["f1_1.png", "f1_2.png", "f2.png"]
    with pytest.raises(ValueError, match=r"one for f2_x_y\.jpg: f2_x_y_mask\.png or f2_x_y\.png,"):
        region_files([Path("f2_x_y.jpg")], tmp_path)
