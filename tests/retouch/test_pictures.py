import re

import numpy as np
import pytest
import torch
from icc_profiles import display_p3
from PIL import ExifTags, Image

from opmask import Photo
from opmask.retouch.pil import MODES
from opmask.retouch.pixels import decode, encode, like, profile_of, to_stored

DISPLAY_P3 = display_p3()


def colours(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def photo(mode="RGB"):
    rgba = Image.fromarray(colours(20, 30, 4))
    return rgba.convert("RGB").convert(mode) if mode in ("P", "L", "RGB") else rgba.convert(mode)


def to_pixels(image):
    """The colours of a batch of pictures."""
    return torch.cat([decode(one) for one in to_stored(image)])


def back(image, pixels):
    """Colours as a picture like another one."""
    pairs = zip(pixels, to_stored(image), strict=True)
    return like(image, torch.stack([encode(one[None], stored) for one, stored in pairs]))


# --- to_stored and decode ---


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "I;16"])
def test_pixels_are_those_of_pillows_rgb(mode):
    picture = photo(mode)
    expected = torch.from_numpy(np.array(picture.convert("RGBA").convert("RGB"))) / 255
    torch.testing.assert_close(to_pixels(picture)[0].permute(1, 2, 0), expected, rtol=0, atol=0)


def test_arrays_and_tensors_of_8_bits_are_divided_by_255():
    array = colours(5, 7, 3)
    expected = torch.from_numpy(array).permute(2, 0, 1) / 255
    for image in array, torch.from_numpy(array).permute(2, 0, 1):
        torch.testing.assert_close(to_pixels(image), expected[None], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_floating_point_keeps_its_values_in_at_least_single_precision(dtype, wanted):
    image = torch.rand(2, 3, 5, 7).to(dtype)
    torch.testing.assert_close(to_pixels(image), image.to(wanted), rtol=0, atol=0)


def test_16_bits_are_divided_by_65535_and_stay_as_they_are():
    array = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    expected = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1) / 65535
    torch.testing.assert_close(to_pixels(array)[0], expected, rtol=0, atol=0)
    assert np.array_equal(back(array, to_pixels(array)), array)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_grey_arrays_are_repeated_and_come_back_grey(shape):
    array = colours(*shape)
    pixels = to_pixels(array)
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    assert np.array_equal(back(array, pixels), array)


def test_arrays_turned_around_or_read_only_are_fine():
    array = colours(5, 7, 3)
    torch.testing.assert_close(to_pixels(array[::-1, :, ::-1]), to_pixels(array).flip(1, 2))
    array.flags.writeable = False
    assert to_pixels(array).shape == (1, 3, 5, 7)
    torch.testing.assert_close(to_pixels(Photo(array[::-1])), to_pixels(array).flip(2))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", ">u2"])
def test_bytes_in_the_other_order_are_fine_and_come_back_so(dtype):
    array = (colours(5, 7, 3) / 255 if "f" in dtype else colours(5, 7, 3)).astype(dtype)
    new = like(array, to_stored(array))
    assert new.dtype == array.dtype
    assert np.array_equal(new, array)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_pil_images_of_16_bits_are_fine_in_every_order_of_bytes(mode):
    levels = colours(20, 30).astype(np.uint16) * 257
    order = ">u2" if mode == "I;16B" else "<u2"
    picture = Image.frombytes(mode, (30, 20), levels.astype(order).tobytes())
    new = like(picture, to_stored(picture))
    assert new.mode == "I;16"
    assert np.array_equal(new, levels)


@pytest.mark.parametrize("mode", ["1", "CMYK", "I", "F", "YCbCr", "LAB", "HSV"])
def test_other_modes_are_refused(mode):
    message = f"'image' must have one of the modes RGB, RGBA, L, LA, P, PA, I;16, got '{mode}'."
    with pytest.raises(ValueError, match=message):
        to_pixels(Image.new(mode, (30, 20)))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (
            "a.png",
            TypeError,
            "'image' must be a Photo, a PIL image, a NumPy array or a tensor, got",
        ),
        (
            np.zeros((5, 7, 3), int),
            TypeError,
            "must be uint8, uint16 or floating point as an array",
        ),
        (
            np.zeros((5, 7, 2), np.uint8),
            ValueError,
            "must have shape (H, W, 3) or (H, W), got",
        ),
        (np.zeros((5, 7, 4), np.uint8), ValueError, "must have shape (H, W, 3) or (H, W), got"),
        (torch.zeros(5, 7), ValueError, "must have shape (3, H, W) or (B, 3, H, W), got (5, 7)."),
        (torch.zeros(1, 1, 3, 5, 7), ValueError, "must have shape (3, H, W) or (B, 3, H, W), got"),
        (torch.zeros(4, 5, 7), ValueError, "must have shape (3, H, W) or (B, 3, H, W), got (4,"),
        (
            torch.zeros(3, 5, 7).int(),
            TypeError,
            "must be uint8, uint16 or floating point in [0, 1], got torch.int32",
        ),
        (torch.zeros(0, 3, 5, 7), ValueError, "must have shape (3, H, W) or (B, 3, H, W), got (0"),
        (torch.zeros(3, 5, 7, device="meta"), TypeError, "must be a dense tensor that holds"),
        (torch.zeros(3, 5, 7).to_sparse(), TypeError, "must be a dense tensor that holds pixels"),
        (
            torch.zeros(3, 5, 7).to(torch.float8_e4m3fn),
            TypeError,
            "must be uint8, uint16 or floating point in [0, 1], got torch.float8_e4m3fn",
        ),
        (np.zeros((5, 7, 3), np.longdouble), TypeError, "of at most 64 bits, got"),
        (torch.full((3, 5, 7), 9.0), ValueError, "must lie in [0, 1], got values in [9, 9]. Div"),
        (torch.full((3, 5, 7), -0.1), ValueError, "must lie in [0, 1], got values in [-0.1, -0.1"),
        (torch.full((3, 5, 7), torch.nan), ValueError, "must lie in [0, 1], got values in [nan,"),
    ],
)
def test_what_is_no_picture_is_refused(image, error, message):
    with pytest.raises(error, match=re.escape(message)):
        to_pixels(image)


