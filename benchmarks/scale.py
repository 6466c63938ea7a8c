"""What do more processes bring to a folder? The command and the scripts on Ray, in one run.

Two jobs: `opmask harmonize` of a folder of photographs, beside `examples/harmonize_with_ray.py`,
and `opmask build-benchmark --images` of the same photographs with their label maps, beside
`examples/build_benchmark_with_ray.py`. All ways must leave the same files, byte for byte. Each
process has one thread, as those of Ray have.

Time is that of the clock. Each way is called twice: for all, and again after one picture was
deleted, which is all that it makes then. The difference is the time of the others; what the second
call takes but for its one picture is the start: imports, models, Ray. The ways take turns; figures
are medians over the turns, and the last column is the median of the ratios to the command with one
process.

    python benchmarks/scale.py
    python benchmarks/scale.py --data ADE20K_ROOT --repeats 3
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from opmask.datasets import ADE20K, SyntheticScenes
from opmask.files.pictures import picture_files
from opmask.markdown import markdown_table

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
HEADINGS = ("job", "way", "workers", "start", "images / s", "to the command")
WORKERS = (1, 2)
NO_RESULTS = {"failed.txt", ".lock"}


class Way(NamedTuple):
    """A way to do a job: what is called, in a folder in which it writes `out`."""

    job: str
    name: str
    workers: int
    words: tuple[str, ...]

    def seconds(self, folder: Path) -> float:
        """Does the job, or what is missing of it; the time that it takes."""
        began = time.monotonic()
        words = [sys.executable, *self.words]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as Ray gives its processes
        done = subprocess.run(words, cwd=folder, env=one_thread, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{self.job}, {self.name}: {done.stderr.strip()}")
        return time.monotonic() - began


class Turn(NamedTuple):
    """How long a way took to start, in seconds, and how many images it then made in a second."""

    start: float
    rate: float


def ways(root: Path, size: int) -> list[Way]:
    """The ways to do both jobs; the first of each job is what others are compared with."""
    photos = str(root / "images" / "validation")
    harmonize = (photos, "--out", "out")
    edits = ("--save-edits", "out/edits", "--device", "cpu")  # as the script does
    build = ("ade20k", str(root), "out", "--images", "--size", str(size))
    harmonize_script, build_script = (
        str(EXAMPLES / f"{name}_with_ray.py") for name in ("harmonize", "build_benchmark")
    )
    found = [Way("harmonize", "command", 1, ("-m", "opmask", "harmonize", *harmonize, *edits))]
    for job, name, words in (
        ("harmonize", "Ray", (harmonize_script, *harmonize)),
        ("build-benchmark", "command", ("-m", "opmask", "build-benchmark", *build)),
        ("build-benchmark", "Ray", (build_script, *build)),
    ):
        found += [Way(job, name, n, (*words, "--workers", str(n))) for n in WORKERS]
    return found


def measure(way: Way, folder: Path) -> Turn:
    """Does a job in a folder, which is new."""
    whole, out = way.seconds(folder), folder / "out"
    pictures = picture_files(out / "images") or picture_files(out)
    pictures[-1].unlink()
    again = way.seconds(folder)
    each = max(whole - again, 0.01) / max(len(pictures) - 1, 1)  # a few are as fast as one
    return Turn(max(again - each, 0.0), 1 / each)


def results(folder: Path) -> list[str]:
    """The files of a folder, as paths in it, without those that are no results."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in NO_RESULTS)
    return sorted(str(path.relative_to(folder)) for path in files)


def check_same(way: Way, folder: Path, first: Path) -> None:
    """Compares what a way left with what the first one did.

    Raises:
        SystemExit: If a byte differs.
    """
    files = results(first)
    _, *others = filecmp.cmpfiles(first, folder, files, shallow=False)
    if any(others) or results(folder) != files:
        raise SystemExit(f"{way.job}, {way.name}, {way.workers} workers: other files.")


def copy_photos(data: Path, photos: Path, label_maps: Path, count: int) -> None:
    """So many photos with their label maps, evenly spread over all splits; or all there are."""
    splits = sorted(path.name for path in (data / "images").iterdir() if path.is_dir())
    pairs = [pair for split in splits for pair in ADE20K(data, split).pairs]
    places = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    for i, place in enumerate(places):
        for path, folder in zip(pairs[place], (photos, label_maps), strict=True):
            shutil.copyfile(path, folder / f"{i:04}{path.suffix}")


def draw_photos(photos: Path, label_maps: Path, count: int, size: int) -> None:
    """So many drawn scenes."""
    for scene in SyntheticScenes(count, size=size):
        picture = Image.fromarray(scene.image.permute(1, 2, 0).numpy())
        picture.save(photos / f"{scene.name}.jpg")
        labels = Image.fromarray(scene.label_map.byte().numpy())
        labels.save(label_maps / f"{scene.name}.png")


def row(way: Way, turns: list[Turn], first: list[Turn]) -> tuple[str, ...]:
    """The medians of a way, and that of its ratios to the first one."""
    start, rate = (statistics.median(figures) for figures in zip(*turns, strict=True))
    ratio = statistics.median(
        own.rate / other.rate for own, other in zip(turns, first, strict=True)
    )
    return way.job, way.name, str(way.workers), f"{start:.1f} s", f"{rate:.2f}", f"{ratio:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="root of ADE20K; default: synthetic scenes")
    parser.add_argument("--count", type=int, default=100, help="how many photos")
    parser.add_argument("--size", type=int, default=512, help="the sides of samples, in pixels")
    parser.add_argument("--repeats", type=int, default=1, help="how many turns")
    args = parser.parse_args()
    turns: defaultdict[Way, list[Turn]] = defaultdict(list)
    firsts: dict[str, tuple[Way, Path]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "photos"
        photos, label_maps = (root / kind / "validation" for kind in ("images", "annotations"))
        for folder in photos, label_maps:
            folder.mkdir(parents=True)
        if args.data:
            copy_photos(args.data, photos, label_maps, args.count)
        else:
            draw_photos(photos, label_maps, args.count, args.size)
        count = len(picture_files(photos))
        for way in tqdm(args.repeats * ways(root, args.size), "runs", disable=None):
            folder = Path(tempfile.mkdtemp(dir=temporary))
            turns[way].append(measure(way, folder))
            _, first = firsts.setdefault(way.job, (way, folder))
            check_same(way, folder / "out", first / "out")
            if folder != first:
                shutil.rmtree(folder)
    print(f"Photos: {count}; turns: {args.repeats}. All ways leave the same files.\n")
    rows = [row(way, own, turns[firsts[way.job][0]]) for way, own in turns.items()]
    print(markdown_table(HEADINGS, rows, rules=["---", "---", *["---:"] * 4]))


if __name__ == "__main__":
    main()
