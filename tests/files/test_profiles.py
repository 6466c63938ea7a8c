import io

import numpy as np
import pytest
from icc_profiles import (
    ADOBE,
    P3,
    PROPHOTO,
    SRGB,
    SRGB_CURVE,
    curv,
    of_tables,
    packed,
    para,
    profile,
)
from PIL import Image, ImageCms

from opmask.files.photo import Photo, read_photo
from opmask.files.profiles import check_profile, from_srgb, is_srgb, to_srgb
from opmask.files.saving import write_photo

RAMP = np.linspace(0, 1, 1024) ** 2.2 * 65535
WIDE = {
    "Display P3": profile(P3, SRGB_CURVE),
    "Adobe RGB": profile(ADOBE, curv(round(2.2 * 256))),
    "ProPhoto": profile(PROPHOTO, curv(round(1.8 * 256))),
    "a table": profile(P3, curv(*RAMP.astype(int))),
    "a flat table": profile(P3, curv(*np.maximum(RAMP - 9000, 0).astype(int))),
    "linear": profile(P3, curv()),
    "a power": profile(P3, para(0, 2.2)),
    "a shifted power": profile(P3, para(1, 2.2, 0.9, 0.1)),
    "a power and an offset": profile(P3, para(2, 2.2, 0.9, 0.1, 0.001)),
    "five numbers and more": profile(P3, para(4, 2.4, 0.948, 0.052, 0.0774, 0.0405, 0, 0)),
}


def levels(top):
    """Colours of all kinds: any, with channels at their ends, and dark ones."""
    rng = np.random.default_rng(0)
    some = rng.integers(0, top + 1, (3, 40_000, 3))
    some[1][rng.random((40_000, 3)) < 0.5] = 0
    some[1][rng.random((40_000, 3)) < 0.3] = top
    some[2] = np.minimum(some[2], rng.integers(0, top // 100 + 2, (40_000, 3)))
    return some.reshape(-1, 3)


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize(("top", "error"), [(255, 0), (65535, 1)])
def test_there_and_back_levels_are_the_same(name, top, error):
    before = levels(top)
    srgb = to_srgb((before / top).astype(np.float32), WIDE[name])
    after = np.rint(from_srgb(srgb, WIDE[name]).astype(np.float64) * top)
    assert srgb.dtype == np.float32
    assert np.abs(after - before).max() <= error


@pytest.mark.parametrize("name", ["Display P3", "Adobe RGB", "ProPhoto", "a table"])
def test_colours_within_srgb_are_those_of_little_cms(name):
    srgb = ImageCms.createProfile("sRGB")
    inside = np.random.default_rng(0).integers(40, 200, (20, 20, 3), np.uint8)
    own = from_srgb((inside / 255).astype(np.float32), WIDE[name])
    picture = Image.fromarray(np.rint(own * 255).astype(np.uint8))
    source = ImageCms.ImageCmsProfile(io.BytesIO(WIDE[name]))
    expected = np.asarray(ImageCms.profileToProfile(picture, source, srgb, renderingIntent=1))
    ours = to_srgb((np.asarray(picture) / 255).astype(np.float32), WIDE[name]) * 255
    assert np.abs(ours - expected).max() < 1.6


def test_colours_beyond_srgb_are_kept_and_grey_stays_grey():
    red = to_srgb(np.array([[1, 0, 0]], np.float32), WIDE["Display P3"])[0]
    assert red[0] > 1 > 0 > red[1]
    grey = np.repeat(np.linspace(0, 1, 9, dtype=np.float32)[:, None], 3, 1)
    for one in WIDE.values():
        assert np.ptp(to_srgb(grey, one), axis=1).max() < 1e-5


def test_srgb_costs_nothing():
    pixels = np.random.default_rng(0).random((4, 4, 3), np.float32)
    shipped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for one in (None, profile(SRGB, SRGB_CURVE), shipped):
        assert is_srgb(one)
        assert to_srgb(pixels, one) is from_srgb(pixels, one) is pixels
    assert not any(is_srgb(one) for one in WIDE.values())


def test_grey_profiles_have_one_channel():
    grey = profile([], curv(round(1.8 * 256)))
    before = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    assert np.abs(from_srgb(to_srgb(before, grey), grey) - before).max() < 1e-5
    assert to_srgb(before, grey)[128, 0] == pytest.approx(0.58, abs=0.02)
    with pytest.raises(ValueError, match="must have the 1 channels of the ICC profile"):
        to_srgb(np.zeros((2, 3), np.float32), grey)


GOOD = WIDE["Display P3"]
BROKEN = {
    "empty": b"",
    "no profile": b"x" * 400,
    "cut short": GOOD[:200],
    "half of it": GOOD[: len(GOOD) // 2],
    "no table": GOOD[:130],
    "CMYK": packed({}, b"CMYK"),
    "no lights": profile([(0, 0, 0)] * 3, SRGB_CURVE),
    "another white": profile([(2, 2, 2), (1, 0, 0), (0, 0, 1)], SRGB_CURVE),
    "a curve of another kind": profile(P3, b"rubbish " * 4),
    "a curve that falls": profile(P3, para(3, 2.4, 1, 0, -1, 0.5)),
    "an absurd power": profile(P3, para(0, 30000)),
    "a power below 0": profile(P3, para(0, -2)),
    "no kind of curve": profile(P3, para(9, 1)),
    "a curve of four billion": profile(P3, b"curv\0\0\0\0\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_profiles_are_refused(name):
    with pytest.raises(ValueError, match="the ICC profile"):
        check_profile(BROKEN[name], 3)


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_photo_with_a_broken_profile_is_read_as_srgb(tmp_path, name, suffix):
    values = np.full((4, 4, 3), 99, np.uint8)
    write_photo(Photo(values, BROKEN[name]), tmp_path / f"a{suffix}")
    photo = read_photo(tmp_path / f"a{suffix}")
    assert (photo.profile, photo.pixels[0, 0].tolist()) == (None, [99] * 3)
    assert photo.remarks or name in ("empty", "no profile")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".avif", ".heic"])
def test_a_profile_comes_back_to_the_bit(tmp_path, suffix):
    write_photo(Photo(np.full((40, 40, 3), 99, np.uint8), GOOD), tmp_path / f"a{suffix}")
    assert read_photo(tmp_path / f"a{suffix}").profile == GOOD


def test_a_profile_of_any_size_fits_into_a_jpeg(tmp_path):
    large = GOOD + bytes(200_000)
    assert write_photo(Photo(np.zeros((4, 4, 3), np.uint8), large), tmp_path / "a.jpg") == ()
    assert read_photo(tmp_path / "a.jpg").profile == large


def test_jpeg_xl_would_lose_the_profile_and_is_refused():
    with pytest.raises(ValueError, match="a format that takes a colour profile"):
        write_photo(Photo(np.zeros((4, 4, 3), np.uint8), GOOD), "a.jxl")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colours_of_a_profile_of_tables_become_srgb_when_they_are_read(tmp_path, kind):
    top = np.iinfo(kind).max
    values = np.full((4, 4, 3), [top, 0, 0]).astype(kind)
    write_photo(Photo(values, of_tables()), tmp_path / "a.tif")
    photo = read_photo(tmp_path / "a.tif")
    assert photo.remarks[0].endswith("colours were converted to sRGB.")
    assert (photo.profile, photo.pixels.dtype) == (None, kind)
    assert photo.pixels[0, 0] / top == pytest.approx([0.31] * 3, abs=0.02)  # L* of 33
