"""OpenRaster files against the rules of the specification, version 0.0.5.

https://www.openraster.org/baseline/file-layout-spec.html, .../layer-stack-spec.html
"""

import zipfile
from dataclasses import replace
from xml.etree import ElementTree

import icc_profiles
import numpy as np
import pytest
import torch
from PIL import Image

from opmask import RGB, Add, MaskRange, Photo, Retoucher, read_photo
from opmask.export import openraster, to_openraster
from opmask.files.metadata import Metadata
from opmask.files.profiles import is_srgb

P3 = icc_profiles.profile(icc_profiles.P3, icc_profiles.SRGB_CURVE)


class Ora:
    """A file, read by the specification alone."""

    def __init__(self, path, folder):
        self.archive = zipfile.ZipFile(path)
        self.names = self.archive.namelist()
        self.image = ElementTree.fromstring(self.archive.read("stack.xml"))
        self.folder = folder

    def picture(self, name):
        (self.folder / "picture.png").write_bytes(self.archive.read(name))
        return read_photo(self.folder / "picture.png")

    def layers(self):
        """Each layer with whether it is shown, the topmost first."""
        for element in self.image.find("stack"):
            shown = element.get("visibility") == "visible"
            inside = element.findall("layer") if element.tag == "stack" else [element]
            yield from ((one, shown and one.get("visibility") == "visible") for one in inside)

    def layer(self, name):
        return next(one for one, _ in self.layers() if one.get("name").startswith(name))

    def flat(self):
        """The visible layers over one another, by the formulas of the composite operators."""
        size = int(self.image.get("h")), int(self.image.get("w"))
        color, alpha = np.zeros((*size, 3)), np.zeros((*size, 1))
        for element, shown in reversed([*self.layers()]):
            if not shown:
                continue
            photo = self.picture(element.get("src"))
            own = photo.pixels / photo.levels
            a = own[..., -1:] if photo.alpha is not None else np.ones_like(own[..., :1])
            c = np.broadcast_to(
                own[..., : own.shape[2] - (photo.alpha is not None)], (*own.shape[:2], 3)
            )
            at = tuple(slice(int(element.get(k)), int(element.get(k)) + n)
                       for k, n in zip("yx", own.shape[:2], strict=True))  # fmt: skip
            below = alpha[at].copy()
            out = below if element.get("composite-op") == "svg:src-atop" else a + below * (1 - a)
            part = a * below if element.get("composite-op") == "svg:src-atop" else a
            mixed = part * c + below * (1 - a) * color[at]
            color[at] = np.divide(mixed, out, out=np.zeros_like(mixed), where=out > 0)
            alpha[at] = out
        return color, alpha


def export(edit, photo, tmp_path, **how):
    to_openraster(edit, photo, tmp_path / "out.ora", **how)
    return Ora(tmp_path / "out.ora", tmp_path)


@pytest.fixture
def ora(edit, photo, tmp_path):
    return export(edit, photo, tmp_path)


def test_the_type_comes_first_and_is_not_packed(ora, tmp_path):
    first = ora.archive.infolist()[0]
    assert (first.filename, first.compress_type, first.extra) == (
        "mimetype",
        zipfile.ZIP_STORED,
        b"",
    )
    assert (tmp_path / "out.ora").read_bytes()[30:54] == b"mimetypeimage/openraster"
    kinds = {entry.compress_type for entry in ora.archive.infolist()}
    assert kinds <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def test_required_files_are_there_and_data_are_all_referenced(ora):
    sources = [element.get("src") for element, _ in ora.layers()]
    required = ["mimetype", "stack.xml", "mergedimage.png", "Thumbnails/thumbnail.png"]
    assert sorted(ora.names) == sorted(required + sources)
    assert all(source.startswith("data/") and source.endswith(".png") for source in sources)


