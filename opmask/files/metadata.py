r"""Metadata: what a photo's file says beside its pixels, as it is handed on to another file.

Data flow: `file -> read_metadata -> Metadata -> saving`.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from opmask.files.exif import descriptive
from opmask.files.pictures import quiet

__all__ = [
    "RESOLUTION",
    "Metadata",
    "chunk",
    "described",
    "from_picture",
    "orientation",
    "read_metadata",
]

_IPTC = 0x0404  # the block of Photoshop's that holds IPTC
_ORIENTATION = 274
_TIFF_XMP, _TIFF_IPTC, _TIFF_ICC = 700, 33723, 34675
RESOLUTION = (282, 283, 296)
"""The tags of a TIFF's resolution across, down, and of its unit."""

_PER_INCH = {2: 1.0, 3: 2.54}  # what the unit of a TIFF's resolution is worth

_COMMENT = "Comment"

# Where XMP says how the picture is turned, by an attribute or by an element, and its size.
_XMP_TURN = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>\s*))(\d)""")

_PNG_PARTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"pHYs")

_LARGEST_PART = 64 * 2**20  # bytes of one piece of metadata of a PNG that are read


@dataclass(frozen=True)
class Metadata:
    r"""What comes with a photo beside its pixels and its colour profile.

    Args:
        exif: EXIF tags, from `Exif` and two zeros on, without what describes the file.
        xmp: An XMP packet.
        iptc: IPTC records (IIM).
        dpi: Horizontal and vertical resolution, in pixels per inch.
        text: What PNG files hold as text, by keyword; `Comment` is a JPEG's or a GIF's comment.

    Example:
        >>> Metadata(dpi=(300, 300)).dpi
        (300, 300)
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    dpi: tuple[float, float] | None = None
    text: Mapping[str, str] = field(default_factory=dict)


def read_metadata(path: Path, kind: str) -> tuple[Metadata, bytes | None]:
    r"""Reads what a file says of its photo, as it stands there.

    Args:
        path: The file.
        kind: Its format: `"JPEG"`, `"PNG"`, `"WEBP"` or `"TIFF"`.

    Returns:
        The metadata, with an orientation that is still to be applied; and the colour profile.

    Raises:
        Exception: Whatever Pillow raises on a file that is damaged.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "red.png")
        >>> Image.new("RGB", (3, 2), "red").save(path, dpi=(254, 254))
        >>> read_metadata(path, "PNG")[0].dpi
        (254.0, 254.0)
    """
    if kind == "TIFF":
        return _from_tiff(path)
    # Not by Image.open, which has a limit of its own for the number of pixels.
    if kind == "PNG":
        return from_picture(PngImagePlugin.PngImageFile(_head_of_png(path)))
    plugin = {"JPEG": JpegImagePlugin.JpegImageFile, "WEBP": WebPImagePlugin.WebPImageFile}[kind]
    with plugin(path) as picture:
        return from_picture(picture)


def from_picture(picture: Image.Image) -> tuple[Metadata, bytes | None]:
    r"""What Pillow has found beside the pixels of a picture.

    Args:
        picture: The picture.

    Returns:
        As of :func:`read_metadata`.

    Example:
        >>> from_picture(Image.new("L", (1, 1)))
        (Metadata(exif=b'', xmp=b'', iptc=b'', dpi=None, text={}), None)
    """
    info = picture.info
    text = {str(key): str(value) for key, value in getattr(picture, "text", {}).items()}
    if isinstance(picture, ImageFile.ImageFile) and isinstance(info.get("comment"), bytes | str):
        comment = info["comment"]
        text[_COMMENT] = comment if isinstance(comment, str) else _decoded(comment)
    packet = text.pop("XML:com.adobe.xmp", b"") or info.get("xmp") or b""
    photoshop, dpi = info.get("photoshop"), info.get("dpi")
    metadata = Metadata(
        exif=_exif(picture, _raw_profile(text.pop("Raw profile type exif", ""))),
        xmp=packet.encode() if isinstance(packet, str) else packet,
        iptc=photoshop.get(_IPTC, b"") if isinstance(photoshop, dict) else b"",
        dpi=_resolution(*dpi) if isinstance(dpi, tuple) and len(dpi) == 2 else None,
        text={key: value for key, value in text.items() if not key.startswith("Raw profile")},
    )
    return metadata, info.get("icc_profile") or None


