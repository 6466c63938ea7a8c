r"""An edit as colour tables with masks, for darktable, video tools, and whatever reads ``.cube``.

Each region that an edit visibly changes gets one table and one grey picture that says how much of
the table each pixel gets. A table knows colours and no places, so this is an approximation; how
near it comes is measured, not promised.

Data flow: `(Edit, photo) -> fit_region -> table, mask -> folder, PSNR`.

References:
    | Cube LUT Specification, version 1.0 (Adobe, 2013)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opmask._version import __version__
from opmask.export.layers import nearest_regions, rendered
from opmask.export.tables import fit_table, lattice, look_up
from opmask.files.folders import check_folder, replacing_folder
from opmask.files.photo import Photo
from opmask.files.saving import write_photo
from opmask.inference import Edit
from opmask.inference.explain import ChangedRegion, Explanation
from opmask.retouch.pixels import (
    Enlarged,
    Picture,
    decode,
    encode,
    shrink_photo,
    strips,
    to_stored,
)
from opmask.wrapper.model import resize

__all__ = ["INDEX", "CubeExport", "cube_target", "to_cube"]

INDEX = "cube.json"
"""The file that lists the others."""

SIZES = 2, 129
"""The fewest and the most points along an axis of a table."""

SAMPLED = 2**19
"""The pixels that are taken of a photo, about."""

SAMPLE = 2**17
"""The pixels of them that a table is fitted to, about."""

ROUNDS = 2
"""How often a table is fitted to a mask, and then a mask to the table."""

DIGITS = 6
"""The decimals of a table."""

ENDINGS = ".cube", ".png"

WHITE = 65535

BLEND = "for one region after the other: colour + mask * (table(colour) - colour)"


@dataclass(frozen=True)
class CubeExport:
    r"""What :func:`to_cube` wrote.

    Args:
        folder: The folder.
        regions: The regions, in the order of their files.
        psnr: How near the photo with tables and masks comes to the rendered photo, in dB.
        untouched: How near the photo is without them, in dB.
    """

    folder: Path
    regions: tuple[ChangedRegion, ...]
    psnr: float
    untouched: float


class Region(NamedTuple):
    """A table, with shape (n^3, 3), and how much of it is applied where, (1, 1, h, w)."""

    table: Tensor
    strength: Tensor


def cube_target(path: str | Path, *, overwrite: bool = False) -> Path:
    r"""The folder that :func:`to_cube` writes, once it is known that it may.

    Args:
        path: As for :func:`to_cube`.
        overwrite: As for :func:`to_cube`.

    Returns:
        The folder, which is `path` without its ending.

    Raises:
        ValueError: If there is another ending, or the folder is there already.

    Example:
        >>> cube_target("barn.cube").name
        'barn'
    """
    path = Path(path)
    if path.suffix.lower() not in ("", ".cube"):
        raise ValueError(f"'path' must end in .cube or be a folder without an ending, got {path}.")
    target = path.with_suffix("")
    check_folder(target, INDEX, overwrite=overwrite)
    return target


def to_cube(
    edit: Edit,
    photo: Picture,
    path: str | Path,
    *,
    size: int = 33,
    force: bool = False,
    overwrite: bool = False,
) -> CubeExport:
    r"""Writes an edit as a folder of colour tables and masks, whole or not at all.

    The regions are those of :meth:`opmask.Edit.explain`. Region 1 is ``region-1.cube``, a 3-D
    table, and ``region-1.png``, a grey picture of 16 bits at the size of the photo. A program
    applies the table, and blends by the mask, one region after the other:

    .. math:: x \leftarrow x + m \, (T(x) - x)

    Tables take and give the numbers that the photo is stored in, between 0 and 1, and so belong
    to its colour space. A table begins as the mean retouch of its region, and is then
    fitted by least squares to what the edit makes of the pixels; the mask is the strength that
    suits each place best.

    Args:
        edit: The edit.
        photo: As for :meth:`opmask.Edit.render`.
        path: The folder to make; an ending of ``.cube`` is left off.
        size: The points of a table along each axis, 2 to 129. Programs expect 17, 33 or 65.
        force: As for :meth:`opmask.Edit.render`.
        overwrite: Whether the folder is replaced if it was written here and nothing else is in it.

    Returns:
        What was written, and how near it comes to :meth:`opmask.Edit.render`. ``cube.json`` in the
        folder says the same.

    Raises:
        ValueError: If the edit changes nothing visibly, or has operators that look at neighbours,
            the size is another one, the folder is there already, or the photo is another one.
        TypeError: If `photo` is of another kind.
        OSError: If the folder cannot be written.

    Example:
        >>> import opmask, tempfile
        >>> from PIL import Image
        >>> photo = Image.linear_gradient("L").convert("RGB")
        >>> edit = opmask.plan(opmask.load(), photo, region=Image.new("1", photo.size, 1))
        >>> edit = edit.adjust(strength=0).adjust("l_add", offset=-0.1)
        >>> made = to_cube(edit, photo, Path(tempfile.mkdtemp(), "darker.cube"))
        >>> sorted(path.name for path in made.folder.iterdir())
        ['cube.json', 'region-1.cube', 'region-1.png']
        >>> made.untouched < 30 < 45 < made.psnr
        True
    """
    target = cube_target(path, overwrite=overwrite)
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"'size' must be from {SIZES[0]} to {SIZES[1]}, got {size}.")
    if not edit.retoucher.pixelwise:
        raise ValueError(
            "'edit' must have operators that look at single pixels alone, as a table of colours "
            "knows no neighbours."
        )
    photos = rendered(edit, photo, force=force)
    before, after = (to_stored(one)[0] for one in photos)
    told = edit.explain(photo, force=force)
    if not told.regions:
        raise ValueError(
            "'edit' must change a region visibly, got one that does not. No table is needed."
        )
    # Of a grey photo no profile, which would know greys alone.
    profile = photos[0].profile if before.shape[2] == 3 else None
    regions = _fit_regions(edit, told, before, after, lattice(size), profile)
    found = CubeExport(target, told.regions, *_compare(regions, before, after))
    with replacing_folder(target, INDEX, overwrite=overwrite) as folder:
        for i, (region, about) in enumerate(zip(regions, told.regions, strict=True), 1):
            _write_table(folder / f"region-{i}.cube", region.table, i, about)
            write_photo(_grey(region.strength, told.size), folder / f"region-{i}.png")
        (folder / INDEX).write_bytes(_describe(found, told.size, size))
    return found


def _fit_regions(
    edit: Edit,
    told: Explanation,
    before: Tensor,
    after: Tensor,
    colors: Tensor,
    profile: bytes | None,
) -> list[Region]:
    """A table and its strength for each region, from the pixels as they are stored."""
    labels = told.labels.cpu()
    size = labels.shape[-2], labels.shape[-1]
    owners = nearest_regions(labels)
    masks = {name: resize(mask.cpu(), size) for name, mask in edit.masks().items()}
    # What the numbers mean does not matter, as programs will look them up as they are.
    small = shrink_photo(before, size), shrink_photo(after, size)
    step = math.ceil(math.sqrt(before.shape[0] * before.shape[1] / SAMPLED))
    sampled = decode(before[::step, ::step]), decode(after[::step, ::step])
    found = []
    for i in range(1, len(told.regions) + 1):
        here = labels == i
        mean = {name: mask[here].mean().view(1, 1, 1, 1) for name, mask in masks.items()}
        start = _retouch_colors(edit, colors, mean, profile)
        start, strength = _begin(start, colors, here, owners == i, *small)
        table = start
        for _ in range(ROUNDS):
            large = Enlarged(strength, told.size)[::step][..., ::step]
            table = _fit(start, large, *sampled)
            strength = _strength(table, *small).clamp(0, 1) * (owners == i)
        found.append(Region((table * 10**DIGITS).round() / 10**DIGITS, strength))
    return found


def _retouch_colors(
    edit: Edit, colors: Tensor, masks: dict[str, Tensor], profile: bytes | None
) -> Tensor:
    """What masks of one value each do to colours of shape (P, 3)."""
    picture = colors[:, None]
    image = edit.retoucher.unclipped(decode(picture, profile), masks)
    return encode(image, picture, profile)[:, 0]


def _begin(
    table: Tensor, colors: Tensor, here: Tensor, owned: Tensor, before: Tensor, after: Tensor
) -> tuple[Tensor, Tensor]:
    """A first table, which goes as far as any place of a region does, and how far each goes."""
    share = _strength(table, before, after)
    most = share[here].quantile(0.99).item()
    if not 0.1 < most < 10:  # the mean of a region that is changed in opposite ways
        return table, here.float()
    table = (colors + most * (table - colors)).clamp(0, 1)
    return table, (share / most).clamp(0, 1) * owned


def _strength(table: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """How much of a table suits each place of a small photo best, with shape (1, 1, h, w)."""
    moved = look_up(table, _rows(before)).T.view_as(before) - before
    wanted = after - before
    parts = torch.cat([(moved * wanted).sum(1, True), moved.square().sum(1, True)], 1)
    # Among neighbours, because a colour that a table leaves alone says nothing.
    along, length = F.avg_pool2d(parts, 3, 1, 1, count_include_pad=False).split(1, 1)
    return along / (length + 1e-6)


def _fit(start: Tensor, strength: Tensor, before: Tensor, after: Tensor) -> Tensor:
    where = (strength.flatten() > 1e-3).nonzero()[:, 0]
    where = where[:: max(1, len(where) // SAMPLE)]
    x, y, m = (_rows(plane)[where] for plane in (before, after, strength))
    return fit_table(start, x, y, m)


def _rows(image: Tensor) -> Tensor:
    """The pixels of an image, with shape (H W, C)."""
    return image[0].flatten(1).T


def _compare(regions: list[Region], before: Tensor, after: Tensor) -> tuple[float, float]:
    """How near the rendered photo is to the one with tables and masks, and to the one without."""
    full = before.shape[0], before.shape[1]
    masks = [Enlarged(region.strength, full) for region in regions]
    errors = torch.zeros(2, dtype=torch.float64)
    for rows in strips(full):
        x = decode(before[rows])
        wanted = decode(after[rows])
        errors[1] += (x - wanted).square().sum().double()
        for region, mask in zip(regions, masks, strict=True):
            share = (mask[rows] * WHITE).round() / WHITE
            x = x + share * (look_up(region.table, _rows(x)).T.view_as(x) - x)
        result = decode(encode(x, before[rows]))
        errors[0] += (result - wanted).square().sum().double()
    near, far = (_psnr(error / (3 * full[0] * full[1])) for error in errors.tolist())
    return near, far


def _psnr(error: float) -> float:
    return -10 * math.log10(error) if error else math.inf


def _write_table(path: Path, table: Tensor, number: int, region: ChangedRegion) -> None:
    size = round(len(table) ** (1 / 3))
    head = (
        f"# {region.sentence}",
        f'TITLE "region {number}"',
        f"LUT_3D_SIZE {size}",
        "DOMAIN_MIN 0 0 0",
        "DOMAIN_MAX 1 1 1",
    )
    np.savetxt(path, table.numpy(), f"%.{DIGITS}f", header="\n".join(head), comments="")


def _grey(strength: Tensor, size: tuple[int, int]) -> Photo:
    """A mask at the size of the photo, as it is blended by."""
    enlarged = Enlarged(strength, size)
    pixels = np.empty((*size, 1), np.uint16)
    for rows in strips(size):
        pixels[rows, :, 0] = (enlarged[rows][0, 0] * WHITE).round().numpy()
    return Photo(pixels)


def _describe(found: CubeExport, size: tuple[int, int], points: int) -> bytes:
    files = [f"region-{i}{end}" for i in range(1, len(found.regions) + 1) for end in ENDINGS]
    regions = [
        {"table": table, "mask": mask, "box": one.box, "share": one.share, "change": one.sentence}
        for table, mask, one in zip(files[::2], files[1::2], found.regions, strict=True)
    ]
    about = {
        "format": 1,
        "opmask": __version__,
        "height": size[0],
        "width": size[1],
        "points": points,
        "blend": BLEND,
        "psnr": found.psnr,
        "untouched": found.untouched,
        "regions": regions,
        "files": files,
    }
    return msgspec.json.format(msgspec.json.encode(about), indent=1)
