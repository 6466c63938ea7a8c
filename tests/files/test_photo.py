import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from opmask.files.exif import upright
from opmask.files.metadata import Metadata, chunk
from opmask.files.photo import Photo, read_photo
from opmask.files.pictures import open_picture
from opmask.files.saving import (
    SUFFIXES,
    _packed,
    _Sink,
    _vips_image,
    check_writable,
    write_photo,
)

MAKE, EXPOSURE, ORIENTATION = 271, 33434, 274


def pixels(kind="uint8", channels=3, size=(20, 30)):
    values = np.random.default_rng(0).random((*size, channels))
    if kind == "float32":
        return values.astype(np.float32)
    return (values * np.iinfo(kind).max).astype(kind)


def smooth(channels=3):
    ramp = np.linspace(60, 200, 40)[:, None, None] + np.zeros((40, 50, channels))
    return ramp.astype(np.uint8)


def exif(orientation=None):
    tags = Image.Exif()
    tags[MAKE] = "Maker"
    if orientation:
        tags[ORIENTATION] = orientation
    tags[ExifTags.IFD.Exif] = {EXPOSURE: 0.01}
    tags[ExifTags.IFD.GPSInfo] = {1: "N"}
    return tags.tobytes()


def tags_of(photo):
    tags = Image.Exif()
    tags.load(photo.metadata.exif)
    return tags


LOSSLESS = [
    (suffix, kind, channels)
    for suffix, kinds in {
        ".png": ["uint8", "uint16"],
        ".tif": ["uint8", "uint16", "float32"],
    }.items()
    for kind in kinds
    for channels in (1, 2, 3, 4)
]


@pytest.mark.parametrize(("suffix", "kind", "channels"), LOSSLESS)
def test_what_a_lossless_format_holds_comes_back_to_the_bit(tmp_path, suffix, kind, channels):
    photo = Photo(pixels(kind, channels))
    assert write_photo(photo, tmp_path / f"a{suffix}") == ()
    again = read_photo(tmp_path / f"a{suffix}")
    assert again.pixels.dtype == photo.pixels.dtype
    assert np.array_equal(again.pixels, photo.pixels)
    assert (again.remarks, again.metadata) == ((), Metadata())


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s not in (".png", ".tif", ".tiff")])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_formats_with_losses_come_close_and_say_what_they_drop(tmp_path, suffix, channels, kind):
    top = {"uint8": 1, "uint16": 257, "float32": np.float32(1 / 255)}[kind]
    photo = Photo((smooth(channels) * np.float32(top)).astype(kind))
    if channels in (2, 4):
        photo.pixels[..., -1] = photo.levels
    said = write_photo(photo, tmp_path / f"a{suffix}")
    again = read_photo(tmp_path / f"a{suffix}").pixels
    assert np.abs(again[..., 0].astype(int) - smooth()[..., 0]).max() <= 4
    assert bool(said) == (kind != "uint8")


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"planarconfig": "separate"}])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_tiff_files_of_other_programs_are_read(tmp_path, compression, layout, kind):
    values = pixels(kind)
    stored = values.transpose(2, 0, 1) if "planarconfig" in layout else values
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", compression=compression, **layout
    )
    assert np.array_equal(read_photo(tmp_path / "a.tif").pixels, values)


def test_colours_that_were_multiplied_by_alpha_are_straight_and_written_back_so(tmp_path):
    for kind in ("uint8", "uint16"):
        values = pixels(kind, 4)
        values[..., :3] = np.minimum(values[..., :3], values[..., 3:])
        tifffile.imwrite(
            tmp_path / "a.tif", values, photometric="rgb", extrasamples=["assocalpha"]
        )
        photo = read_photo(tmp_path / "a.tif")
        assert photo.premultiplied
        write_photo(photo, tmp_path / "b.tif")
        with tifffile.TiffFile(tmp_path / "b.tif") as file:
            assert file.pages[0].extrasamples == (1,)
            assert np.abs(file.asarray().astype(int) - values).max() <= 1


