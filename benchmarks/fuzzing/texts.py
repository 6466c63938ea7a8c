r"""The kinds `manifest`, `cube` and `study`: text files that benchmarks and studies are made of.

Sound folder -> spoiled line, field or bytes -> class or command.
"""

from __future__ import annotations

import functools
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fuzzing.case import Case, Use, command, expect
from fuzzing.image import plant
from fuzzing.mutations import litter, spoil_bytes, spoil_file, spoil_json, to_text
from opmask.datasets import Benchmark
from opmask.perturb import Cube

FOLDERS: dict[str, Path] = {}


def prepare(folder: Path) -> None:
    """Makes a benchmark and a study once, to be copied."""
    case = Case(0, "texts", 0, folder / "texts")
    FOLDERS["benchmark"] = case.folder / "benchmark"
    plant(FOLDERS["benchmark"] / "root", case, count=3)
    for name, more in (("plain", []), ("recompressed", ["--recompress", "--size", "16"])):
        out = FOLDERS["benchmark"] / name
        command(
            "build-benchmark", "ade20k", FOLDERS["benchmark"] / "root", out, "--workers", 0, *more
        )
    FOLDERS["study"] = case.folder / "study"
    methods = []
    for number, name in enumerate(("first", "second", "third")):
        methods += ["--method", f"{name}={case.folder / name}"]
        (case.folder / name).mkdir()
        for stem in ("barn", "lake", "mill"):
            Image.new("RGB", (20, 16), (50 * number, 9, 9)).save(
                case.folder / name / f"{stem}.png"
            )
    FOLDERS["study"].mkdir()
    command("study", "build", *methods, "-o", FOLDERS["study"] / "study.html")
    key = json.loads((FOLDERS["study"] / "study.key.json").read_text())
    for number in range(3):
        text = json.dumps(_answers(case.rng, key, f"person {number}"))
        (FOLDERS["study"] / f"answers-{number}.json").write_text(text)


def _answers(rng: random.Random, key: dict[str, Any], participant: str) -> dict[str, Any]:
    answers = []
    for trial in key["trials"]:
        order = rng.sample(list(trial["choices"]), len(trial["choices"]))
        choice = {"trial": trial["key"], "order": order, "choice": order[0], "seconds": 2.5}
        answers.append(choice)
    page = {"opmask_study": key["opmask_study"], "checksum": key["checksum"]}
    return {**page, "participant": participant, "answers": answers}


def spoil_lines(rng: random.Random, text: str) -> tuple[str, str]:
    """Changes the lines of a text, whatever stands in them."""
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    makers = {
        "a line removed": lambda: lines.pop(at) and lines,
        "a line twice": lambda: [*lines[:at], lines[at], *lines[at:]],
        "an empty line": lambda: [*lines[:at], "", *lines[at:]],
        "shuffled": lambda: rng.sample(lines, len(lines)),
        "no lines": lambda: [],
        "the first alone": lambda: lines[:1],
        "twice": lambda: lines * 2,
        "a long line": lambda: [*lines[:at], "x " * 10**5, *lines[at:]],
    }
    name = rng.choice(list(makers))
    ending = rng.choice(["\n", "\n", "\r\n", "\r", "\x0b", "\u2028"])
    return ending.join(makers[name]()) + ending, f"{name}, lines end in {ending!r}"


