r"""Metadata as JPEG, PNG and TIFF files hold them, byte by byte.

libvips writes the pixels; it would write EXIF anew, and none into a TIFF.

Data flow: `Metadata -> segments, chunks or a directory -> file`.

References:
    | JPEG File Interchange Format; Exif 2.32 (CIPA DC-008); XMP part 3, storage in files (Adobe)
    | Portable Network Graphics, third edition (W3C)
    | TIFF revision 6.0 (Adobe)
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PIL import ExifTags, Image, TiffImagePlugin

from opmask.files.metadata import RESOLUTION, Metadata, chunk
from opmask.files.pictures import quiet

__all__ = ["JPEG_LARGEST", "add_to_tiff", "jpeg_segments", "png_chunks"]

JPEG_LARGEST = 65533
"""The largest content of a segment of a JPEG file, in bytes."""

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HH", 0x0404, 0)
_ICC = b"ICC_PROFILE\0"
_ICC_PART = JPEG_LARGEST - len(_ICC) - 2

_TIFF_ICC, _TIFF_XMP, _TIFF_IPTC = 34675, 700, 33723


def jpeg_segments(metadata: Metadata, profile: bytes | None) -> dict[str, bytes]:
    r"""What stands between the first two bytes of a JPEG file and its tables, by what it holds.

    Args:
        metadata: The metadata.
        profile: The colour profile.

    Returns:
        Segments under `""` (the header), `"EXIF"`, `"XMP"`, `"IPTC"`, `"ICC"` and `"comment"`. One
        that is larger than a segment may be is left out.

    Example:
        >>> jpeg_segments(Metadata(text={"Comment": "hi"}), None)["comment"]
        b'\xff\xfe\x00\x04hi'
    """
    across, down = (min(round(one), 65535) for one in metadata.dpi or (1, 1))
    header = struct.pack(
        ">5sHBHHBB", b"JFIF\0", 0x0101, metadata.dpi is not None, across, down, 0, 0
    )
    icc = profile or b""
    pieces = [icc[at : at + _ICC_PART] for at in range(0, len(icc), _ICC_PART)]
    records = metadata.iptc + bytes(len(metadata.iptc) % 2)
    contents = {
        "": (0xE0, [header]),
        "EXIF": (0xE1, [metadata.exif]),
        "XMP": (0xE1, [_XMP + metadata.xmp] if metadata.xmp else []),
        "IPTC": (0xED, [_PHOTOSHOP + struct.pack(">I", len(metadata.iptc)) + records]
                 if metadata.iptc else []),
        "ICC": (0xE2, [_ICC + bytes([n, len(pieces)]) + p for n, p in enumerate(pieces, 1)]
                if len(pieces) < 256 else []),
        "comment": (0xFE, [metadata.text.get("Comment", "").encode()]),
    }  # fmt: skip
    return {
        name: b"".join(struct.pack(">BBH", 0xFF, marker, len(c) + 2) + c for c in parts if c)
        for name, (marker, parts) in contents.items()
        if any(parts) and all(len(part) <= JPEG_LARGEST for part in parts)
    }


def png_chunks(metadata: Metadata, profile: bytes | None) -> bytes:
    r"""What stands between the header of a PNG file and its pixels.

    Args:
        metadata: The metadata; IPTC has no place there.
        profile: The colour profile.

    Returns:
        The chunks.

    Example:
        >>> png_chunks(Metadata(text={"Title": "hi"}), None)[4:16]
        b'tEXtTitle\x00hi'
    """
    chunks = []
    if profile:
        chunks.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if metadata.dpi:
        per_metre = [min(round(one / 0.0254), 2**31 - 1) for one in metadata.dpi]
        chunks.append(chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if metadata.exif:
        chunks.append(chunk(b"eXIf", metadata.exif.removeprefix(b"Exif\0\0")))
    if metadata.xmp:
        chunks.append(chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + metadata.xmp))
    return b"".join(chunks) + b"".join(_text(*pair) for pair in metadata.text.items())


def _text(keyword: str, text: str) -> bytes:
    key = keyword.encode("latin-1", "replace")[:79].strip() or b"Comment"
    try:
        return chunk(b"tEXt", key + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return chunk(b"iTXt", key + bytes(5) + text.encode())


def add_to_tiff(path: Path, metadata: Metadata, profile: bytes | None) -> None:
    r"""Adds metadata to a TIFF file that has none: its directory is written anew, at the end.

    Args:
        path: The file, of one picture.
        metadata: The metadata; text has no place there.
        profile: The colour profile.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "red.tif")
        >>> Image.new("RGB", (3, 2), "red").save(path)
        >>> add_to_tiff(path, Metadata(xmp=b"<x/>"), None)
        >>> with Image.open(path) as picture:
        ...     picture.info["xmp"]
        b'<x/>'
    """
    with open(path, "r+b") as file, quiet():
        head = file.read(16)
        big, order = head[2:4] in (b"\x2b\0", b"\0\x2b"), "<" if head[:2] == b"II" else ">"
        entry, counter, place = (20, "Q", 8) if big else (12, "H", 4)
        (at,) = struct.unpack(order + ("Q" if big else "I"), head[place : 2 * place])
        file.seek(at)
        (count,) = struct.unpack(order + counter, file.read(struct.calcsize(counter)))
        entries = _entries(file.read(count * entry), entry, order)
        if metadata.dpi is None:
            entries = {tag: entry for tag, entry in entries.items() if tag not in RESOLUTION}
        end = file.seek(0, 2)
        file.write(bytes(end % 2))
        added = _directory(metadata, profile, head[: 2 * place])
        for tag in set(entries) & set(added):
            del added[tag]
        data = added.tobytes(file.tell())
        entries |= _entries(data[struct.calcsize(counter) :][: len(added) * entry], entry, order)
        file.write(data + bytes(len(data) % 2))
        at = file.tell()
        file.write(struct.pack(order + counter, len(entries)))
        file.write(b"".join(entries[tag] for tag in sorted(entries)) + bytes(place))
        file.seek(place)
        file.write(struct.pack(order + ("Q" if big else "I"), at))


def _entries(data: bytes, size: int, order: str) -> dict[int, bytes]:
    """The entries of a directory, by their tags."""
    entries = (data[at : at + size] for at in range(0, len(data), size))
    return {struct.unpack(order + "H", entry[:2])[0]: entry for entry in entries}


def _directory(
    metadata: Metadata, profile: bytes | None, head: bytes
) -> TiffImagePlugin.ImageFileDirectory_v2:
    exif = Image.Exif()
    exif.load(metadata.exif)
    directory = TiffImagePlugin.ImageFileDirectory_v2(head)
    for tag, value in exif.items():
        nested = tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        directory[tag] = _nested(exif, tag) if nested else value
    for tag, data in (
        (_TIFF_XMP, metadata.xmp),
        (_TIFF_IPTC, metadata.iptc),
        (_TIFF_ICC, profile),
    ):
        if data:
            directory.tagtype[tag] = 1 if tag == _TIFF_XMP else 7
            directory[tag] = data
    return directory


def _nested(exif: Image.Exif, tag: int) -> dict[int, object]:
    directory = dict(exif.get_ifd(tag))
    if ExifTags.IFD.Interop in directory:
        directory[ExifTags.IFD.Interop] = exif.get_ifd(ExifTags.IFD.Interop)
    return directory
