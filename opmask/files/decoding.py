r"""Pixels out of files: JPEG, PNG, TIFF and WebP by libvips, all else by Pillow and its plug-ins.

libvips hands out the rows one after the other, so that nothing but the array itself is large; and
it reads 16 bits and floats. Pillow has 8 bits of colour, and needs the picture twice.

Data flow: `file -> kind_of -> decode -> Decoded`.
"""

from __future__ import annotations

import importlib
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from opmask.files.metadata import Metadata, from_picture, orientation, read_metadata
from opmask.files.pictures import open_picture, quiet, register_plugins
from opmask.files.profiles import check_profile
from opmask.files.reading import shorten

__all__ = [
    "LARGEST",
    "Decoded",
    "decode",
    "from_pillow",
    "import_vips",
    "turned",
    "upright_of",
]

LARGEST = 500_000_000
"""The largest number of pixels that is read without being told to."""

_MAGIC = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"II+\0": "TIFF", b"MM\0+": "TIFF",
}  # fmt: skip

_TYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32}

_OWN = ("b-w", "grey16", "srgb", "rgb", "rgb16", "scrgb", "multiband")
"""What libvips calls colours that are grey or RGB as they are."""

_TIFF_ALPHA, _PREMULTIPLIED = 338, 1
_TIFF_BITS = 258

_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_JXL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")


@dataclass
class Decoded:
    """What a file holds: pixels, upright, and what it says of them as it stands there."""

    pixels: np.ndarray
    metadata: Metadata
    profile: bytes | None
    premultiplied: bool = False
    remarks: list[str] = field(default_factory=list)


@cache
def import_vips() -> Any:  # noqa: ANN401
    """The module pyvips; it takes a moment, and not everybody reads files."""
    # What libvips warns of, it also copes with or refuses; nobody need read it in a terminal.
    logging.getLogger("pyvips").addHandler(logging.NullHandler())
    try:
        return importlib.import_module("pyvips")
    except (ImportError, OSError) as error:  # the latter if it finds no library
        raise ImportError(
            "reading and writing photos needs pyvips with its library. "
            "Install them with `pip install 'pyvips[binary]'`."
        ) from error


