r"""The kind `image`: pictures of all formats, as photos, regions and label maps.

Drawn picture -> spoiled file -> command or reading function.
"""

from __future__ import annotations

import functools
import io
import os
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

import opmask
from fuzzing.case import Case, Use, command, expect
from fuzzing.mutations import litter, spoil_bytes, spoil_file
from opmask.datasets import Benchmark, read_image, read_label_map, read_photo

BASES: dict[str, Path] = {}
FORMATS = {
    ".png": ["L", "RGB", "RGBA", "P", "1", "I;16", "LA"],
    ".jpg": ["L", "RGB", "CMYK"],
    ".tif": ["L", "RGB", "RGBA", "P", "1", "I;16", "CMYK", "F", "LAB"],
    ".webp": ["RGB", "RGBA"],
    ".gif": ["L", "P"],
    ".bmp": ["L", "RGB", "P", "1"],
    ".ppm": ["L", "RGB", "1"],
}
NAMES = [
    "photo",
    "photo",
    "photo",
    "фото 🙂",
    "a b%20c",
    "-dash",
    ".hidden",
    "x" * 240,
    "a.b",
    "~",
]
OUTS = ["photo.png", "./photo.png", "PHOTO.PNG", "there.png", "link.png", "folder.png", "no/a.png"]
OUTS += ["x" * 245 + ".png", "pipe.png", "a.xyz"]
INTEGERS = [0, 1, 2, 3, 7, 255, 256, 65535, 65536, 70000, 2**31 - 1, 2**31, 2**32 - 1]


def prepare(folder: Path) -> None:
    """Makes a small model, which is quicker to load than the one in the box."""
    torch.manual_seed(0)
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(4, width=8), region=True)
    opmask.save(model.eval(), folder / "quick.safetensors")
    BASES["model"] = folder / "quick.safetensors"


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
    case.tell(f"{mode} {ending}")
    return buffer.getvalue(), ending


def exif(rng: random.Random, tiff: bool) -> bytes:
    """Tags as cameras write them, and some that no picture should have."""
    tags = Image.Exif()
    tags[274] = rng.choice([1, 3, 6, 8, 0, 9, 77])
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
        case.tell(spoil_file(case.rng, path))
    elif action == "ending" and len(stem.name) < 200:  # sound, of another format than it says
        path.write_bytes(picture(case)[0])
    else:
        for _ in range(case.rng.choice([1, 1, 1, 2, 3])):
            spoil = SPOILERS.get(ending, spoil_bytes) if action == "format" else spoil_bytes
            try:
                data, told = spoil(case.rng, data)
            except (struct.error, IndexError, ValueError, StopIteration):  # spoiled too much
                data, told = spoil_bytes(case.rng, data)
            case.tell(told)
        path.write_bytes(data)
    return path


def write_sound(case: Case, stem: Path, ending: str) -> Path:
    path = stem.with_suffix(ending)
    path.write_bytes(picture(case, ending)[0])
    return path


# --- the doors ---


def image(case: Case) -> Use:
    doors = [_harmonize, _harmonize, _arguments, _region, _reading, _folder, _study]
    return case.rng.choice(doors)(case)


def _harmonize(case: Case) -> Use:
    photo = write_spoiled(case, case.folder / case.rng.choice(NAMES))
    out = f"out{case.rng.choice(['.png', '.jpg', '.tif', '.webp'])}"
    case.sound = False  # modes that cannot be retouched are refused
    arguments = [photo, "-o", case.folder / out, "--work-size", 32, "--model", BASES["model"]]
    return Use("harmonize PHOTO", functools.partial(_run, case, arguments, out), (out,))


def _arguments(case: Case) -> Use:
    """A sound photo, and arguments that are not."""
    photo = case.folder / "photo.png"
    pixels(case, "RGB").save(photo)
    out, case.sound = "out.png", False
    arguments: list[object] = [photo, "--model", BASES["model"]]
    option = case.rng.choice(["--strength", "--work-size", "--device", "--out"])
    value: object = case.rng.choice(["nan", "inf", "-1", "1e400", "0", "x", "", "9" * 8, "é"])
    if option == "--out":
        out = case.rng.choice(OUTS)
        (case.folder / "there.png").write_bytes(b"mine")
        (case.folder / "folder.png").mkdir()
        os.mkfifo(case.folder / "pipe.png")
        target = case.rng.choice(["photo.png", "there.png", "gone"])
        (case.folder / "link.png").symlink_to(target)
        arguments += case.rng.choice([[], ["--overwrite"]])
    else:
        arguments += [option, value]
    case.tell(f"{option} {value if option != '--out' else out}")
    written = os.path.relpath((case.folder / out).resolve(), case.folder.resolve())
    may = () if written == "photo.png" else (written,)
    arguments += ["--out", case.folder / out]
    return Use("harmonize OPTIONS", functools.partial(_run, case, arguments, out), may)


