r"""An edit as an OpenRaster file: layers that Krita, GIMP and others open.

The photo lies at the bottom. Above it is one layer for each region that the edit visibly changes,
opaque where it changes anything, so that the visible layers give the rendered photo exactly, and a
region is switched off by its layer. The rendered photo in one piece, and the masks, are hidden.

Data flow: `(Edit, photo) -> layers -> PNG files -> .ora`.

References:
    | OpenRaster specification, version 0.0.5, https://www.openraster.org
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from PIL import ImageCms
from torch import Tensor

from opmask.color import to_levels
from opmask.export.layers import nearest_regions, rendered
from opmask.export.masks import step_of, to_grey
from opmask.files import check_outputs, replacing
from opmask.files.photo import Photo
from opmask.files.saving import write_photo
from opmask.inference import Edit
from opmask.inference.explain import Explanation
from opmask.operators import MaskRange
from opmask.retouch.pixels import Enlarged, Picture, shrink_photo, strips, to_stored

__all__ = ["ora_target", "to_openraster"]

VERSION = "0.0.5"

THUMBNAIL = 256
"""The longest side of the thumbnail, in pixels (specification)."""

NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that XML 1.0 has no way to say."""


class Layer(NamedTuple):
    """A layer of `stack.xml`."""

    name: str
    pixels: Photo
    at: tuple[int, int] = (0, 0)
    visible: bool = True
    blend: str = "svg:src-over"
    is_mask: bool = False


def ora_target(path: str | Path, *, overwrite: bool = False) -> Path:
    r"""The file that :func:`to_openraster` writes, once it is known that it may.

    Args:
        path: As for :func:`to_openraster`.
        overwrite: As for :func:`to_openraster`.

    Returns:
        The file, which is `path`.

    Raises:
        ValueError: If the ending is another one, or it is there already.

    Example:
        >>> ora_target("barn.ora").name
        'barn.ora'
    """
    path = Path(path)
    if path.suffix.lower() != ".ora":
        raise ValueError(f"'path' must end in .ora, got {path}.")
    check_outputs({"path": path}, overwrite=overwrite)
    return path


def to_openraster(
    edit: Edit,
    photo: Picture,
    path: str | Path,
    *,
    force: bool = False,
    overwrite: bool = False,
) -> tuple[str, ...]:
    r"""Writes an edit as an OpenRaster file, whole or not at all.

    From the top: a hidden group of the effective masks, grey of 8 bits, mid-grey at their
    identity (:func:`opmask.export.save_masks` keeps them exact); a layer for each region that
    :meth:`opmask.Edit.explain` finds; the rendered photo, hidden; and the photo. A region's layer
    has the colours of the rendered photo, and is opaque at every pixel that the edit changes and
    that is nearest to the region, so that no change is lost.

    Layers have the bits and the colour profile of the photo; floats become 16 bits. A layer's
    metadata are none but its profile.

    Args:
        edit: The edit.
        photo: As for :meth:`opmask.Edit.render`.
        path: The file to write: ``.ora``.
        force: As for :meth:`opmask.Edit.render`.
        overwrite: Whether a file that is there is replaced.

    Returns:
        A sentence for each thing that the file cannot hold.

    Raises:
        ValueError: If the ending is another one, the file is there already, or the photo is
            another one.
        TypeError: If `photo` is of another kind.
        OSError: If the file cannot be written.

    Example:
        >>> import opmask, tempfile
        >>> from PIL import Image
        >>> photo = Image.new("RGB", (64, 48), "teal")
        >>> edit = opmask.plan(opmask.load(), photo, strength=0).adjust("l_add", offset=-0.1)
        >>> path = Path(tempfile.mkdtemp(), "darker.ora")
        >>> to_openraster(edit, photo, path)
        ()
        >>> zipfile.ZipFile(path).namelist()[0]
        'mimetype'
    """
    target = ora_target(path, overwrite=overwrite)
    before, after = rendered(edit, photo, force=force)
    told = edit.explain(photo, force=force)
    with (
        replacing(target) as temporary,
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(temporary, "w") as archive,
    ):
        archive.writestr("mimetype", "image/openraster")

        def add(pixels: Photo, name: str) -> tuple[str, ...]:
            file = Path(folder, "layer.png")
            said = write_photo(pixels, file)
            archive.write(file, name)  # which PNG has made small already
            return said

        image, stack, group = _document(before)
        for i, layer in enumerate(_layers(edit, before, after, told)):
            add(layer.pixels, f"data/layer{i:03}.png")
            _describe(layer, f"data/layer{i:03}.png", group if layer.is_mask else stack)
        said = add(_bare(after), "mergedimage.png")
        add(_thumbnail(after), "Thumbnails/thumbnail.png")
        text = ElementTree.tostring(image, "UTF-8", xml_declaration=True)
        archive.writestr("stack.xml", text, zipfile.ZIP_DEFLATED)
    return said