def decode(path: Path, largest: int) -> Decoded:
    r"""Reads a file.

    Args:
        path: The file, which is there.
        largest: The largest number of pixels that is read.

    Returns:
        What it holds.

    Raises:
        ValueError: If it cannot be read. The message does not name it.
        ImportError: If it is of a format whose plug-in is missing, or libvips is.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "red.png")
        >>> Image.new("RGB", (3, 2), "red").save(path)
        >>> decode(path, LARGEST).pixels.shape
        (2, 3, 3)
    """
    with open(path, "rb") as file:
        head = file.read(32)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "WEBP"
    return _by_vips(path, kind, largest) if kind else _by_pillow(path, head, largest)


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """A view of pixels, (H, W, C), as an EXIF orientation shows them."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    down = turn in (3, 4, 7, 8)
    across = turn in (2, 3, 6, 7)
    return pixels[:: -1 if down else 1, :: -1 if across else 1]


def _by_vips(path: Path, kind: str, largest: int) -> Decoded:
    vips = import_vips()
    remarks: list[str] = []
    try:
        metadata, profile = read_metadata(path, kind)
    except Exception:  # whatever Pillow raises; whether the pixels are whole, libvips says
        metadata, profile = Metadata(), None
        remarks.append("its metadata are damaged or too large, and are left out")
    load = getattr(vips.Image, f"{kind.lower()}load")
    limit: dict[str, Any] = {} if kind == "WEBP" else {"unlimited": True}
    premultiplied = kind == "TIFF" and _check_tiff(path)
    try:
        # Without "revalidate" libvips would hand out an older file of that name.
        image = load(str(path), access="sequential", fail_on="error", revalidate=True, **limit)
        _check_size(image.width, image.height, largest)
        if frames := _frames(path, image, kind):
            remarks.append(f"the first of {frames} pictures in the file is used")
        image, profile = _in_rgb(image, profile, remarks)
        pixels = _rows(vips, image, orientation(metadata))
    except vips.Error as error:
        raise ValueError(_reason(str(error))) from error
    return Decoded(pixels, metadata, profile, premultiplied, remarks)


def _check_size(width: int, height: int, largest: int) -> None:
    if width * height > largest:
        raise ValueError(
            f"it has {width}x{height} pixels, more than max_pixels={largest}, and may be a "
            "decompression bomb. A larger max_pixels lifts the limit"
        )


def _frames(path: Path, image: Any, kind: str) -> int:  # noqa: ANN401
    """How many pictures a file has, if there are several."""
    if kind == "PNG":
        with open(path, "rb") as file:
            head = file.read(2**16).partition(b"IDAT")[0]
        at = head.find(b"acTL")
        count = int.from_bytes(head[at + 4 : at + 8], "big") if at > 0 else 1
    else:
        count = image.get("n-pages") if image.get_typeof("n-pages") else 1
    return int(count) if count > 1 else 0


def _check_tiff(path: Path) -> bool:
    """Whether colours are stored multiplied by alpha; raises if it has bits that are not read."""
    tags = Image.Exif()
    bits: Any = 1
    extra: Any = 0
    with open(path, "rb") as file, suppress(Exception), quiet():  # libvips says what is damaged
        tags.load_from_fp(file)
        bits, extra = tags.get(_TIFF_BITS, 1), tags.get(_TIFF_ALPHA, 0)
    bits = bits if isinstance(bits, tuple) else (bits,)
    if not {*bits} <= {1, 2, 4, 8, 16, 32}:
        raise ValueError(f"{max(bits)} bits a channel are not read. Save it with 8 or 16")
    return _PREMULTIPLIED in (extra if isinstance(extra, tuple) else (extra,))


def _in_rgb(image: Any, profile: bytes | None, remarks: list[str]) -> tuple[Any, bytes | None]:  # noqa: ANN401
    """The same picture in grey or RGB of a type of ours, and the profile that it then has."""
    if image.format not in _TYPES:
        raise ValueError(
            f"numbers of the type {image.format} are not read. Save it with 8 or 16 bits, or "
            "as 32-bit floats in [0, 1]"
        )
    if image.interpretation == "cmyk":
        remarks.append("CMYK was converted to sRGB")
        return _through(image, "cmyk"), None
    if image.interpretation not in _OWN:
        remarks.append(f"colours were converted from {image.interpretation} to sRGB")
        return image.colourspace("rgb16" if image.format == "ushort" else "srgb"), None
    if image.bands > 4:
        raise ValueError(f"{image.bands} channels are not read. Save it as grey, RGB or RGBA")
    if profile is None:
        return image, None
    try:
        check_profile(profile, 1 if image.bands < 3 else 3)
        return image, profile
    except ValueError as error:
        return _without_curves(image, profile, str(error), remarks), None


def _without_curves(image: Any, profile: bytes, why: str, remarks: list[str]) -> Any:  # noqa: ANN401
    """Colours of a profile that is damaged, or has tables that lead one way only."""
    remark = why.rstrip(".")
    try:
        if b"A2B0" in profile[:4096] and profile[16:20] == b"RGB " and image.format != "float":
            converted = _through(image, "srgb")
            remarks.append(f"{remark}: colours were converted to sRGB")
            return converted
    except import_vips().Error:
        pass
    remarks.append(f"{remark}: colours are taken for sRGB")
    return image


def _through(image: Any, fallback: str) -> Any:  # noqa: ANN401
    """The colours as sRGB, by the profile in the file."""
    depth = 16 if image.format == "ushort" else 8
    return image.icc_transform(
        "srgb", embedded=True, input_profile=fallback, depth=depth, black_point_compensation=True
    )


def _rows(vips: Any, image: Any, turn: int) -> np.ndarray:  # noqa: ANN401
    """The pixels, (H, W, C), upright; only a few rows are there twice."""
    height, width = image.height, image.width
    size = (width, height) if turn >= 5 else (height, width)
    pixels = np.empty((*size, image.bands), _TYPES[image.format])
    stored = turned(pixels, {6: 8, 8: 6}.get(turn, turn))
    length = pixels.nbytes // height
    rest, y = bytearray(), 0

    def fill(data: bytes) -> int:
        nonlocal y
        rest.extend(data)
        if count := len(rest) // length:
            rows = np.frombuffer(bytes(rest[: count * length]), pixels.dtype)
            stored[y : y + count] = rows.reshape(count, width, image.bands)
            del rest[: count * length]
            y += count
        return len(data)

    target = vips.TargetCustom()
    target.on_write(fill)
    image.rawsave_target(target, keep="none")
    if y < height:
        raise ValueError("it is damaged")
    return pixels


def _by_pillow(path: Path, head: bytes, largest: int) -> Decoded:
    register_plugins()
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS and ".heic" not in _known():
        raise ImportError("HEIF is not read. Run: pip install 'opmask[formats]'")
    if head.startswith(_JXL) and ".jxl" not in _known():
        raise ImportError("JPEG XL is not read. Run: pip install 'opmask[formats]'")
    picture = open_picture(path)
    _check_size(*picture.size, largest)
    metadata, profile = from_picture(picture)
    remarks = []
    if picture.format == "AVIF" and _deep_avif(path):
        remarks.append("more than 8 bits a channel were read as 8")
    with quiet(), Image.open(path) as opened:
        frames = getattr(opened, "n_frames", 1)
    if frames > 1:
        remarks.append(f"the first of {frames} pictures in the file is used")
    if picture.mode == "CMYK":
        remarks.append("CMYK was converted to sRGB, without its profile")
        profile = None
    pixels = _deep_heif(path) if picture.format == "HEIF" else None
    pixels = from_pillow(picture) if pixels is None else pixels
    return upright_of(pixels, metadata, profile, remarks)


def upright_of(
    pixels: np.ndarray, metadata: Metadata, profile: bytes | None, remarks: list[str]
) -> Decoded:
    """Pixels that are not turned yet, with a profile only if it is one that is read."""
    if profile is not None:
        try:
            check_profile(profile, 1 if pixels.shape[-1] < 3 else 3)
        except ValueError as error:
            remarks.append(f"{str(error).rstrip('.')}: colours are taken for sRGB")
            profile = None
    pixels = np.ascontiguousarray(turned(pixels, orientation(metadata)))
    return Decoded(pixels, metadata, profile, remarks=remarks)


def from_pillow(picture: Image.Image) -> np.ndarray:
    r"""The pixels of a Pillow picture, as they are.

    Args:
        picture: The picture, of any mode but `I` and `F`, not turned.

    Returns:
        The pixels, ``uint8`` or, of the modes `I;16`, ``uint16``, with shape :math:`(H, W, C)`:
        palettes are looked up, a transparent colour becomes alpha, CMYK is converted by Pillow's
        formula.

    Raises:
        ValueError: If it has 32 bits a channel.

    Example:
        >>> from_pillow(Image.new("LA", (3, 2))).shape
        (2, 3, 2)
    """
    if picture.mode.startswith("I;16"):
        return np.array(picture).astype(np.uint16)[..., None]
    if picture.mode in ("I", "F"):
        raise ValueError(f"pictures of the mode {picture.mode!r} are not read. Save it as TIFF")
    if picture.mode in ("1", "L") and not picture.has_transparency_data:
        return np.array(picture.convert("L"))[..., None]
    if picture.mode in ("1", "L", "LA", "La"):
        return np.array(picture.convert("RGBA" if picture.mode != "LA" else "LA"))[..., -2:]
    return np.array(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def _known() -> set[str]:
    return set(Image.registered_extensions())


def _deep_avif(path: Path) -> bool:
    """Whether an AVIF file says in its configuration that it has 10 or 12 bits."""
    with open(path, "rb") as file:
        _, found, after = file.read(2**16).partition(b"av1C")
    return bool(found) and len(after) > 2 and bool(after[2] & 0x40)


def _deep_heif(path: Path) -> np.ndarray | None:
    """The pixels of a HEIF file of more than 8 bits, as 16."""
    file = importlib.import_module("pillow_heif").open_heif(path, convert_hdr_to_8bit=False)
    if not file.mode.endswith(";16"):
        return None
    pixels = np.asarray(file)
    return pixels.reshape(*pixels.shape[:2], -1)


def _reason(said: str) -> str:
    """What libvips says of a file, as part of a sentence."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1].partition(": ")[2] or lines[-1] if lines else "no reason is given"
    return f"it is damaged, or of a kind that is not read ({shorten(last.rstrip('.'))})"