def file_with(path, turn=None, **more):
    picture = Image.fromarray(smooth())
    picture.save(path, exif=exif(turn), dpi=(300, 300), **more)
    return picture


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_photos_come_upright_and_say_so(tmp_path, suffix, turn):
    path = tmp_path / f"a{suffix}"
    xmp = f'<a tiff:Orientation="{turn}"/>'
    more = {"xmp": xmp.encode()}
    if suffix == ".png":
        more = {"pnginfo": PngImagePlugin.PngInfo()}
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp)
    file_with(path, turn, **more)
    photo = read_photo(path)
    assert np.array_equal(photo.pixels, upright(open_picture(path)))
    assert ORIENTATION not in tags_of(photo)
    assert photo.metadata.xmp == b'<a tiff:Orientation="1"/>'


@pytest.mark.parametrize("turn", range(1, 9))
def test_tiff_photos_come_upright(tmp_path, turn):
    stored = pixels("uint16")
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", extratags=[(274, 3, 1, turn, True)]
    )
    write_photo(Photo((stored >> 8).astype(np.uint8)), tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as picture:
        picture.getexif()[ORIENTATION] = turn
        expected = np.asarray(upright(picture))
    assert np.array_equal(read_photo(tmp_path / "a.tif").pixels >> 8, expected)


FULL = Metadata(
    exif=exif(), xmp=b"<x:xmpmeta/>", iptc=b"\x1c\x02\x05\0\3abc", dpi=(300.0, 240.0),
    text={"Comment": "hello", "Title": "Übung", "Note": "日本"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "lost"),
    [(".jpg", 1), (".png", 1), (".tif", 1), (".webp", 3), (".avif", 3), (".heic", 3), (".jxl", 4)],
)
def test_metadata_stay_or_are_said_to_be_left_out(tmp_path, suffix, lost):
    photo = Photo(smooth(), metadata=FULL)
    said = write_photo(photo, tmp_path / f"a{suffix}")
    assert len(said) == lost
    again = read_photo(tmp_path / f"a{suffix}")
    metadata, tags = again.metadata, tags_of(again)
    assert (tags[MAKE], tags.get_ifd(ExifTags.IFD.Exif)[EXPOSURE]) == ("Maker", 0.01)
    assert tags.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"
    text = " ".join(said)
    assert (metadata.xmp.rstrip(b"\0") == FULL.xmp) != ("XMP" in text)
    assert (metadata.iptc[:8] == FULL.iptc) != ("IPTC" in text)
    if metadata.dpi is None:
        assert "dpi" in text
    else:
        assert metadata.dpi == pytest.approx(FULL.dpi, abs=0.05)
    left = {"Comment", "Title", "Note"} - set(metadata.text)
    assert all(name in text for name in left)
    assert all(metadata.text[name] == FULL.text[name] for name in metadata.text)


def test_the_tags_of_a_tiff_file_survive_every_way_and_its_own_do_not(tmp_path):
    photo = Photo(pixels("uint16"), metadata=FULL)
    for suffix in (".tif", ".png", ".jpg", ".tif"):
        write_photo(photo, tmp_path / f"a{suffix}")
        photo = read_photo(tmp_path / f"a{suffix}")
    tags = tags_of(photo)
    assert set(tags) == {MAKE, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].tags[MAKE].value == "Maker"


def test_large_metadata_are_left_out_of_a_jpeg_alone(tmp_path):
    tags = Image.Exif()
    tags[MAKE] = "x" * 70_000
    photo = Photo(smooth(), metadata=Metadata(exif=tags.tobytes(), xmp=b"<" * 70_000))
    said = write_photo(photo, tmp_path / "a.jpg")
    assert [line.split(" data")[0] for line in said] == ["EXIF", "XMP"]
    assert read_photo(tmp_path / "a.jpg").metadata == Metadata()
    assert write_photo(photo, tmp_path / "a.png") == write_photo(photo, tmp_path / "a.tif") == ()
    for name in ("a.png", "a.tif"):
        assert len(tags_of(read_photo(tmp_path / name))[MAKE]) == 70_000


def test_text_after_the_pixels_of_a_png_is_found(tmp_path):
    data = png(chunk(b"IDAT", zlib.compress(bytes(4))), chunk(b"tEXt", b"Title\0late"))
    (tmp_path / "a.png").write_bytes(data + chunk(b"IEND", b""))
    assert read_photo(tmp_path / "a.png").metadata.text == {"Title": "late"}


@pytest.mark.parametrize(
    "hostile",
    [
        chunk(b"tEXt", b"Title\0" + b"x" * 3_000_000),
        chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(50_000_000))),
        chunk(b"iTXt", b"Title"),
        chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
        chunk(b"iCCP", b"x\0\0rubbish"),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(200))),
        chunk(b"pHYs", b"\0"),
    ],
)
def test_hostile_metadata_do_not_keep_a_photo_from_being_read(tmp_path, hostile):
    data = png(hostile, chunk(b"IDAT", zlib.compress(bytes(4))), chunk(b"IEND", b""))
    (tmp_path / "a.png").write_bytes(data)
    photo = read_photo(tmp_path / "a.png")
    assert (photo.pixels.tolist(), photo.profile) == ([[[0, 0, 0]]], None)


