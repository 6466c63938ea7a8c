r"""The kind `image`: photos, regions and label maps, for commands and reading functions.

Spoiled picture -> command or function -> output that is looked at.
"""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

import opmask
from fuzzing.case import Case, Use, command, expect
from fuzzing.formats import pixels, write_sound, write_spoiled
from fuzzing.mutations import litter
from opmask.datasets import Benchmark, read_image, read_label_map, read_photo

BASES: dict[str, Path] = {}
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


def prepare(folder: Path) -> None:
    """Makes a small model, which is quicker to load than the bundled one."""
    torch.manual_seed(0)
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(4, width=8), region=True)
    opmask.save(model.eval(), folder / "quick.safetensors")
    BASES["model"] = folder / "quick.safetensors"


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
    case.note(f"{option} {value if option != '--out' else out}")
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
        case.note(litter(case.rng, *case.rng.choice([(images, ".jpg"), (labels, ".png")])))
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
        case.note(litter(case.rng, case.folder / "second", ".png"))
    else:
        (case.folder / "second" / "lake.png").unlink()
        write_spoiled(case, case.folder / "second" / "lake", case.rng.choice([".png", ".jpg"]))
        case.sound = False
    run = functools.partial(command, "study", "build", *methods, "-o", case.folder / "study.html")
    return Use("study build", run, ("study.html", "study.key.json"))
