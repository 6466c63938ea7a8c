"""Whether the outcome depends on the size at which masks are predicted.

    PYTHONPATH=examples python -m reproduction.small.steady MODEL... --data ROOT

Composites that people made, given their regions, are harmonized at several work sizes. The table
holds the mean absolute difference between the outputs of two sizes inside the region, in levels
of 255 (mean over composites, 95 % interval), and that between the composite and each output: a
model that does little is steady. The bundled model comes first. None of the composites has more
than 512 px, so that they are enlarged to twice their size; sizes beyond that are left out.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import opmask
from opmask import OperatorMaskWrapper
from opmask.color import to_levels
from opmask.datasets import read_image, read_region
from opmask.files.pictures import picture_files
from opmask.markdown import markdown_table
from opmask.metrics import interval
from reproduction.flags import add_every, at_least, existing
from reproduction.small.scoring import with_the_box

FOLDERS = {"real_composites": 27, "lalonde_composites": 20}  # and how many of them, by name
SIZES = (128, 256, 512, 1024)
ENLARGED = 2  # a size of 1024 px is then tried on composites of 512 px
COMPOSITE = 0  # stands for a size at which nothing is done

Pair = tuple[int, int]


class Pasted(NamedTuple):
    """A composite (3, H, W), `uint8`, and its region (H, W), `bool`."""

    name: str
    image: Tensor
    region: Tensor


def read_pasted(folder: Path, count: int) -> Iterator[Pasted]:
    """The first composites of a folder by name, enlarged."""
    for path in picture_files(folder / "composite_images")[:count]:
        image = read_image(path)[None]
        mask = read_region(folder / "masks" / f"{path.stem}.png")[None]
        large = F.interpolate(image.float(), scale_factor=ENLARGED, mode="bicubic")
        region = F.interpolate(mask.float(), large.shape[2:], mode="bilinear")
        yield Pasted(path.stem, to_levels(large[0] / 255), region[0, 0] > 127)


def differences(
    model: OperatorMaskWrapper, pasted: Pasted, sizes: Sequence[int]
) -> dict[Pair, float]:
    """The mean difference inside the region for each pair of sizes, in levels of 255."""
    image, region = pasted.image, pasted.region
    outputs = {COMPOSITE: image} | {
        size: opmask.harmonize(model, image, region=region, work_size=size)
        for size in sizes
        if size <= max(image.shape)
    }
    inside = {size: output[:, region].float() for size, output in outputs.items()}
    return {
        (small, large): float((one - other).abs().mean())
        for (small, one), (large, other) in combinations(inside.items(), 2)
    }


def steadiness(
    model: OperatorMaskWrapper, composites: Sequence[Pasted], sizes: Sequence[int]
) -> dict[Pair, list[float]]:
    """The differences of all composites."""
    found: dict[Pair, list[float]] = {pair: [] for pair in combinations((COMPOSITE, *sizes), 2)}
    for pasted in tqdm(composites, "steady", leave=False, disable=None):
        for pair, difference in differences(model, pasted, sizes).items():
            found[pair].append(difference)
    return found


def table(found: dict[str, dict[Pair, list[float]]]) -> str:
    """A row for each pair of sizes, a column for each model."""
    pairs = next(iter(found.values()))
    lines = [
        [
            f"{small or 'composite'} and {large}",
            len(values),
            *(f"{interval(of_model[small, large]):.2f}" for of_model in found.values()),
        ]
        for (small, large), values in pairs.items()
        if values
    ]
    return markdown_table(["work sizes, px", "composites", *found], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=existing, nargs="*", help="checkpoints")
    parser.add_argument("--data", type=existing, required=True, help="the root of the photographs")
    parser.add_argument("--sizes", type=at_least(16), nargs="+", default=SIZES, help="in pixels")
    add_every(parser, "composites")
    args = parser.parse_args(arguments)
    models = dict(with_the_box(args.models))
    for name, count in FOLDERS.items():
        composites = list(read_pasted(args.data / name, count))[:: args.every]
        if not composites:
            raise SystemExit(
                f"'--data' must hold composites in {name}/composite_images, got {args.data}."
            )
        found = {
            title: steadiness(model, composites, sorted(args.sizes))
            for title, model in models.items()
        }
        print(f"### Steady: {name}\n\n{table(found)}\n", flush=True)


if __name__ == "__main__":
    launch.run(main)
