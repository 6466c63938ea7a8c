r"""Pictures of all formats, sound or spoiled as only their format can be.

Drawn pixels -> :func:`picture` -> bytes -> :func:`write_spoiled` -> file.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fuzzing.case import Case
from fuzzing.mutations import spoil_bytes, spoil_file

FORMATS = {
    ".png": ["L", "RGB", "RGBA", "P", "1", "I;16", "LA"],
    ".jpg": ["L", "RGB", "CMYK"],
    ".tif": ["L", "RGB", "RGBA", "P", "1", "I;16", "CMYK", "F", "LAB"],
    ".webp": ["RGB", "RGBA"],
    ".gif": ["L", "P"],
    ".bmp": ["L", "RGB", "P", "1"],
    ".ppm": ["L", "RGB", "1"],
}
INTEGERS = [0, 1, 2, 3, 7, 255, 256, 65535, 65536, 70000, 2**31 - 1, 2**31, 2**32 - 1]


# --- sound pictures ---


def pixels(case: Case, mode: str) -> Image.Image:
    size = case.rng.choice([(24, 16), (16, 24), (40, 40), (33, 17), (16, 16), (90, 20)])
    array = case.noise.integers(0, 256, (size[1], size[0], 4), np.uint8)
    if mode in ("I;16", "F"):
        return Image.fromarray(array[..., 0].astype(np.uint16 if mode == "I;16" else np.float32))
    if mode in ("CMYK", "LAB", "LA"):
        bands = [Image.fromarray(array[..., n].copy()) for n in range(4)]
        return Image.merge(mode, bands[: len(Image.new(mode, (1, 1)).getbands())])
    return Image.fromarray(array).convert("RGB" if mode != "RGBA" else mode).convert(mode)


def picture(case: Case, ending: str | None = None) -> tuple[bytes, str]:
    """A sound file, and the ending of its name."""
    ending = ending or case.rng.choice(list(FORMATS))
    mode = case.rng.choice(FORMATS[ending])
    image, buffer = pixels(case, mode), io.BytesIO()
    more: dict[str, object] = {}
    if ending in (".png", ".jpg", ".webp", ".tif") and case.rng.random() < 0.4:
        more["exif"] = exif(case.rng, tiff=ending == ".tif")
    if ending in (".png", ".jpg", ".webp") and case.rng.random() < 0.2:
        more["icc_profile"] = case.rng.randbytes(200)
    if ending == ".tif" and mode != "F":
        more["compression"] = case.rng.choice(["raw", "tiff_lzw", "tiff_adobe_deflate"])
    if ending in (".png", ".webp") and mode == "RGB" and case.rng.random() < 0.1:
        more |= {"save_all": True, "append_images": [pixels(case, mode).resize(image.size)]}
    image.save(buffer, Image.registered_extensions()[ending], **more)
    case.note(f"{mode} {ending}")
    return buffer.getvalue(), ending


def exif(rng: random.Random, tiff: bool) -> bytes:
    """Tags as cameras write them, and some that no picture should have."""
    tags = Image.Exif()
    tags[274] = rng.choice([1, 3, 6, 8] if tiff else [1, 3, 6, 8, 0, 9, 77])
    for tag, value in ((271, "x" * 500), (256, 9), (258, 16), (259, 5), (262, 3), (284, 2)):
        if rng.random() < 0.3 and (tag == 271 or not tiff):  # Pillow would obey the others
            tags[tag] = value
    data = tags.tobytes()
    return data if tiff or rng.random() < 0.7 else spoil_bytes(rng, data)[0]


# --- spoiled ones ---


def spoil_png(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Changes chunks, and writes their checksums anew."""
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    zeros = zlib.compress(bytes(rng.choice([10, 10**6, 3 * 10**7])))
    extra = [
        (b"IDAT", zeros),
        (b"zTXt", b"Comment\0\0" + zeros),
        (b"iTXt", b"Comment\0\1\0\0\0" + zeros),
        (b"iCCP", b"x\0\0" + zeros),
    ]
    names = b"eXIf tRNS PLTE gAMA pHYs acTL fcTL fdAT cHRM xxxx".split()
    extra += [(name, rng.randbytes(rng.choice([0, 1, 7, 8, 26, 300]))) for name in names]
    place = rng.randrange(len(chunks))
    action = rng.choice(
        ["header", "header", "remove", "twice", "move", "insert", "insert", "pixels"]
    )
    if action == "header":
        field = rng.choice([0, 4, 8, 9, 10, 11, 12])
        value = rng.choice([*INTEGERS, 12_000, 30_000])
        packed = struct.pack(">I", value) if field < 8 else bytes([value % 256])
        header = chunks[0][1]
        chunks[0] = (b"IHDR", header[:field] + packed + header[field + len(packed) :])
        action = f"byte {field} of the header is {value}"
    elif action == "remove":
        action = f"no {chunks.pop(place)[0]!r}"
    elif action == "twice":
        chunks.insert(place, chunks[place])
    elif action == "move":
        chunks.insert(rng.randrange(len(chunks)), chunks.pop(place))
    elif action == "insert":
        chunks.insert(max(1, place), new := rng.choice(extra))
        action = f"{new[0]!r} of {len(new[1])} bytes"
    else:
        chunks = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
        action = "no pixels"
    body = b"".join(
        struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c))
        for name, c in chunks
    )
    return data[:8] + body, action