def test_the_stack_is_as_specified(ora):
    assert ora.image.tag == "image"
    assert (ora.image.get("w"), ora.image.get("h"), ora.image.get("version")) == (
        "200",
        "120",
        "0.0.5",
    )
    assert len(ora.image) == 1
    for element, _ in ora.layers():
        assert {"name", "src", "x", "y"} <= element.attrib.keys()
        assert element.get("visibility") in ("visible", "hidden")
        assert element.get("composite-op") in ("svg:src-over", "svg:src-atop")
        assert 0 <= float(element.get("opacity")) <= 1


def test_pictures_are_png_of_8_or_16_bits_and_not_interlaced(ora):
    for name in ora.names:
        if name.endswith(".png"):
            data = ora.archive.read(name)
            assert data[:8] == b"\x89PNG\r\n\x1a\n"
            bits, interlaced = data[24], data[28]
            assert bits in ((8,) if "thumb" in name else (8, 16))
            assert interlaced == 0


@pytest.mark.filterwarnings("ignore:the photo of .* has another aspect ratio")
@pytest.mark.parametrize(
    ("size", "wanted"),
    [((120, 200), (120, 200)), ((40, 600), (17, 256)), ((700, 16), (256, 6))],
)
def test_the_thumbnail_is_as_large_as_allowed(still, tmp_path, size, wanted):
    photo = torch.full((3, *size), 0.5)
    ora = export(still, photo, tmp_path, force=True)
    assert ora.picture("Thumbnails/thumbnail.png").size == wanted


def test_visible_layers_give_the_rendered_photo_exactly(edit, photo, ora):
    rendered = edit.render(photo).permute(1, 2, 0).numpy()
    assert np.array_equal(ora.picture("mergedimage.png").pixels, rendered)
    color, alpha = ora.flat()
    assert np.array_equal(np.rint(255 * color), rendered)
    assert (alpha == 1).all()


def test_layers_are_named_and_in_order(ora):
    shown = [(element.get("name"), shown) for element, shown in ora.layers()]
    masks = ["l_mul", "a_mul", "b_mul", "l_add", "a_add", "b_add"]
    assert shown[:6] == [(name, False) for name in masks]
    assert [name.split(":")[0] for name, _ in shown[6:]] == [
        "region 1", "region 2", "harmonized", "original"
    ]  # fmt: skip
    assert [shown for _, shown in shown[6:]] == [True, True, False, True]
    assert "darker by" in shown[6][0]
    assert "lighter by" in shown[7][0]


def test_a_region_is_opaque_where_it_is_changed(edit, photo, ora):
    layer = ora.picture(ora.layer("region 2").get("src"))
    x, y = int(ora.layer("region 2").get("x")), int(ora.layer("region 2").get("y"))
    height, width = layer.size
    box = slice(y, y + height), slice(x, x + width)
    changed = (edit.render(photo) != photo).any(0).numpy()
    assert np.array_equal(layer.alpha, 255 * changed[box])
    assert x > 120
    assert height < 120


def test_masks_are_grey_with_the_identity_in_the_middle(ora):
    mask = ora.picture(ora.layer("l_mul").get("src"))
    assert mask.pixels.shape == (120, 200, 1)
    assert (mask.pixels[:, :100] == 128).all()
    assert (mask.pixels[40:80, 170:] > 140).all()


def test_an_edit_that_does_nothing_has_no_layers_of_regions(still, photo, tmp_path):
    ora = export(still, photo, tmp_path)
    assert [e.get("name") for e, shown in ora.layers() if shown] == ["harmonized", "original"]


def with_alpha(photo, alpha):
    pixels = np.concatenate([photo.permute(1, 2, 0).numpy(), alpha[..., None]], -1)
    return Photo(pixels.astype(np.uint16) * 257, P3, Metadata(dpi=(300.0, 299.6)))


