r"""Masks as files that other programs read: NPZ, or grey PNG or TIFF files of 16 bits.

A mask in grey has its identity at mid-grey: darker is below it, lighter above. A JSON file beside
the pictures says what a level is worth.

Data flow: `Edit -> save_masks -> NPZ, or folder of pictures -> load_masks -> masks`.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from torch import Tensor

from opmask._version import __version__
from opmask.files import check_outputs, check_regular, replacing
from opmask.files.decoding import LARGEST as LARGEST_PHOTO
from opmask.files.folders import check_folder, replacing_folder
from opmask.files.photo import Photo, read_photo
from opmask.files.saving import write_photo
from opmask.files.typed_json import parse_json, read_json
from opmask.inference import Edit
from opmask.operators import MaskRange
from opmask.retouch.pixels import Enlarged, strips

__all__ = ["IDENTITY", "INDEX", "load_masks", "masks_target", "save_masks", "step_of", "to_grey"]

IDENTITY = 2**15
"""The level, of 0 to 65535, that stands for a mask's identity."""

INDEX = "masks.json"
"""The file that says what the others hold."""

FORMAT = 1

LARGEST = 2**32
"""The largest NPZ file, and the most bytes of one mask in it."""

LARGEST_INDEX = 4 * 2**20

PICTURES = {"": ".png", ".png": ".png", ".tif": ".tif", ".tiff": ".tif"}
"""The ending of the pictures, by the ending that was asked for."""

SAFE = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}", re.IGNORECASE)

Side = Annotated[int, Meta(ge=1, le=10**6)]
Number = Annotated[float, Meta(ge=-1e9, le=1e9)]
File = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}\.[a-z]{3}\Z")]


class MaskAbout(Struct):
    """What one file holds; `step` is what a level is worth in a picture."""

    name: Annotated[str, Meta(max_length=1000)]
    file: File
    identity: Number
    low: float | None
    high: float | None
    step: Number | None


class MasksAbout(Struct):
    """What the index says."""

    format: Annotated[int, Meta(ge=1, le=FORMAT)]
    opmask: str
    effective: bool
    height: Side
    width: Side
    photo: dict[str, int | str]
    values: str
    files: list[str]
    masks: Annotated[list[MaskAbout], Meta(min_length=1, max_length=1000)]


def masks_target(path: str | Path, *, overwrite: bool = False) -> Path:
    r"""What :func:`save_masks` writes, once it is known that it may.

    Args:
        path: As for :func:`save_masks`.
        overwrite: As for :func:`save_masks`.

    Returns:
        `path` itself if it is an NPZ file; otherwise the folder of that name without the ending.

    Raises:
        ValueError: If the ending is another one, or it is there already.

    Example:
        >>> masks_target("barn.tif").name
        'barn'
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        check_outputs({"path": path}, overwrite=overwrite)
        return path
    if suffix not in PICTURES:
        raise ValueError(
            f"'path' must end in .npz, .png or .tif, or be a folder without an ending, got {path}."
        )
    target = path.with_suffix("")
    check_folder(target, INDEX, overwrite=overwrite)
    return target


def save_masks(
    edit: Edit,
    path: str | Path,
    *,
    effective: bool = False,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Path:
    r"""Saves the masks of an edit, whole or not at all.

    An NPZ file holds each mask under its name, ``float32``, in operator units. Pictures are grey,
    of 16 bits, one for each mask, in a folder; the value of a level :math:`v` is

    .. math:: i + (v - 32768) \, s

    with the identity :math:`i` of the mask and the step :math:`s` that the folder's ``masks.json``
    names. So the identity is exact, and other values are right to half a step, which is 1/65534
    of a range with the identity in its middle.

    Args:
        edit: The edit.
        path: An ``.npz`` file; or a folder to make, without an ending or with ``.png`` or
            ``.tif``, which says what the pictures are and is left off.
        effective: As for :meth:`opmask.Edit.masks`.
        size: The height and width wanted, to which masks are stretched as they are for a photo;
            their own size if `None`.
        overwrite: Whether what is there is replaced. Of folders only those that were written here
            are, and only if nothing else is in them.

    Returns:
        The file, or the folder.

    Raises:
        ValueError: If `path` has another ending or is there already, or a side is below 1.
        OSError: If it cannot be written.

    Example:
        >>> import opmask, tempfile
        >>> from PIL import Image
        >>> edit = opmask.plan(opmask.load(), Image.new("RGB", (64, 48), "teal"))
        >>> folder = save_masks(edit, Path(tempfile.mkdtemp(), "masks.png"), effective=True)
        >>> sorted(path.name for path in folder.iterdir())[:3]
        ['a_add.png', 'a_mul.png', 'b_add.png']
        >>> difference = load_masks(folder)["a_add"] - edit.masks(effective=True)["a_add"]
        >>> bool(difference.abs().max() <= 1 / 65534)
        True
    """
    target = masks_target(path, overwrite=overwrite)
    if size is not None and min(size) < 1:
        raise ValueError(f"'size' must be a height and a width of at least 1, got {size}.")
    masks = {name: mask.cpu() for name, mask in edit.masks(effective).items()}
    size = edit.size if size is None else size
    if size[0] * size[1] > LARGEST_PHOTO:
        raise ValueError(
            f"'size' must be of at most {LARGEST_PHOTO:,} pixels, got {size[1]}x{size[0]}. "
            "Export the masks at their own size."
        )
    suffix = Path(path).suffix.lower()
    ending = PICTURES.get(suffix, ".npy")
    about = _describe(edit, masks, size, ending, effective)
    if suffix == ".npz":
        with replacing(target) as temporary:
            _write_npz(temporary, masks, about)
        return target
    with replacing_folder(target, INDEX, overwrite=overwrite) as folder:
        for one in about.masks:
            pixels = np.empty((*size, 1), np.uint16)
            for rows, values in _enlarged(masks[one.name], size):
                pixels[rows, :, 0] = to_grey(values, one.identity, one.step or 1.0)
            write_photo(Photo(pixels), folder / one.file)
        (folder / INDEX).write_bytes(_encode(about))
    return target


def load_masks(path: str | Path) -> dict[str, Tensor]:
    r"""Reads what :func:`save_masks` wrote.

    Args:
        path: The NPZ file or the folder, or the path that :func:`save_masks` was given.

    Returns:
        The masks by name, ``float32``, each with shape :math:`(1, 1, h, w)`, in operator units.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it was not written by :func:`save_masks`, or is damaged.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        return _read_folder(path if path.is_dir() else path.with_suffix(""))
    check_regular(path, LARGEST)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_npz(archive)
    except (KeyError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        reason = str(error.args[0] if error.args else error).rstrip(".")
        raise ValueError(f"{str(path)!r} must be as save_masks wrote it: {reason}.") from error


def step_of(mask: Tensor, range: MaskRange) -> float:
    """What a level is worth, so that 1 to 65535 hold the range and whatever the mask holds."""
    ends = [end for end in (range.low, range.high) if math.isfinite(end)]
    ends += [mask.min().item(), mask.max().item()]
    return (max(abs(end - range.identity) for end in ends) or 1.0) / (IDENTITY - 1)


def to_grey(values: np.ndarray, identity: float, step: float) -> np.ndarray:
    """Values of a mask as levels, ``uint16``."""
    levels = np.rint((values.astype(np.float64) - identity) / step) + IDENTITY
    return levels.clip(0, 2 * IDENTITY - 1).astype(np.uint16)


def _describe(
    edit: Edit, masks: dict[str, Tensor], size: tuple[int, int], ending: str, effective: bool
) -> MasksAbout:
    found = []
    for (name, mask), file in zip(masks.items(), _file_names([*masks]), strict=True):
        r = edit.retoucher.ranges[name]
        low, high = (end if math.isfinite(end) else None for end in (r.low, r.high))
        step = None if ending == ".npy" else step_of(mask, r)
        found.append(MaskAbout(name, file + ending, r.identity, low, high, step))
    (height, width), sha256 = edit.source.size, edit.source.sha256
    photo: dict[str, int | str] = {"height": height, "width": width, "sha256": sha256}
    values = "as stored" if ending == ".npy" else f"identity + (level - {IDENTITY}) * step"
    files = [one.file for one in found]
    return MasksAbout(FORMAT, __version__, effective, *size, photo, values, files, found)


def _file_names(names: list[str]) -> Iterator[str]:
    """A name for the file of each mask: that of the mask, if any file system can hold it."""
    taken: set[str] = set()
    for i, name in enumerate(names):
        # No mask's own name begins with a line.
        safe = SAFE.fullmatch(name) and name.casefold() not in taken
        taken.add(name.casefold())
        yield name if safe else f"_{i}_{re.sub(r'[^A-Za-z0-9_-]', '_', name)[:80]}"


def _enlarged(mask: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, np.ndarray]]:
    """A mask at some size, a strip of rows at a time."""
    enlarged = Enlarged(mask, size)
    for rows in strips(size):
        yield rows, enlarged[rows][0, 0].numpy()