def spoil_jpeg(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Changes, removes or adds segments before the pixels."""
    segments, at = [], 2
    while data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        segments.append(data[at : at + 2 + length])
        at += 2 + length
    place = rng.randrange(len(segments))
    action = rng.choice(["frame", "frame", "remove", "twice", "insert", "spoil"])
    if action == "frame":
        place = next(n for n, s in enumerate(segments) if s[1] in (0xC0, 0xC2))
        field = rng.choice([4, 5, 6, 7, 8, 9, 11, 12])
        value, old = rng.choice(INTEGERS) % 256, segments[place]
        segments[place] = old[:field] + bytes([value]) + old[field + 1 :]
        action = f"byte {field} of the frame is {value}"
    elif action == "remove":
        action = f"no segment {segments.pop(place)[1]:x}"
    elif action == "twice":
        segments.insert(place, segments[place])
    elif action == "spoil":
        segments[place] = segments[place][:4] + spoil_bytes(rng, segments[place][4:])[0]
        action = f"segment {segments[place][1]:x} spoiled"
    else:
        content = rng.choice(
            [b"Exif\0\0", b"ICC_PROFILE\0\x09\x01", b"Adobe", b"MPF\0", b"8BIM", b""]
        )
        content += rng.randbytes(rng.choice([0, 3, 40, 60_000]))
        marker = rng.choice([0xE1, 0xE2, 0xEE, 0xED, 0xFE, 0xDD])
        segments.insert(0, bytes([255, marker]) + struct.pack(">H", len(content) + 2) + content)
        action = f"segment {marker:x} with {content[:5]!r}"
    return data[:2] + b"".join(segments) + data[at:], action


def spoil_tiff(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Writes something else into an entry of the directory."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    at = start + 2 + 12 * rng.randrange(count)
    parts = [("tag", 0, "H"), ("type", 2, "H"), ("count", 4, "I"), ("value", 8, "I")]
    part, offset, form = rng.choice([*parts, parts[-1], ("next", 0, "I")])
    value = rng.choice(INTEGERS) % (65536 if form == "H" else 2**32)
    if part == "next":  # the directory after this one: perhaps itself
        at, value = start + 2 + 12 * count, rng.choice([start, value])
    spoiled = bytearray(data)
    (tag,) = struct.unpack_from(f"{order}H", data, at)
    struct.pack_into(f"{order}{form}", spoiled, at + offset, value)
    return bytes(spoiled), f"{part} of tag {tag} is {value}"


SPOILERS: dict[str, Callable[[random.Random, bytes], tuple[bytes, str]]] = {
    ".png": spoil_png,
    ".jpg": spoil_jpeg,
    ".tif": spoil_tiff,
}


def write_spoiled(case: Case, stem: Path, ending: str | None = None) -> Path:
    """Writes a picture to `stem` with an ending, sound if the case is, else spoiled."""
    data, ending = picture(case, ending)
    path = stem.with_name(stem.name + ending)
    action = case.rng.choices(["format", "bytes", "file", "ending"], [5, 4, 2, 1])[0]
    if case.sound:
        path.write_bytes(data)
    elif action == "file":
        path.write_bytes(data)
        case.note(spoil_file(case.rng, path))
    elif action == "ending" and len(stem.name) < 200:  # sound, of another format than it says
        path.write_bytes(picture(case)[0])
    else:
        for _ in range(case.rng.choice([1, 1, 1, 2, 3])):
            spoil = SPOILERS.get(ending, spoil_bytes) if action == "format" else spoil_bytes
            try:
                data, damage = spoil(case.rng, data)
            except (struct.error, IndexError, ValueError, StopIteration):  # spoiled too much
                data, damage = spoil_bytes(case.rng, data)
            case.note(damage)
        path.write_bytes(data)
    return path


def write_sound(case: Case, stem: Path, ending: str) -> Path:
    path = stem.with_suffix(ending)
    path.write_bytes(picture(case, ending)[0])
    return path
