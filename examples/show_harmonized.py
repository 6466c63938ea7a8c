r"""Show what trained models make of composites, given the region or not.

    python examples/show_harmonized.py --out photos.png
    python examples/show_harmonized.py real_composites --out real.png
    python examples/show_harmonized.py real_composites --guided --model new.safetensors \
        opmask/models/small.safetensors --size 384 --per-sheet 9 --out real.png

Without a folder these are composites of the free photographs that come with scikit-image, which
no model was trained on. A folder holds `composite_images`, and in `masks` a picture of the same
name for each, white where something was pasted or changed. In the picture, from left to right: the
composite, what is made of it given the exact region, boxes, and nothing, the photo
if there is one, and the region. With `--guided`, for judging composites one by one: the composite,
the outline of the region, and what each model makes of it given the region, at the defaults of
`opmask.harmonize`. `real.png` then becomes `real-1.png`, `real-2.png` and so on.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import skimage.data
import torch
import torch.nn.functional as F
from reproduction.flags import add_overwrite, at_least, check_files, files_of
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
from opmask.inference.panel import OUTLINE
from opmask.perturb import Perturber, sample_seed
from opmask.visualize import PanelRow, save_panel
from opmask.wrapper.model import fit_longer_side

SIZE = 256
SAMPLES = ("astronaut", "chelsea", "coffee", "rocket")
SEED = 0
LINE = 5  # pixels, twice the width of the outline of a region, and one
GIVEN = {"given the region": "exact", "given a box": "boxes"}


class Example(NamedTuple):
    """A composite (3, H, W), the changed region of each pixel (H, W), and the photo, if known."""

    composite: Tensor
    regions: Tensor
    photo: dict[str, Tensor]


def samples(side: int) -> Iterator[Example]:
    """A composite of each sample photograph, with the regions that are found in it."""
    perturber = Perturber()
    for place, name in enumerate(SAMPLES):
        pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)
        image = resize_photo(Photo(pixels, torch.zeros(pixels.shape[1:]).long(), name), side).image
        label_map = segment(image)[None]
        made = perturber(image[None], label_map, [sample_seed(SEED, 0, place)])
        regions = made.applied[0].region_map(label_map[0])
        yield Example(made.composite[0], regions, {"photo": made.real[0]})


def composites_in(folder: Path, longer: int) -> Iterator[Example]:
    """The composites of a folder, by name, made small; all of the mask is one region."""
    for path in picture_files(folder / "composite_images"):
        image = read_image(path)
        mask = read_region(folder / "masks" / f"{path.stem}.png")[0]
        size = fit_longer_side((image.shape[1], image.shape[2]), longer)
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
    longer = max(example.composite.shape)
    return PanelRow({title: on_square(image, longer) for title, image in shown.items()})


def guided_row(models: Mapping[str, opmask.OperatorMaskWrapper], example: Example) -> PanelRow:
    """A composite, where it was changed, and what each model makes of it when told so."""
    changed = (example.regions > 0)[None]
    shown = {"composite": example.composite, "region": outlined(example.composite, changed)}
    for title, model in models.items():
        shown[title] = opmask.harmonize(model, example.composite, region=changed)
    return PanelRow({**shown, **example.photo})


def outlined(image: Tensor, region: Tensor) -> Tensor:
    """An image (3, H, W) with a line around a region (1, H, W), `bool`."""
    line = F.max_pool2d(region.float(), LINE, stride=1, padding=LINE // 2).bool() & ~region
    return with_lines(image, line)


def with_lines(image: Tensor, line: Tensor) -> Tensor:
    """An image (3, H, W) with lines (1, H, W), `bool`, in the colour of outlines."""
    return torch.where(line, torch.tensor(OUTLINE)[:, None, None] / 255, image)


def on_square(image: Tensor, side: int) -> Tensor:
    height, width = image.shape[1:]
    return F.pad(image, (0, side - width, 0, side - height), value=1.0)


def sheets(out: Path, rows: int, count: int | None) -> dict[Path, slice]:
    """Which rows each picture holds, at most so many; one holds all if there is no number."""
    if count is None:
        return {out: slice(rows)}
    starts = range(0, rows, count)
    return {
        out.with_stem(f"{out.stem}-{number}"): slice(start, start + count)
        for number, start in enumerate(starts, 1)
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="composites; else sample photos")
    parser.add_argument(
        "--model",
        type=Path,
        nargs="+",
        help="checkpoints, several with --guided; else the bundled",
    )
    parser.add_argument("--guided", action="store_true", help="told the region only, outlined")
    parser.add_argument("--count", type=at_least(1), help="how many, else all")
    parser.add_argument("--size", type=at_least(16), default=SIZE, help="of composites, in pixels")
    parser.add_argument("--per-sheet", type=at_least(1), help="rows of a picture, else all")
    parser.add_argument("--out", type=Path, default=Path("harmonized.png"), help="the picture")
    add_overwrite(parser)
    args = parser.parse_args(arguments)
    paths = args.model or [None]
    if len(paths) > 1 and not args.guided:
        parser.error("--model takes one checkpoint unless --guided is given.")
    made = samples(args.size) if args.folder is None else composites_in(args.folder, args.size)
    examples = list(islice(made, args.count))
    if not examples:
        raise SystemExit(f"{args.folder} must hold composites in composite_images, got none.")
    pictures = sheets(args.out, len(examples), args.per_sheet)
    folder = args.folder or Path("none")
    read = files_of(*paths, folder / "composite_images", folder / "masks")
    outputs = {f"--out ({path.name})": path for path in pictures}
    check_files(outputs, read, overwrite=args.overwrite)
    models = {str(path or "bundled"): opmask.load(path) for path in paths}
    rows = [
        guided_row(models, example) if args.guided else panel_row(*models.values(), example)
        for example in tqdm(examples, "harmonize", disable=None)
    ]
    for path, some in pictures.items():
        save_panel(rows[some], path, cell=args.size)
        print(f"The picture is {path}.")


if __name__ == "__main__":
    launch.run(main)