def orientation(metadata: Metadata) -> int:
    r"""How a picture is to be turned, as EXIF says it, or XMP if EXIF says nothing.

    Args:
        metadata: What the file says.

    Returns:
        A number of 1-8, of which 1 is upright.

    Example:
        >>> orientation(Metadata(xmp=b'<a tiff:Orientation="6"/>'))
        6
    """
    exif = Image.Exif()
    with suppress(Exception), quiet():  # whatever Pillow raises, the picture itself is whole
        exif.load(metadata.exif)
        if _ORIENTATION in exif:
            turn = int(exif[_ORIENTATION])
            return turn if turn in range(1, 9) else 1
    found = _XMP_TURN.search(metadata.xmp)
    return int(found[2]) if found and found[2] in b"12345678" else 1


def described(metadata: Metadata, size: tuple[int, int]) -> Metadata:
    r"""Metadata of a file as those of the upright picture.

    Args:
        metadata: What the file says.
        size: Width and height of the upright picture.

    Returns:
        The same, without orientation, thumbnail and what describes the file; damaged EXIF data
        are left out.

    Example:
        >>> described(Metadata(xmp=b'<a tiff:Orientation="6"/>'), (3, 2)).xmp
        b'<a tiff:Orientation="1"/>'
    """
    exif = Image.Exif()
    with suppress(Exception), quiet():
        exif.load(metadata.exif)
    with quiet():
        data = descriptive(exif, size)
    return replace(metadata, exif=data, xmp=_XMP_TURN.sub(rb"\g<1>1", metadata.xmp))


def _from_tiff(path: Path) -> tuple[Metadata, bytes | None]:
    exif = Image.Exif()
    with open(path, "rb") as file, quiet():
        exif.load_from_fp(file)
        own = {tag: exif.get(tag) for tag in (_TIFF_XMP, _TIFF_IPTC, _TIFF_ICC, *RESOLUTION)}
        across, down, unit = (own[tag] for tag in RESOLUTION)
        turn = exif.get(_ORIENTATION, 1)
        for tag in {_TIFF_IPTC, *RESOLUTION} & set(exif):
            del exif[tag]
        data = descriptive(exif, (0, 0))  # what describes a TIFF file would fill megabytes
        if turn != 1:
            kept = Image.Exif()
            kept.load(data)
            kept[_ORIENTATION] = turn
            data = kept.tobytes()
    scale = _PER_INCH.get(2 if unit is None else unit)
    metadata = Metadata(
        exif=data,
        xmp=_bytes(own[_TIFF_XMP]),
        iptc=_bytes(own[_TIFF_IPTC]),
        dpi=_resolution(across, down, scale) if scale and across and down else None,
    )
    return metadata, _bytes(own[_TIFF_ICC]) or None


def _bytes(value: object) -> bytes:
    """The value of a tag that holds bytes, whatever type the file says that it has."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("latin-1", "replace")
    if isinstance(value, tuple) and all(isinstance(one, int) for one in value):
        size = "B" if all(one < 256 for one in value) else "I"
        with suppress(struct.error):
            return struct.pack(f"<{len(value)}{size}", *value)
    return b""


def _resolution(across: object, down: object, scale: float = 1.0) -> tuple[float, float] | None:
    with suppress(TypeError, ValueError, ZeroDivisionError):
        dpi = round(float(across) * scale, 3), round(float(down) * scale, 3)  # type: ignore[arg-type]
        if all(math.isfinite(one) and one > 0 for one in dpi):
            return dpi
    return None


def _head_of_png(path: Path) -> io.BytesIO:
    """A PNG of one pixel with what the file says, also that which stands after the pixels."""
    parts = []
    with open(path, "rb") as file:
        signature = file.read(8)
        while len(head := file.read(8)) == 8:
            size, name = struct.unpack(">I4s", head)
            if name in _PNG_PARTS and size <= _LARGEST_PART:
                parts.append(head + file.read(size + 4))
            else:
                file.seek(size + 4, 1)
    header, pixel = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), b"\0\0"
    end = chunk(b"IDAT", zlib.compress(pixel)) + chunk(b"IEND", b"")
    return io.BytesIO(signature + header + b"".join(parts) + end)


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _raw_profile(text: str) -> bytes:
    """EXIF as ImageMagick writes it into a text: three lines, then hexadecimal digits."""
    with suppress(ValueError):
        return bytes.fromhex("".join(text.split("\n")[3:]))
    return b""


def _exif(picture: Image.Image, raw: bytes) -> bytes:
    """EXIF tags as Pillow has them: those of the file, and what was changed by `getexif`."""
    with suppress(Exception), quiet():  # whatever Pillow raises on damaged tags
        exif = picture.getexif()
        return exif.tobytes() if exif else b""
    return picture.info.get("exif") or raw


def _decoded(comment: bytes) -> str:
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")
