"""What does the command `opmask harmonize` make of composites, file by file?

Seeded composites of validation photographs, which the bundled model never saw, are written as
PNG files, and the command harmonizes the folder: given the region of each, and given nothing. The
table has the share of photos that come out with a lower MSE, those of which PSNR rises and falls
by more than 0.5 dB, the MSE that is left, and the mean gain of PSNR, with 95 % intervals.

    python benchmarks/command.py --data ../data
    python benchmarks/command.py --data ../data --opmask venv/bin/opmask --keep files
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

from reproduction.small.pool import Pool  # noqa: E402

from opmask.color import to_levels  # noqa: E402
from opmask.datasets import read_image  # noqa: E402
from opmask.files.pictures import picture_files  # noqa: E402
from opmask.markdown import markdown_table  # noqa: E402
from opmask.metrics import bootstrap, interval, mse, psnr  # noqa: E402
from opmask.perturb import Perturber, sample_seed  # noqa: E402

HEADINGS = ("given", "improved", "over +0.5 dB", "under -0.5 dB", "MSE left", "PSNR gain, dB")
SEED = 0
GIVEN = {"the region": ["--region", "regions"], "nothing": []}
FOLDERS = ("real", "composites", "regions")


def write_composites(data: Path, folder: Path, count: int, size: int) -> None:
    """Writes composites, regions and photos, photographs evenly spread over the validation set."""
    photos, perturber = Pool(data, "validation", size=size), Perturber()
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    places = np.linspace(0, len(photos) - 1, count).round().astype(int).tolist()
    for i, place in enumerate(tqdm(places, "composites", disable=None)):
        photo = photos[place]
        made = perturber(photo.image[None], photo.label_map[None], [sample_seed(SEED, 0, place)])
        region = (made.applied[0].region_map(photo.label_map) > 0).float()
        pictures = made.real[0], made.composite[0], region.expand(3, -1, -1)
        for name, picture in zip(FOLDERS, pictures, strict=True):
            levels = to_levels(picture).permute(1, 2, 0).numpy()
            Image.fromarray(levels).save(folder / name / f"{i:03}.png")


def read(folder: Path) -> list[Tensor]:
    return [read_image(path)[None] / 255 for path in picture_files(folder)]


def scores(outputs: Sequence[Tensor], real: Sequence[Tensor]) -> np.ndarray:
    """The MSE and the PSNR of each output, with shape (N, 2)."""
    pairs = [(mse(a, b), psnr(a, b)) for a, b in zip(outputs, real, strict=True)]
    return np.array([[error.item(), ratio.item()] for error, ratio in pairs])


def row(given: str, before: np.ndarray, after: np.ndarray) -> tuple[str, ...]:
    gain = after[:, 1] - before[:, 1]

    def left(chosen: np.ndarray) -> np.ndarray:
        return after[chosen, 0].mean(-1) / before[chosen, 0].mean(-1)

    low, high = bootstrap(left, len(before))
    return (
        given,
        f"{(after[:, 0] < before[:, 0]).mean():.0%}",
        f"{(gain > 0.5).mean():.0%}",
        f"{(gain < -0.5).mean():.0%}",
        f"{left(np.arange(len(before))):.3f} [{low:.3f}, {high:.3f}]",
        f"{interval(gain.tolist()):+.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the root of the photographs")
    parser.add_argument("--count", type=int, default=60, help="how many composites")
    parser.add_argument("--size", type=int, default=384, help="their sides, in pixels")
    parser.add_argument("--opmask", type=Path, help="the command, such as that of an environment")
    parser.add_argument("--keep", type=Path, help="a new folder for the files")
    args = parser.parse_args()
    command = [str(args.opmask.resolve())] if args.opmask else [sys.executable, "-m", "opmask"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary) / "files"
        write_composites(args.data, folder, args.count, args.size)
        real, composites = read(folder / "real"), read(folder / "composites")
        before, rows = scores(composites, real), []
        for given, flags in GIVEN.items():
            out = f"given-{given.removeprefix('the ')}"
            call = [*command, "harmonize", "composites", "-o", out, *flags]
            subprocess.run(call, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            rows.append(row(given, before, scores(read(folder / out), real)))
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    print(
        f"{args.count} composites of validation photographs, {args.size}x{args.size}, "
        f"seed {SEED}; {version.stdout.strip()}.\n"
    )
    print(markdown_table(HEADINGS, rows))


if __name__ == "__main__":
    main()
