import io
import struct

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps, TiffTags

from opmask.files.exif import upright
from opmask.files.pictures import open_picture, to_rgb

ORIENTATION, MAKE, EXPOSURE = (
    ExifTags.Base.Orientation,
    ExifTags.Base.Make,
    ExifTags.Base.ExposureTime,
)


def colours(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def photo(mode="RGB"):
    return Image.fromarray(colours(20, 30, 3)).convert(mode)


def stored(orientation, format="JPEG"):
    """A file with an EXIF orientation, a maker and an exposure, opened."""
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "Maker", orientation
    exif.get_ifd(ExifTags.IFD.Exif)[EXPOSURE] = 0.01
    file = io.BytesIO()
    photo().save(file, format, exif=exif)
    return Image.open(file)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_applied_as_pillow_does(orientation, format):
    picture, expected = upright(stored(orientation, format)), stored(orientation, format)
    expected.load()
    assert np.array_equal(picture, ImageOps.exif_transpose(expected))
    assert ORIENTATION not in picture.getexif()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_other_tags_stay_and_survive_saving(orientation, format):
    picture, file = upright(stored(orientation, format)), io.BytesIO()
    picture.save(file, format, exif=picture.info["exif"])
    exif = Image.open(file).getexif()
    assert (exif[MAKE], exif.get_ifd(ExifTags.IFD.Exif)[EXPOSURE]) == ("Maker", 0.01)
    assert ORIENTATION not in exif


def test_the_picture_itself_stays_as_it_is():
    picture = stored(6)
    upright(picture)
    assert (picture.size, picture.getexif()[ORIENTATION]) == ((30, 20), 6)
    assert upright(picture).info.keys() >= {"exif", "jfif"}


def test_a_picture_without_orientation_is_copied():
    picture = photo()
    assert upright(picture) == picture
    assert upright(picture) is not picture
    assert "exif" not in upright(picture).info


def test_no_tag_but_the_orientation_leaves_no_exif():
    picture, file = photo(), io.BytesIO()
    picture.getexif()[ORIENTATION] = 3
    picture.save(file, "PNG", exif=picture.getexif())
    assert "exif" not in upright(Image.open(file)).info
    assert upright(picture) == picture.rotate(180)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the damage
@pytest.mark.parametrize(
    "damage", [b"", b"rubbish", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x02"]
)
def test_damaged_exif_data_are_dropped(damage):
    picture, file = photo(), io.BytesIO()
    picture.save(file, "PNG", exif=b"Exif\0\0" + damage)
    turned = upright(Image.open(file))
    assert turned == picture
    assert "exif" not in turned.info


def test_tags_that_cannot_be_written_are_dropped_and_the_orientation_is_not(monkeypatch):
    picture = stored(6)
    picture.getexif()

    def fail(*_):
        raise KeyError("some tag")

    monkeypatch.setattr(Image.Exif, "tobytes", fail)
    turned = upright(picture)
    assert turned.size == (20, 30)
    assert "exif" not in turned.info


def test_tags_that_cannot_be_read_are_dropped(monkeypatch):
    picture = stored(6)

    def fail(*_):
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(type(picture), "getexif", fail)
    assert upright(picture).size == (30, 20)


def test_an_orientation_that_only_xmp_has_is_applied_once(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:D tiff:Orientation="6"/></x:xmpmeta>'
    photo().save(tmp_path / "a.jpg", xmp=xmp)
    turned = upright(open_picture(tmp_path / "a.jpg"))
    assert (turned.size, upright(turned).size) == ((20, 30), (20, 30))


# What else the EXIF data of a photo may hold, all of it untrue of another file.
STRUCTURAL = {
    254: 1, 256: 9999, 257: 8888, 258: (16, 16, 16), 259: 5, 262: 0, 266: 2, 273: 8, 277: 4,
    278: 7, 279: 100, 284: 2, 317: 2, 320: (1, 2, 3), 322: 16, 323: 16, 324: 8, 325: 9, 330: 8,
    338: 2, 339: 3, 347: b"tables", 512: 1, 513: 100, 514: 10, 519: 1, 520: 2, 521: 3,
    529: (0.3, 0.6, 0.1), 530: (2, 2), 531: 2, 532: (0, 255, 128, 255, 128, 255), 34675: b"icc",
}  # fmt: skip
FORMATS = {
    "tif": {},
    "jpg": {"quality": 95, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
}


def with_structural_tags(path, tags, picture):
    exif = Image.Exif()
    for tag in tags:
        exif[tag] = STRUCTURAL[tag]
    exif[MAKE], exif[ORIENTATION] = "Maker", 6
    exif.get_ifd(ExifTags.IFD.Exif).update({EXPOSURE: 0.01, 40962: 9999, 40963: 8888})
    picture.save(path, exif=exif)
    return upright(open_picture(path))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("source", ["png", "jpg", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_file_with_the_tags_of_another_opens_with_its_own_pixels(tmp_path, suffix, source, mode):
    turned = with_structural_tags(tmp_path / f"in.{source}", STRUCTURAL, photo(mode))
    out = tmp_path / f"out.{suffix}"
    turned.save(out, exif=turned.info["exif"], **FORMATS[suffix])
    again, seen = open_picture(out), cv2.imread(str(out), cv2.IMREAD_COLOR)
    error = 24 if suffix == "jpg" else 0
    assert np.abs(to_rgb(again).astype(int) - to_rgb(turned)).max() <= error
    assert np.array_equal(seen[..., ::-1], to_rgb(again))
    assert again.size == turned.size == (20, 30)


@pytest.mark.parametrize("tag", STRUCTURAL)
def test_each_structural_tag_by_itself_leaves_a_tiff_readable(tmp_path, tag):
    turned = with_structural_tags(tmp_path / "in.png", [tag], photo())
    turned.save(tmp_path / "out.tif", exif=turned.info["exif"])
    assert np.array_equal(open_picture(tmp_path / "out.tif"), turned)
    assert np.array_equal(cv2.imread(str(tmp_path / "out.tif"))[..., ::-1], turned)


def test_what_says_something_of_the_photo_stays_and_sizes_are_the_new_ones(tmp_path):
    turned = with_structural_tags(tmp_path / "in.jpg", STRUCTURAL, photo())
    exif = Image.Exif()
    exif.load(turned.info["exif"])
    assert set(exif) == {MAKE, ExifTags.IFD.Exif}
    assert exif.get_ifd(ExifTags.IFD.Exif) == {EXPOSURE: 0.01, 40962: 20, 40963: 30}


def test_a_thumbnail_is_not_kept(tmp_path):
    entries = [(MAKE, TiffTags.ASCII, 4, b"abc\0")]
    thumbnail = [(513, TiffTags.LONG, 1, struct.pack("<I", 60)), (514, 4, 1, struct.pack("<I", 9))]

    def directory(tags, after):
        body = b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags)
        return struct.pack("<H", len(tags)) + body + struct.pack("<I", after)

    first = directory(entries, 8 + 2 + 12 + 4)
    data = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + directory(thumbnail, 0) + bytes(20)
    photo().save(tmp_path / "a.jpg", exif=data)
    assert open_picture(tmp_path / "a.jpg").getexif().get_ifd(ExifTags.IFD.IFD1)
    turned = upright(open_picture(tmp_path / "a.jpg"))
    exif = Image.Exif()
    exif.load(turned.info["exif"])
    assert (dict(exif), exif.get_ifd(ExifTags.IFD.IFD1)) == ({MAKE: "abc"}, {})