def _encode(about: MasksAbout) -> bytes:
    return msgspec.json.format(msgspec.json.encode(about), indent=1)


def _write_npz(path: Path, masks: dict[str, Tensor], about: MasksAbout) -> None:
    # Not by numpy.savez, which cannot write a strip at a time, nor a mask of the name `file`.
    size = about.height, about.width
    header = {"descr": "<f4", "fortran_order": False, "shape": size}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in about.masks:
            with archive.open(one.file, "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for _, values in _enlarged(masks[one.name], size):
                    file.write(values.astype("<f4").tobytes())
        archive.writestr(INDEX, _encode(about))


def _read_npz(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    if archive.getinfo(INDEX).file_size > LARGEST_INDEX:
        raise ValueError(f"{INDEX} is too large")
    about = parse_json(archive.read(INDEX), MasksAbout, INDEX)
    size = about.height, about.width
    count = 4 * size[0] * size[1]
    masks = {}
    for one in about.masks:
        with archive.open(one.file) as file:
            np.lib.format.read_magic(file)
            found = np.lib.format.read_array_header_1_0(file)
            if found != (size, False, np.dtype("<f4")) or count > LARGEST:
                raise ValueError(
                    f"{one.file} must be float32, of {size}, got {found[2]}, {found[0]}"
                )
            data = file.read(count)
        if len(data) < count:
            raise ValueError(f"{one.file} is cut off")
        masks[one.name] = _tensor(np.frombuffer(data, "<f4").reshape(size))
    return masks


def _read_folder(folder: Path) -> dict[str, Tensor]:
    about = read_json(folder / INDEX, MasksAbout)
    size = about.height, about.width
    masks = {}
    for one in about.masks:
        pixels = read_photo(folder / one.file).pixels
        if pixels.shape != (*size, 1) or pixels.dtype != np.uint16 or one.step is None:
            raise ValueError(
                f"{folder / one.file} must be grey of 16 bits, {size[1]}x{size[0]}, with a step, "
                f"got {pixels.dtype} of shape {pixels.shape}."
            )
        levels = pixels[..., 0].astype(np.float64) - IDENTITY
        masks[one.name] = _tensor(one.identity + levels * one.step)
    return masks


def _tensor(values: np.ndarray) -> Tensor:
    if not np.isfinite(values).all():
        raise ValueError("a mask has values that are not finite")
    return torch.from_numpy(values.astype(np.float32))[None, None]