def write_spoiled(case: Case, path: Path, text: str, whole: bool) -> None:
    """Writes JSON, of lines or as a `whole`, with something wrong in it."""
    rng = case.rng
    action = rng.choices(["json", "lines", "bytes", "coding", "file"], [12, 2, 2, 1, 1])[0]
    data = text.encode()
    if case.sound:
        path.write_bytes(data)
        return
    if action == "json":
        for _ in range(rng.choice([1, 1, 1, 2])):
            parts = [text] if whole else text.splitlines()
            at = rng.randrange(len(parts))
            try:
                value, damage = spoil_json(rng, json.loads(parts[at]))
            except (ValueError, RecursionError):  # it is spoiled already
                continue
            parts[at] = to_text(rng, value)
            text = "\n".join(parts) + "\n"
            case.note(f"line {at + 1}: {damage}")
        data = text.encode()
    elif action == "lines":
        text, damage = spoil_lines(rng, text)
        data = text.encode()
        case.note(damage)
    elif action == "coding":
        coding = rng.choice(["utf-16", "utf-8-sig", "utf-32", "utf-16-le"])
        data = text.encode(coding)
        case.note(coding)
    elif action == "bytes":
        data, damage = spoil_bytes(rng, data)
        case.note(damage)
    path.write_bytes(data)
    if action == "file":
        case.note(spoil_file(rng, path))


# --- manifests ---


def manifest(case: Case) -> Use:
    base = FOLDERS["benchmark"]
    root, out = case.folder / "root", case.folder / "out"
    variant = case.rng.choice(["plain", "recompressed"])
    shutil.copytree(base / "root", root)
    text = (base / variant / "manifest.jsonl").read_text()
    out.mkdir()
    case.note(variant)
    more = [] if variant == "plain" else ["--recompress", "--size", "16"]
    arguments = ("build-benchmark", "ade20k", root, out, "--workers", 0, *more)
    action = case.rng.choices(["manifest", "half", "photo"], [8, 2, 1])[0]
    if action == "half":
        lines = text.splitlines(keepends=True)
        write_spoiled(case, out / ".half-made.jsonl", "".join(lines[:2]), whole=False)
        run = functools.partial(_complete, arguments, out, root)
        # The half-made file is used up.
        return Use("build-benchmark over a half-made one", run, ("out/*",), True)
    if action == "photo" and not case.sound:
        (out / "manifest.jsonl").write_text(text)
        place = case.rng.choice(["images/validation/p1.jpg", "annotations/validation/p1.png"])
        case.note(spoil_file(case.rng, root / place))
    else:
        write_spoiled(case, out / "manifest.jsonl", text, whole=False)
    if case.rng.random() < 0.2:
        run = functools.partial(_complete, (*arguments, "--images"), out, root)
        outputs = ("out/manifest.jsonl", "out/images/*.png")
        return Use("build-benchmark --images", run, outputs, resumable=True)
    path = case.rng.choice([out, out / "manifest.jsonl"])
    return Use("Benchmark", functools.partial(_samples, path, root))


def _complete(arguments: tuple[object, ...], out: Path, root: Path) -> None:
    command(*arguments)
    _samples(out, root)


def _samples(path: Path, root: Path) -> None:
    benchmark = Benchmark(path, root)
    expect(len(benchmark) == benchmark.header.kept, "the count is wrong")
    benchmark.header.describe()
    for index in range(len(benchmark)):
        sample = benchmark[index]
        expect(sample.composite.isfinite().all(), "a composite is not finite")
        expect(sample.composite.shape == sample.real.shape, "shapes differ")


# --- tables of colours ---

WORDS = ["nan", "inf", "-inf", "1e400", "1e308", "-1e308", "1e-320", "9" * 5000, "1_0", "\uff12"]
WORDS += ["0x1", "1,5", "", "x" * 10**5, "1e", "--1", "\0", "é", "+1", "-0", "1 1", "#", "\v", "٣"]
LINES = """LUT_1D_SIZE 4|LUT_3D_SIZE 2|LUT_3D_SIZE 0|LUT_3D_SIZE 100000|LUT_3D_SIZE 256|LUT_3D_SIZE
LUT_3D_SIZE 2 2|LUT_3D_SIZE -2|LUT_3D_SIZE ²|DOMAIN_MIN 1 1 1|DOMAIN_MIN nan 0 0|DOMAIN_MAX 0 0 0
DOMAIN_MAX 1e308 1e308 1e308|DOMAIN_MIN -1e308 -1e308 -1e308|DOMAIN_MAX 1e-320 1e-320 1e-320|#
LUT_3D_INPUT_RANGE 1 0|LUT_3D_INPUT_RANGE 0|TITLE|TITLE "x|1 2|1 2 3 4|1e308 1e308 1e308|\0\1
-1e308 1e308 0|UNKNOWN 1|infinity 0 0"""