# --- what is refused ---


def png(*chunks, size=(1, 1)):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"not a picture", png(), b"II*\0\xff\xff\xff\x7f", b"II*\0\x08\0\0\0\x09\0\0\1\3\0",
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xdb\0\x43", b"RIFF\x04\0\0\0WEBP",
        b"GIF89a\x10\0\x10\0\0\0\0", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>",
        b"\0\0\0\x18ftypheic", b"\xff\x0a",
    ],
)  # fmt: skip
def test_what_is_no_photo_is_named(tmp_path, data):
    (tmp_path / "odd.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"odd\.png cannot be read: \S"):
        read_photo(tmp_path / "odd.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif", ".heic", ".jxl"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"a{suffix}"
    write_photo(Photo(pixels(size=(200, 300))), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match="cannot be read: "):
        read_photo(path)


def test_missing_files_and_pipes_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "nowhere.png", "."):
        with pytest.raises(ValueError, match="cannot be read: "):
            read_photo(tmp_path / name)


def test_a_bomb_is_refused_and_the_argument_that_lifts_the_limit_is_said(tmp_path):
    data = png(chunk(b"IDAT", zlib.compress(bytes(999))), size=(60000, 60000))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"60000x60000 .* larger max_pixels lifts the limit"):
        read_photo(tmp_path / "a.png")
    write_photo(Photo(pixels()), tmp_path / "b.png")
    with pytest.raises(ValueError, match="max_pixels=599"):
        read_photo(tmp_path / "b.png", max_pixels=599)
    assert read_photo(tmp_path / "b.png", max_pixels=600).size == (20, 30)


@pytest.mark.parametrize("size", [(1, 1), (40, 30000), (30000, 40)])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_odd_sizes_come_back(tmp_path, size, suffix):
    write_photo(Photo(np.full((*size, 3), 7, np.uint8)), tmp_path / f"a{suffix}")
    assert (read_photo(tmp_path / f"a{suffix}").pixels == 7).all()


def test_of_several_pictures_the_first_is_read_and_said(tmp_path):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue", "lime")]
    for suffix in (".gif", ".png", ".webp", ".tif"):
        frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
        photo = read_photo(tmp_path / f"a{suffix}")
        assert photo.remarks == ("The first of 3 pictures in the file is used.",)
        assert np.abs(photo.pixels[0, 0, :3] - [255.0, 0, 0]).max() < 8


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((4, 4), np.uint32), "numbers of the type uint"),
        (np.zeros((4, 4), np.float64), "64 bits a channel"),
        (np.full((4, 4), 2, np.float32), r"must lie in \[0, 1\]"),
        (np.full((4, 4), np.nan, np.float32), r"must lie in \[0, 1\]"),
    ],
)
def test_numbers_that_are_no_levels_are_refused(tmp_path, values, why):
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(ValueError, match=rf"a\.tif cannot be read: .*{why}"):
        read_photo(tmp_path / "a.tif")


def test_twelve_bits_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint16))
    data = bytearray((tmp_path / "a.tif").read_bytes())
    place = data.index(struct.pack("<HHIH", 258, 3, 1, 16))
    data[place : place + 10] = struct.pack("<HHIH", 258, 3, 1, 12)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ValueError, match="12 bits a channel are not read"):
        read_photo(tmp_path / "a.tif")


def test_cmyk_is_converted_and_said(tmp_path):
    Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "a.tif")
    for name in ("a.jpg", "a.tif"):
        photo = read_photo(tmp_path / name)
        assert photo.remarks == ("CMYK was converted to sRGB.",)
        assert (photo.channels, photo.profile) == (3, None)


def test_an_opaque_alpha_goes_into_a_jpeg_and_a_real_one_does_not(tmp_path):
    photo = Photo(smooth(4))
    with pytest.raises(
        ValueError, match=r"'path' must be \.png, \.tif or \.webp for a photo with"
    ):
        write_photo(photo, tmp_path / "a.jpg")
    photo.pixels[..., 3] = 255
    assert write_photo(photo, tmp_path / "a.jpg") == ()
    assert read_photo(tmp_path / "a.jpg").channels == 3


