"""Are the filters pilgram's, bit for bit? All 26 of CSSgram and the six of CSS beside its own.

Each is compared, at every pixel, on photos of mixed sizes (or on pieces of drawn scenes); on all
2^24 colours, each at one place; on every level of every channel at every place of a picture; and
on pictures of 1x1, 1xN, Nx1 and other odd sizes. CSS filters are given several amounts.

    python benchmarks/filters.py --data FOLDER [FOLDER ...]
    python benchmarks/filters.py --picture filters.jpg
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pilgram
import pilgram.css
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tqdm import tqdm

from opmask.datasets import SyntheticScenes, read_image
from opmask.files import check_outputs, replacing
from opmask.markdown import markdown_row, markdown_table
from opmask.perturb import CSS_FILTERS, FILTERS, OTHER_FILTERS, apply_filter

AMOUNTS: dict[str, tuple[float | None, ...]] = {
    **dict.fromkeys((*FILTERS, *OTHER_FILTERS), (None,)),
    **dict.fromkeys(CSS_FILTERS, (None, 0.0, 0.37, 0.7, 1.3, 2.5)),
    "hue_rotate": (None, -400.0, -10.0, 90.5, 137.0, 180.0),  # degrees
}
SIZES = ((1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (1, 500), (500, 1), (3, 3), (31, 31), (40, 27))
HEADINGS = (
    "filter", "photos", "colours", "levels by place", "odd sizes", "maximum difference",
)  # fmt: skip

COLUMNS, CELL, GAP, TITLE = 3, 176, 12, 26  # of the picture; all but the first in pixels
SHOWN = {"brightness": 1.4, "contrast": 0.6, "hue_rotate": 30.0, "saturate": 1.6}  # or all of it
TIMES = 64  # what a difference is multiplied with, so that a single level would show

Pictures = list[np.ndarray]


def photos(folders: list[Path], count: int) -> Pictures:
    """So many photos, evenly spaced in the folders; without folders, pieces of scenes."""
    if folders:
        files = [path for folder in folders for path in sorted(folder.rglob("*"))]
        files = [path for path in files if path.suffix.lower() in (".jpg", ".png")]
        files = [path for path in files if "annotations" not in path.parts]
        places = np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)
        images = [read_image(files[place]) for place in places]
    else:
        scenes = SyntheticScenes(count, size=320)
        cuts = ((160 - 37 * i % 160, 320 - (60 + 53 * i) % 160) for i in range(count))
        images = [scenes[i].image[:, top:, :width] for i, (top, width) in enumerate(cuts)]
    return [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]


def every_color() -> Pictures:
    """All colours in a random order, as landscapes and portraits."""
    codes = np.random.default_rng(0).permutation(2**24)
    colors = np.stack([codes >> 16, codes >> 8, codes], -1).astype(np.uint8)
    shapes = [(512, 2048, 3), (2048, 512, 3)] * 8
    return [part.reshape(shape) for part, shape in zip(np.split(colors, 16), shapes, strict=True)]


def every_level() -> Pictures:
    """A landscape and a square for each level, which is another one in each channel."""
    levels = (np.arange(256)[:, None] + [0, 85, 170]).astype(np.uint8)
    return [np.tile(level, (120, width, 1)) for width in (170, 120) for level in levels]


def odd_sizes() -> Pictures:
    draw = np.random.default_rng(1).integers
    return [draw(0, 256, (*size, 3), np.uint8) for size in SIZES]


def ours(picture: np.ndarray, name: str, amount: float | None, device: str) -> np.ndarray:
    images = torch.from_numpy(picture).permute(2, 0, 1)[None].to(device)
    return apply_filter(images, name, amount)[0].permute(1, 2, 0).cpu().numpy()


def pilgrams(picture: np.ndarray, name: str, amount: float | None) -> np.ndarray:
    module = pilgram.css if name in CSS_FILTERS else pilgram
    function = getattr(module, "_1977" if name == "1977" else name)
    return np.asarray(function(Image.fromarray(picture), *([] if amount is None else [amount])))


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(a, b) - np.minimum(a, b)


def compare(
    kinds: list[Pictures], names: list[str], device: str
) -> Iterator[tuple[str, list[int]]]:
    """Each filter, with its greatest difference from pilgram's on each kind of pictures."""
    cases = sum(len(AMOUNTS[name]) for name in names) * sum(map(len, kinds))
    with tqdm(total=cases, unit=" pictures") as progress:
        for name in names:
            amounts = AMOUNTS[name]
            progress.set_description(name)
            greatest = [0] * len(kinds)
            for kind, pictures in enumerate(kinds):
                for picture, amount in product(pictures, amounts):
                    mine = ours(picture, name, amount, device)
                    off = difference(mine, pilgrams(picture, name, amount)).max()
                    greatest[kind] = max(greatest[kind], int(off))
                    progress.update()
            yield name, greatest


def draw_picture(photo: np.ndarray, device: str) -> Image.Image:
    """Each filter on one photo: ours, pilgram's and what is between them."""
    small = ImageOps.contain(Image.fromarray(photo), (CELL, CELL))
    step, row = 3 * small.width + 2 * GAP, small.height + TITLE + GAP
    size = (GAP + COLUMNS * (step + GAP), GAP + -(-len(AMOUNTS) // COLUMNS) * row)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for place, name in enumerate(AMOUNTS):
        x, y = GAP + place % COLUMNS * (step + GAP), GAP + place // COLUMNS * row
        case = (np.array(small), name, SHOWN.get(name))
        mine, theirs = ours(*case, device), pilgrams(*case)
        off = np.minimum(difference(mine, theirs).astype(int) * TIMES, 255).astype(np.uint8)
        titles = (name, "pilgram", f"difference x{TIMES}")
        for title, cell in zip(titles, (mine, theirs, off), strict=True):
            pen.text((x, y + TITLE / 2), title, "black", font, "lm")
            sheet.paste(Image.fromarray(cell), (x, y + TITLE))
            x += small.width + GAP // 2
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="else drawn scenes")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--only", nargs="+", choices=AMOUNTS, default=[*AMOUNTS])
    parser.add_argument("--picture", type=Path, help="where to draw each filter on a photo")
    parser.add_argument("--device", default="cpu", help="where our filters run")
    parser.add_argument("--overwrite", action="store_true", help="replace the picture")
    args = parser.parse_args()
    try:
        read = (path for folder in args.data for path in folder.rglob("*"))
        check_outputs({"--picture": args.picture}, inputs=read, overwrite=args.overwrite)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    kinds = [photos(args.data, args.photos), every_color(), every_level(), odd_sizes()]
    if args.picture:
        with replacing(args.picture) as path:
            draw_picture(kinds[0][0], args.device).save(path)
    print(f"{len(kinds[0])} photos of {len({photo.shape for photo in kinds[0]})} sizes")
    print(markdown_table(HEADINGS, rules=["---"] * len(HEADINGS)))
    exact = 0
    for name, greatest in compare(kinds, args.only, args.device):
        exact += not any(greatest)
        tqdm.write(markdown_row([name, *greatest, max(greatest)]))
    print(f"{exact} of {len(args.only)} filters: maximum difference 0")
    sys.exit(exact < len(args.only))


if __name__ == "__main__":
    main()