def test_16_bits_profile_alpha_and_resolution_are_kept(edit, photo, tmp_path):
    alpha = np.linspace(0, 255, 120 * 200).reshape(120, 200)
    deep = with_alpha(photo, alpha)
    ora = export(edit, deep, tmp_path, force=True)
    merged = ora.picture("mergedimage.png")
    assert np.array_equal(merged.pixels, edit.render(deep, force=True).pixels)
    assert merged.profile == ora.picture(ora.layer("region 1").get("src")).profile == P3
    assert (ora.image.get("xres"), ora.image.get("yres")) == ("300", "300")
    color, flat_alpha = ora.flat()
    seen = merged.alpha > 0
    assert np.array_equal(np.rint(65535 * color)[seen], merged.pixels[..., :3][seen])
    assert np.array_equal(np.rint(65535 * flat_alpha[..., 0]), merged.alpha)


@pytest.mark.parametrize("kind", ["grey", "float", "pil", "array"])
def test_pictures_of_all_kinds_are_exported(edit, photo, tmp_path, kind):
    array = photo.permute(1, 2, 0).contiguous().numpy()
    pictures = {
        "grey": Photo(array[..., :1].copy()),
        "float": photo / 255,
        "pil": Image.fromarray(array).quantize(16),
        "array": array,
    }
    ora = export(edit, pictures[kind], tmp_path, force=True)
    color, _ = ora.flat()
    merged = ora.picture("mergedimage.png")
    assert np.array_equal(
        np.rint(color * merged.levels), np.broadcast_to(merged.pixels, color.shape)
    )


def test_layers_of_16_bits_say_that_they_are_srgb(edit, photo, tmp_path):
    deep = Photo(photo.permute(1, 2, 0).numpy().astype(np.uint16) * 257)
    ora = export(edit, deep, tmp_path, force=True)
    for name in "region 1", "harmonized", "original":
        assert is_srgb(ora.picture(ora.layer(name).get("src")).profile)
        assert b"iCCP" in ora.archive.read(ora.layer(name).get("src"))


def test_floats_become_16_bits_and_this_is_said(still, tmp_path):
    said = to_openraster(still, torch.rand(3, 48, 80), tmp_path / "a.ora", force=True)
    assert said == ("Floats become 16 bits, as PNG holds no more.",)


@pytest.mark.parametrize(
    "name", ['"/><layer src="x', "a&b<c>]]>", "n\0l\x1b", "../../up", "é\n\t☃"]
)
def test_names_of_masks_do_no_harm(still, photo, tmp_path, name):
    add = Add(RGB, "r")
    add.ranges = {name: MaskRange(0.0, -1.0, 1.0)}
    masks = {name: torch.zeros(1, 1, 3, 4).half()}
    edit = replace(still, predicted=masks, retoucher=Retoucher(add), adjustments=())
    ora = export(edit, photo, tmp_path)
    assert next(e.get("name") for e, _ in ora.layers()) == name.replace("\0", "�").replace(
        "\x1b", "�"
    )
    assert len(ora.names) == 3 + 4


def test_a_file_that_is_there_is_replaced_only_when_asked(edit, photo, tmp_path):
    path = tmp_path / "a.ora"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"new file, got .*overwrite=True replaces it"):
        to_openraster(edit, photo, path)
    assert path.read_text() == "mine"
    to_openraster(edit, photo, path, overwrite=True)
    assert zipfile.is_zipfile(path)


def test_what_goes_wrong_leaves_nothing(edit, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(openraster, "_thumbnail", lambda photo: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        to_openraster(edit, photo, tmp_path / "a.ora")
    assert not [*tmp_path.iterdir()]


def test_another_photo_or_ending_is_refused(edit, photo, tmp_path):
    with pytest.raises(ValueError, match="must be the photo that the edit was planned for"):
        to_openraster(edit, photo // 2, tmp_path / "a.ora")
    with pytest.raises(ValueError, match=r"'path' must end in \.ora, got .*a\.psd"):
        to_openraster(edit, photo, tmp_path / "a.psd")