def cube(case: Case) -> Use:
    rng, size = case.rng, case.rng.choice([2, 2, 3, 5])
    levels = [n / (size - 1) for n in range(size)]
    rows = [f"{r:.6f} {1 - g:.6f} {b:.6f}" for b in levels for g in levels for r in levels]
    lines = [
        'TITLE "a look"',
        f"LUT_3D_SIZE {size}",
        "DOMAIN_MIN 0 0 0",
        "DOMAIN_MAX 1 1 1",
        *rows,
    ]
    path = case.folder / rng.choice(["look.cube", "look.cube", "L é.CUBE", "look"])
    action = rng.choices(["word", "line", "lines", "bytes", "coding", "file"], [6, 6, 3, 3, 1, 2])[
        0
    ]
    if case.sound:
        action = ""
    at = rng.randrange(len(lines))
    if action == "word":
        words = lines[at].split()
        place = rng.randrange(len(words))
        words[place] = rng.choice(WORDS)
        case.note(f"{words[place]!r:.20} in line {at + 1}")
        lines[at] = " ".join(words)
    elif action == "line":
        new = rng.choice(re.split("[|\n]", LINES))
        keep = rng.random() < 0.5
        lines[at : at + (not keep)] = [new]
        case.note(f"{new!r} {'before' if keep else 'for'} line {at + 1}")
    text = "\n".join(lines) + "\n"
    if action == "lines":
        text, damage = spoil_lines(rng, text)
        case.note(damage)
    data = text.encode(
        rng.choice(["utf-16", "utf-8-sig", "utf-32"]) if action == "coding" else "utf-8"
    )
    if action == "bytes":
        data, damage = spoil_bytes(rng, data)
        case.note(damage)
    path.write_bytes(data)
    if action == "file":
        case.note(spoil_file(rng, path))
    return Use("Cube", functools.partial(_look, path))


def _look(path: Path) -> None:
    image = torch.arange(256, dtype=torch.uint8).repeat(3, 2, 1)
    found = Cube(path)(image)
    expect(found.shape == image.shape and found.dtype == torch.uint8, "it is no image")


# --- studies ---


def study(case: Case) -> Use:
    for file in FOLDERS["study"].iterdir():
        shutil.copy(file, case.folder)
    rng = case.rng
    name = rng.choice(["answers-1.json", "answers-1.json", "study.key.json"])
    path = case.folder / name
    write_spoiled(case, path, path.read_text(), whole=True)
    if rng.random() < 0.1:
        case.note(litter(rng, case.folder, ".json"))
    numbers = rng.choice([[1], [0, 1, 2]])
    answers = [case.folder / f"answers-{number}.json" for number in numbers]
    arguments: list[object] = [*answers, "--key", case.folder / "study.key.json"]
    if rng.random() < 0.3:
        arguments.append("--partial")
    outputs: tuple[str, ...] = ()
    if rng.random() < 0.4:
        out = rng.choice(["out", "out", "out", "answers-1", "study.key"])
        arguments += ["-o", case.folder / f"{out}.md"]
        outputs = (f"{out}.md", f"{out}.json") if out == "out" else ()
        case.sound = case.sound and out == "out"
        case.note(f"-o {out}.md")
    return Use("study score", functools.partial(_score, case.folder, arguments), outputs)


def _score(folder: Path, arguments: list[object]) -> None:
    command("study", "score", *arguments)
    if (folder / "out.json").exists():
        record = json.loads((folder / "out.json").read_text())
        expect(0 <= record["seconds"] < 10**6, f"seconds are {record['seconds']}")
        shares = [share["percent"] for share in record["methods"]]
        expect(abs(sum(shares) - 100) < 1e-6, f"shares are {shares}")