def _document(photo: Photo) -> tuple[Element, Element, Element]:
    """The elements of the image, of the stack of its layers, and of the group of its masks."""
    height, width = photo.size
    about = {"version": VERSION, "w": str(width), "h": str(height)}
    if photo.metadata.dpi:
        across, down = (max(1, round(dpi)) for dpi in photo.metadata.dpi)
        about |= {"xres": str(across), "yres": str(down)}
    image = Element("image", about)
    stack = SubElement(image, "stack")
    return image, stack, SubElement(stack, "stack", name="masks", visibility="hidden")


def _describe(layer: Layer, file: str, parent: Element) -> None:
    about = {
        "name": NOT_XML.sub("\ufffd", layer.name),
        "src": file,
        "x": str(layer.at[0]),
        "y": str(layer.at[1]),
        "opacity": "1.0",
        "visibility": "visible" if layer.visible else "hidden",
        "composite-op": layer.blend,
    }
    SubElement(parent, "layer", about)


def _layers(edit: Edit, before: Photo, after: Photo, told: Explanation) -> Iterator[Layer]:
    """The layers, the topmost first, one at a time in memory."""
    for name, mask in edit.masks(effective=True).items():
        yield Layer(
            name, _grey(mask.cpu(), edit.retoucher.ranges[name], before.size), is_mask=True
        )
    yield from _region_layers(before, after, told)
    yield Layer("harmonized", _bare(after), visible=not told.regions)
    yield Layer("original", _bare(before))


def _region_layers(before: Photo, after: Photo, told: Explanation) -> Iterator[Layer]:
    colors = before.channels - (before.alpha is not None)
    see_through = before.alpha is not None and bool((before.alpha < before.levels).any())
    numbers = _numbers(before.pixels[..., :colors], after.pixels[..., :colors], told)
    for i, region in enumerate(told.regions, 1):
        here = numbers == i
        rows, columns = (here.any(axis).nonzero()[0] for axis in (1, 0))
        if not len(rows):
            continue
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        alpha = here[box][..., None].astype(before.pixels.dtype) * before.levels
        pixels = np.concatenate([after.pixels[box][..., :colors], alpha], -1, dtype=alpha.dtype)
        yield Layer(
            f"region {i}: {region.sentence}",
            Photo(pixels, _profile(before)),
            (int(columns[0]), int(rows[0])),
            # Where the photo can be seen through, so can what lies on it.
            blend="svg:src-atop" if see_through else "svg:src-over",
        )


def _numbers(before: np.ndarray, after: np.ndarray, told: Explanation) -> np.ndarray:
    """The region of each pixel that was changed, and 0 elsewhere, with shape (H, W)."""
    owners = nearest_regions(told.labels.cpu())[0, 0].numpy().astype(np.uint16)
    full = before.shape[:2]
    down, across = (
        np.arange(count) * small // count for count, small in zip(full, owners.shape, strict=True)
    )
    numbers = np.empty(full, np.uint16)
    for rows in strips((full[0], full[1])):
        changed = (before[rows] != after[rows]).any(-1)
        numbers[rows] = owners[down[rows]][:, across] * changed
    return numbers


def _grey(mask: Tensor, range: MaskRange, size: tuple[int, int]) -> Photo:
    enlarged, step = Enlarged(mask, size), step_of(mask, range)
    pixels = np.empty((*size, 1), np.uint8)
    for rows in strips(size):
        pixels[rows, :, 0] = to_grey(enlarged[rows][0, 0].numpy(), range.identity, step) >> 8
    return Photo(pixels)


def _bare(photo: Photo) -> Photo:
    """The photo without metadata, which no layer needs."""
    return Photo(photo.pixels, _profile(photo))


def _profile(photo: Photo) -> bytes | None:
    """The photo's profile; where Krita would ask for one, of colours above 8 bits, sRGB's."""
    if photo.profile or photo.channels < 3 or photo.pixels.dtype == np.uint8:
        return photo.profile
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _thumbnail(photo: Photo) -> Photo:
    scale = min(1, THUMBNAIL / max(photo.size))
    height, width = (max(1, round(scale * side)) for side in photo.size)
    small = shrink_photo(to_stored(photo)[0], (height, width), photo.profile)
    return Photo(to_levels(small)[0].permute(1, 2, 0).contiguous().numpy())
