import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps, TiffTags

from opmask.files.pictures import (
    check_opaque,
    open_picture,
    open_stored,
    picture_files,
    to_rgb,
    upright,
)

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


# --- upright ---


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


# --- files ---


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*chunks, size=(32, 32)):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


HOSTILE = {
    "empty": b"",
    "text": b"not a picture",
    "no pixels": png(chunk(b"IEND", b"")),
    "no end": png(),
    "a bomb": png(chunk(b"IDAT", zlib.compress(bytes(999))), size=(60000, 60000)),
    "no size": png(chunk(b"IDAT", zlib.compress(b"")), size=(0, 0)),
    "rubbish inside": png(chunk(b"IDAT", b"rubbish"), chunk(b"IEND", b"")),
    "a TIFF of no directory": b"II*\0\xff\xff\xff\x7f",
    "a TIFF of half a tag": b"II*\0\x08\0\0\0\x09\0\0\1\3\0",
    "half a JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xdb\0\x43",
    "a WebP of nothing": b"RIFF\x04\0\0\0WEBP",
    "a GIF of nothing": b"GIF89a\x10\0\x10\0\0\0\0",
    "a program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n",
}


@pytest.mark.filterwarnings("error")  # Pillow warns of damage, too
@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_picture_is_named(tmp_path, case):
    (tmp_path / "odd.png").write_bytes(HOSTILE[case])
    with pytest.raises(ValueError, match=r"odd\.png cannot be read: \S"):
        open_picture(tmp_path / "odd.png")


DAMAGED = [
    (IndexError(), "it is damaged"),
    (struct.error("unpack requires"), "it is damaged"),
    (ValueError("invalid literal for int() with base 10: b'90(20'"), "it is damaged"),
    (EOFError(), "it is damaged"),
    (SyntaxError("broken PNG file"), r"it is damaged \(broken PNG file\)"),
    (OSError("image file is truncated"), r"it is damaged \(image file is truncated\)"),
    (OSError(5, "Input/output error"), r"the system gives up on it \(Input/output error\)"),
    (MemoryError(), "there is not enough memory for it"),
]


@pytest.mark.parametrize(("error", "said"), DAMAGED)
def test_whatever_pillow_raises_is_a_sentence_that_names_the_file(
    tmp_path, monkeypatch, error, said
):
    def fail(*_):
        raise error

    photo().save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match=rf"a\.png cannot be read: {said}\.$"):
        open_picture(tmp_path / "a.png")


def damaged_tiff(path):
    """A TIFF of which Pillow warns: a tag has more entries than the format allows."""
    photo("L").save(path, tiffinfo={271: "Maker"})
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<HHI", 284, 3, 1))
    data[place : place + 8] = struct.pack("<HHI", 284, 3, 2)
    path.write_bytes(data)
    return path


def test_pillow_warns_of_nothing_that_it_copes_with(tmp_path):
    path = damaged_tiff(tmp_path / "a.tif")
    with pytest.warns(UserWarning, match="too many entries"), Image.open(path) as opened:
        opened.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert upright(open_picture(path)).size == (30, 20)


def test_threads_that_read_pictures_leave_the_filters_of_warnings_as_they_were(tmp_path):
    photo().save(tmp_path / "a.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: open_picture(tmp_path / "a.png").size, range(200)))
    assert set(sizes) == {(30, 20)}
    assert warnings.filters == before


def special(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "broken.png").symlink_to("gone")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pipe", "it is no regular file"),
        ("folder", "it is no regular file, but a directory"),
        ("zero", "it is no regular file"),
        ("loop", "its links lead in a circle"),
        ("broken", "there is no such file"),
        ("gone", "there is no such file"),
    ],
)
def test_what_is_no_file_is_refused_at_once(tmp_path, name, reason):
    special(tmp_path)
    with pytest.raises(ValueError, match=rf"{name}\.png cannot be read: {reason}"):
        open_picture(tmp_path / f"{name}.png")


def test_a_folder_has_the_pictures_that_are_meant(tmp_path):
    special(tmp_path)
    for name in "b.png", "a.JPG", "._a.JPG", ".DS_Store", ".b.opmask-01234567.png", "c.txt":
        (tmp_path / name).touch()
    (tmp_path / "link.png").symlink_to("b.png")
    assert [p.name for p in picture_files(tmp_path)] == ["a.JPG", "b.png", "link.png"]
    assert picture_files(tmp_path, (".jpg",)) == [tmp_path / "a.JPG"]
    assert picture_files(tmp_path / "gone") == []


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_it_is_the_first_picture(tmp_path, format):
    first, second = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if format == "WEBP" else {}
    path = tmp_path / "a.gif"
    first.save(path, format, save_all=True, append_images=[second], **options)
    picture = upright(open_picture(path))
    assert to_rgb(picture)[3, 3].tolist() == [255, 0, 0]


# --- 8-bit RGB ---


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"]
)
def test_colours_are_those_of_pillow(mode):
    picture = photo().convert("RGB" if mode != "PA" else "P").convert(mode)
    expected = picture.convert("RGBA" if mode in ("LA", "PA", "RGBA") else "RGB").convert("RGB")
    assert np.array_equal(to_rgb(picture), expected)


def test_of_16_bits_the_upper_eight_are_kept():
    levels = np.array([[0, 255, 256, 65535]], np.uint16)
    assert to_rgb(Image.fromarray(levels))[0, :, 1].tolist() == [0, 0, 1, 255]
    big = Image.frombytes("I;16B", (4, 1), levels.astype(">u2").tobytes())
    assert to_rgb(big)[0, :, 1].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_modes_without_8_bit_colours_are_refused(mode):
    with pytest.raises(ValueError, match=rf"a\.tif must .* got mode '{mode}'\."):
        to_rgb(Image.new(mode, (3, 2)), "a.tif")


def test_12_bits_are_refused_rather_than_shown_dark(tmp_path):
    entries = ((256, 3, 4), (257, 3, 2), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 122),
               (277, 3, 1), (278, 3, 2), (279, 4, 12))  # fmt: skip
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    directory = struct.pack("<H", len(entries)) + tags + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + directory + b"\xff" * 12)
    with pytest.raises(ValueError, match="12 bits a channel are not read"):
        open_picture(tmp_path / "a.tif")


def test_the_storage_of_a_png_is_told(tmp_path):
    Image.new("1", (3, 2)).save(tmp_path / "a.png")
    assert open_stored(tmp_path / "a.png")[1] == "1"


def test_only_pictures_with_a_transparent_pixel_are_not_opaque():
    cutout = photo("RGBA")
    check_opaque(cutout, "a.png")
    check_opaque(photo("CMYK"), "a.png")
    cutout.putpixel((1, 1), (0, 0, 0, 254))
    with pytest.raises(ValueError, match=r"a\.png must be opaque, got transparent pixels\."):
        check_opaque(cutout, "a.png")
    palette = photo("P")
    palette.info["transparency"] = palette.getpixel((0, 0))
    with pytest.raises(ValueError, match="must be opaque"):
        check_opaque(palette, "a.png")
