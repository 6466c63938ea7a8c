"""Show what a trained model makes of composites, given the region or not.

    python examples/show_harmonized.py --out photos.png
    python examples/show_harmonized.py real_composites --out real.png

Without a folder these are composites of the free photographs that come with scikit-image, which
no model was trained on. A folder holds `composite_images`, and in `masks` a picture of the same
name for each, white where something was pasted or changed. In the picture, from left to right: the
composite, what is made of it given the exact region, boxes, and nothing, the photo
if there is one, and the region.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import skimage.data
import torch
import torch.nn.functional as F
from reproduction.flags import add_overwrite, check_files, files_of
from torch import Tensor
from tqdm import tqdm

import opmask
from opmask.datasets import (
    Photo,
    read_image,
    read_region,
    region_prompt,
    resize_photo,
    segment,
)
from opmask.files.pictures import picture_files
from opmask.perturb import Perturber, sample_seed
from opmask.visualize import PanelRow, save_panel
from opmask.wrapper.model import fit_longer_side

SIZE = 256
SAMPLES = ("astronaut", "chelsea", "coffee", "rocket")
SEED = 0
GIVEN = {"given the region": "exact", "given a box": "boxes"}


class Example(NamedTuple):
    """A composite (3, H, W), the changed region of each pixel (H, W), and the photo, if known."""

    composite: Tensor
    regions: Tensor
    photo: dict[str, Tensor]


def samples() -> Iterator[Example]:
    """A composite of each sample photograph, with the regions that are found in it."""
    perturber = Perturber()
    for place, name in enumerate(SAMPLES):
        pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)
        image = resize_photo(Photo(pixels, torch.zeros(pixels.shape[1:]).long(), name), SIZE).image
        label_map = segment(image)[None]
        made = perturber(image[None], label_map, [sample_seed(SEED, 0, place)])
        regions = made.applied[0].region_map(label_map[0])
        yield Example(made.composite[0], regions, {"photo": made.real[0]})


def composites_in(folder: Path) -> Iterator[Example]:
    """The composites of a folder, by name, made small; all of the mask is one region."""
    for path in picture_files(folder / "composite_images"):
        image = read_image(path)
        mask = read_region(folder / "masks" / f"{path.stem}.png")[0]
        size = fit_longer_side((image.shape[1], image.shape[2]), SIZE)
        small = F.interpolate(image[None] / 255, size, mode="bilinear", antialias=True)[0]
        region = F.interpolate(mask[None, None].float(), size, mode="area")[0, 0] > 127
        yield Example(small.clamp(0, 1), region.long(), {})


def panel_row(model: opmask.OperatorMaskWrapper, example: Example) -> PanelRow:
    """A composite, what is made of it, the photo and the region, on squares."""
    images = {"composite": example.composite}
    generator = torch.Generator().manual_seed(0)
    for title, kind in GIVEN.items():
        prompt = region_prompt(example.regions[None], [kind], generator=generator)
        images[title] = opmask.harmonize(model, example.composite, region=prompt)
    images["given nothing"] = opmask.harmonize(model, example.composite)
    region = (example.regions > 0)[None].float()
    shown = {**images, **example.photo, "region": region}
    return PanelRow({title: on_square(image) for title, image in shown.items()})


def on_square(image: Tensor) -> Tensor:
    height, width = image.shape[1:]
    return F.pad(image, (0, SIZE - width, 0, SIZE - height), value=1.0)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="composites; else sample photos")
    parser.add_argument("--model", type=Path, help="a checkpoint; else the one in the box")
    parser.add_argument("--count", type=int, help="how many, else all")
    parser.add_argument("--out", type=Path, default=Path("harmonized.png"), help="the picture")
    add_overwrite(parser)
    args = parser.parse_args(arguments)
    folder = args.folder or Path("none")
    read = files_of(args.model, folder / "composite_images", folder / "masks")
    check_files({"--out": args.out}, read, overwrite=args.overwrite)
    model = opmask.load(args.model)
    examples = samples() if args.folder is None else composites_in(args.folder)
    chosen = tqdm(islice(examples, args.count), "harmonize", disable=None)
    rows = [panel_row(model, example) for example in chosen]
    save_panel(rows, args.out)
    print(f"The picture is {args.out}.")


if __name__ == "__main__":
    launch.run(main)
