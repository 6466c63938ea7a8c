import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from opmask.files.endings import READ
from opmask.files.exif import upright
from opmask.files.photo import read_photo
from opmask.files.pictures import (
    check_opaque,
    open_picture,
    open_stored,
    picture_files,
    register_plugins,
    to_rgb,
)


def colours(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def photo(mode="RGB"):
    return Image.fromarray(colours(20, 30, 3)).convert(mode)


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


@pytest.mark.parametrize("ending", READ)
def test_each_ending_that_is_taken_of_a_folder_is_of_a_format_that_is_read(tmp_path, ending):
    register_plugins()
    formats = {".hif": "HEIF", ".jfif": "JPEG", ".jpe": "JPEG", ".pgm": "PPM", ".pnm": "PPM"}
    path = tmp_path / f"a{ending}"
    Image.new("RGB", (32, 16), "teal").save(path, formats.get(ending))
    assert picture_files(tmp_path) == [path]
    assert read_photo(path).size == (16, 32)
    assert open_picture(path).size == (32, 16)