# --- like ---


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_a_picture_comes_back_from_its_pixels(mode):
    picture = photo(mode)
    new = back(picture, to_pixels(picture))
    assert (new.mode, new) == (mode, picture)


@pytest.mark.parametrize(("mode", "wanted"), [("P", "RGB"), ("PA", "RGBA")])
def test_palettes_become_colours(mode, wanted):
    picture = photo(mode)
    assert back(picture, to_pixels(picture)) == picture.convert(wanted)


@pytest.mark.parametrize(
    ("mode", "transparent", "pixel", "wanted"),
    [
        ("P", 3, 3, "RGBA"),
        ("P", b"\x80\x00", 1, "RGBA"),
        ("RGB", (9, 9, 9), (9, 9, 9), "RGBA"),
        ("L", 9, 9, "LA"),
    ],
)
def test_transparent_colours_become_alpha(mode, transparent, pixel, wanted):
    picture = photo(mode)
    picture.putpixel((0, 0), pixel)
    picture.info["transparency"] = transparent
    new = back(picture, to_pixels(picture))
    assert np.array_equal(new, picture.convert("RGBA").convert(wanted))
    assert new.getpixel((0, 0))[-1] == 0
    assert "transparency" not in new.info


def test_the_profile_and_the_metadata_are_kept_and_nothing_else():
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "A. Painter"
    kept = {"icc_profile": DISPLAY_P3, "exif": tags.tobytes(), "dpi": (7.0, 7.0), "xmp": b"x"}
    picture = photo()
    picture.info = kept | {"gamma": 0.5}
    assert back(picture, to_pixels(picture)).info == kept


def test_arrays_come_back_as_8_bits():
    array = colours(5, 7, 3)
    new = back(array, to_pixels(array))
    assert (new.dtype, new.flags.c_contiguous) == (np.uint8, True)
    np.testing.assert_array_equal(new, array)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 3, 5, 7), (2, 3, 5, 7)])
def test_tensors_come_back_with_type_and_shape(dtype, shape):
    image = (torch.rand(shape) * (255 if dtype == torch.uint8 else 1)).to(dtype)
    torch.testing.assert_close(back(image, to_pixels(image)), image, rtol=0, atol=0)


def test_levels_are_rounded_and_never_wrap():
    image = torch.zeros(3, 1, 5, dtype=torch.uint8)
    pixels = torch.tensor([-0.1, 1.49 / 255, 1.51 / 255, 1.0, 1.1]).expand(1, 3, 1, 5)
    assert back(image, pixels)[0, 0].tolist() == [0, 1, 2, 255, 255]


def test_grey_is_brightness():
    pixels = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 20, 30)
    assert back(photo("L"), pixels).getpixel((3, 3)) == round(0.299 * 255)


def test_grey_pictures_of_16_bits_keep_them():
    levels = np.random.default_rng(0).integers(0, 65536, (20, 30), np.uint16)
    picture = Image.fromarray(levels)
    new = back(picture, to_pixels(picture))
    assert (new.mode, np.array_equal(new, levels)) == ("I;16", True)


# --- photos and profiles ---


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_photos_come_back_with_their_alpha_and_all_their_bits(channels, dtype):
    numbers = np.random.default_rng(0).random((20, 30, channels))
    photo = Photo((numbers * {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)).astype(dtype))
    new = back(photo, to_pixels(photo))
    np.testing.assert_allclose(new.pixels, photo.pixels, rtol=0, atol=1e-7)
    assert new.pixels.dtype == dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_of_a_wide_gamut_lie_beyond_srgb_and_come_back(dtype):
    white = np.iinfo(dtype).max
    photo = Photo(np.array([[[0, white, 0], [white, 0, 0]]], dtype), profile=DISPLAY_P3)
    pixels = torch.cat([decode(one, profile_of(photo)) for one in to_stored(photo)])
    assert pixels.min() < -0.2
    assert pixels.max() > 1.05
    stored = to_stored(photo)[0]
    assert torch.equal(encode(pixels, stored, profile_of(photo)), stored)


def test_a_profile_of_a_pil_image_that_is_not_read_counts_as_srgb():
    picture = photo()
    picture.info["icc_profile"] = b"profile"
    assert profile_of(picture) is None
    assert back(picture, to_pixels(picture)).info["icc_profile"] == b"profile"
    picture.info["icc_profile"] = DISPLAY_P3
    assert profile_of(picture) == DISPLAY_P3