def _region(case: Case) -> Use:
    photo = case.folder / "photo.png"
    pixels(case, "RGB").save(photo)
    region = write_spoiled(case, case.folder / "region")
    case.sound = False  # its size is another one
    if case.rng.random() < 0.5 and region.is_file() and not region.is_symlink():
        with Image.open(photo) as opened:
            size = opened.size
        try:
            with Image.open(region) as opened:
                pixels(case, "RGB").resize(opened.size).save(photo)
        except Exception:  # it is spoiled, as it should be
            pixels(case, "RGB").resize(size).save(photo)
    arguments = [photo, "-o", "out.png", "--region", region, "--model", BASES["model"]]
    run = functools.partial(_run, case, [*arguments, "--work-size", 32], "out.png")
    return Use("harmonize --region", run, ("out.png",))


def _run(case: Case, arguments: list[object], out: str) -> None:
    """Harmonizes, or leaves the photo as it is; then it should be in the output."""
    same = case.rng.random() < 0.5 and "--strength" not in arguments
    command("harmonize", *arguments, *(["--strength", 0] if same else []))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these are of opening the files here
        _compare(Path(str(arguments[0])), case.folder / out, same)


def _compare(before: Path, after: Path, same: bool) -> None:
    """Raises unless the output is of the photo's size, and the photo where nothing was done."""
    with Image.open(after) as opened:
        found = np.asarray(opened.convert("RGBA"), int)
    try:
        with Image.open(before) as opened:
            mode, upright = opened.mode, ImageOps.exif_transpose(opened)
    except Exception:  # its tags are spoiled
        return
    wanted = np.asarray(upright.convert("RGBA"), int)
    expect(found.shape == wanted.shape, f"the size is {found.shape}, not {wanted.shape}")
    if same and mode in ("L", "RGB", "RGBA") and after.suffix in (".png", ".tif"):
        expect(abs(found - wanted).max() <= 2, "what was not changed is another picture")


def _reading(case: Case) -> Use:
    door = case.rng.choice(["read_image", "read_label_map", "photo", "labels"])
    path = write_spoiled(case, case.folder / "spoiled")
    case.sound = False  # some modes are refused
    if door == "read_image":
        return Use(door, lambda: _is_image(read_image(path)))
    if door == "read_label_map":
        return Use(door, lambda: expect(read_label_map(path).min() >= 0, "labels below 0"))
    other = write_sound(case, case.folder / "sound", ".png")
    pair = (path, other) if door == "photo" else (other, path)
    return Use(f"read_photo of {door}", lambda: _is_image(read_photo(*pair).image))


def _is_image(found: torch.Tensor) -> None:
    expect(found.dtype == torch.uint8 and found.ndim == 3 and found.numel(), "it is no image")


def plant(folder: Path, case: Case, count: int = 2) -> tuple[Path, Path]:
    """A folder as of ADE20K, with sound photos."""
    images, labels = folder / "images/validation", folder / "annotations/validation"
    for made in (images, labels):
        made.mkdir(parents=True)
    for number in range(count):
        array = case.noise.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(array).save(images / f"p{number}.jpg")
        label_map = np.repeat(np.arange(4, dtype=np.uint8), 6)[None].repeat(20, 0)
        Image.fromarray(label_map).save(labels / f"p{number}.png")
    return images, labels


def _folder(case: Case) -> Use:
    root, out = case.folder / "root", case.folder / "out"
    images, labels = plant(root, case)
    if case.rng.random() < 0.2:
        case.sound = True
        case.tell(litter(case.rng, *case.rng.choice([(images, ".jpg"), (labels, ".png")])))
    else:
        place, ending = case.rng.choice([(images, ".jpg"), (labels, ".png")])
        (place / f"p1{ending}").unlink()
        write_spoiled(case, place / "p1", ending)
        case.sound = False
    more = ["--images"] if case.rng.random() < 0.3 else []

    def run() -> None:
        command("build-benchmark", "ade20k", root, out, "--workers", 0, "--size", 16, *more)
        samples = list(Benchmark(out, root))  # type: ignore[call-overload]
        expect(samples and all(s.composite.isfinite().all() for s in samples), "no samples")

    pictures = ("out/images/*.png",) if more else ()
    return Use("build-benchmark", run, ("out/manifest.jsonl", *pictures), resumable=True)


def _study(case: Case) -> Use:
    methods = []
    for name in ("first", "second"):
        (case.folder / name).mkdir()
        for stem in ("barn", "lake"):
            pixels(case, "RGB").resize((30, 20)).save(case.folder / name / f"{stem}.png")
        methods += ["--method", f"{name}={case.folder / name}"]
    if case.rng.random() < 0.2:
        case.sound = True
        case.tell(litter(case.rng, case.folder / "second", ".png"))
    else:
        (case.folder / "second" / "lake.png").unlink()
        write_spoiled(case, case.folder / "second" / "lake", case.rng.choice([".png", ".jpg"]))
        case.sound = False
    run = functools.partial(command, "study", "build", *methods, "-o", case.folder / "study.html")
    return Use("study build", run, ("study.html", "study.key.json"))