@pytest.mark.parametrize(
    ("name", "size"), [("a.webp", (16384, 1)), ("a.jpg", (1, 65501)), ("a.avif", (1, 65537))]
)
def test_sizes_that_a_format_cannot_hold_are_refused(name, size):
    with pytest.raises(ValueError, match=r"'path' must be \.png or \.tif for a photo of"):
        check_writable(Photo(np.zeros((*size, 3), np.uint8)), name)


def test_other_endings_are_refused():
    for name in ("a.gif", "a", "a.png.exe"):
        with pytest.raises(ValueError, match="'path' must end in one of"):
            check_writable(Photo(smooth()), name)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path, suffix, monkeypatch):
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    module = "opmask.files.saving"
    monkeypatch.setattr(f"{module}._packed", full)
    monkeypatch.setattr(f"{module}.add_to_tiff", full)
    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(OSError, match="Free some space there"):
        write_photo(Photo(pixels()), target)
    assert (target.read_bytes(), os.listdir(tmp_path)) == (b"old", [target.name])


def test_a_write_that_fails_inside_libvips_says_why(tmp_path):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        _packed(_vips_image(Photo(pixels())).pngsave_target, _Sink(Full(), 33, 54, b""))


# --- Pillow pictures ---


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_pictures_come_back(mode):
    values = pixels("uint16" if mode == "I;16" else "uint8", len(mode) if mode != "I;16" else 1)
    picture = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)
    again = Photo.from_image(picture).to_image()
    assert (again.mode, np.array_equal(again, picture)) == (mode, True)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("P", 3), ("CMYK", 3), ("YCbCr", 3), ("PA", 4)]
)
def test_other_modes_become_grey_or_rgb(mode, channels):
    picture = Image.fromarray(smooth()).convert(mode if mode != "PA" else "P").convert(mode)
    assert Photo.from_image(picture).channels == channels


@pytest.mark.parametrize(("stored", "now"), [(6, 1), (1, 6), (6, None), (None, 6)])
def test_an_orientation_set_in_memory_goes_before_that_of_the_file(tmp_path, stored, now):
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "A. Painter"
    if stored:
        tags[ExifTags.Base.Orientation] = stored
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=tags)
    with Image.open(tmp_path / "a.jpg") as picture:
        if now:
            picture.getexif()[ExifTags.Base.Orientation] = now
        else:
            del picture.getexif()[ExifTags.Base.Orientation]
        upright = ImageOps.exif_transpose(picture)
        assert Photo.from_image(picture).size == (upright.height, upright.width)


def test_what_a_picture_says_in_other_types_is_passed_over():
    picture = Image.new("RGB", (30, 20))
    picture.info = {"dpi": 72, "exif": None, "xmp": None, "icc_profile": None}
    assert Photo.from_image(picture).metadata == Metadata()


def test_bytes_in_the_other_order_become_those_of_the_machine(tmp_path):
    levels = np.arange(24, dtype=">u2").reshape(2, 4, 3) * 1000
    write_photo(Photo(levels), tmp_path / "a.png")
    assert np.array_equal(read_photo(tmp_path / "a.png").pixels, levels)


def test_what_is_no_photo_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="'photo' must be a Photo, got Image"):
        write_photo(Image.new("RGB", (3, 2)), tmp_path / "a.png")


def test_pictures_of_32_bits_are_refused():
    with pytest.raises(ValueError, match="pictures of the mode 'F' are not read"):
        Photo.from_image(Image.new("F", (3, 2)))


def test_more_bits_than_pillow_has_are_refused():
    with pytest.raises(ValueError, match="'pixels' must be uint8, or grey of 16 bits, got uint16"):
        Photo(pixels("uint16")).to_image()


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (np.zeros((2, 3), np.uint8), ValueError),
        (np.zeros((2, 3, 5), np.uint8), ValueError),
        (np.zeros((0, 3, 3), np.uint8), ValueError),
        (np.zeros((2, 3, 3), np.float64), TypeError),
        ([[[1]]], TypeError),
    ],
)
def test_pixels_that_are_no_photo_are_refused(values, error):
    with pytest.raises(error, match="'pixels' must"):
        Photo(values)
