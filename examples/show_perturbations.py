"""Draws every perturbation on one photo, in one picture."""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from reproduction.flags import add_overwrite, check_files
from torch import Tensor

from opmask import perturb
from opmask.datasets import SyntheticScenes, read_image
from opmask.files import replacing

COLUMNS = 7
CELL = 224  # pixels, the width of an image
GAP = 10  # pixels between images
TITLE = 26  # pixels, the line above an image
HEADING = 44  # pixels, the line above a section
ZOOM = 4  # degradations are subtle: a piece is shown this much larger

CSS = {
    "brightness": 1.4,
    "contrast": 0.6,
    "grayscale": 0.7,
    "hue_rotate": 30,
    "saturate": 1.6,
    "sepia": 0.7,
}
LAB = [(0.8, 1, 1), (1.2, 1, 1), (1, 0.8, 1), (1, 1.2, 1), (1, 1, 0.8), (1, 1, 1.2)]
DEGRADATIONS = {
    "Gaussian noise, scale 9": perturb.GaussianNoise(9.0, seed=0),
    "Laplace noise, scale 9": perturb.LaplaceNoise(9.0, seed=0),
    "Poisson noise, rate 9": perturb.PoissonNoise(9.0, seed=0),
    "motion blur, 45 degrees": perturb.MotionBlur(45.0, 0.0),
    "Gaussian blur, sigma 1": perturb.GaussianBlur(),
    "JPEG, quality 95": perturb.JPEG(),
}
LIGHT = {
    "exposure +1": perturb.Light(exposure=1.0),
    "exposure -1": perturb.Light(exposure=-1.0),
    "temperature +0.6": perturb.Light(temperature=0.6),
    "tint -0.4": perturb.Light(tint=-0.4),
    "contrast 0.7, saturation 0.6": perturb.Light(contrast=0.7, saturation=0.6),
    "shadows +0.3, highlights -0.3": perturb.Light(shadows=0.3, highlights=-0.3),
}
TRANSFER = {
    "L* higher by 12": perturb.ColorTransfer(shift=(12.0, 0.0, 0.0)),
    "b* lower by 12": perturb.ColorTransfer(shift=(0.0, 0.0, -12.0)),
    "deviation of L* times 0.7": perturb.ColorTransfer(spread=(0.7, 1.0, 1.0)),
    "of a*, b* times 1.5": perturb.ColorTransfer(spread=(1.0, 1.5, 1.5)),
    "colours turned by 0.1": perturb.ColorTransfer(turn=0.1),
    "L* skewed by 0.4": perturb.ColorTransfer(skew=(0.4, 0.0, 0.0)),
}

Cells = list[tuple[str, Tensor]]


def sections(image: Tensor) -> dict[str, Cells]:
    """What to show, by heading: titled images of equal size, the photo first."""
    small, piece = shrink(image), most_detailed(image)
    names = perturb.FILTERS + perturb.OTHER_FILTERS
    return {
        "Filters (the last three are not among the paper's)": [
            ("photo", small),
            *((name, perturb.Filter(name)(small)) for name in names),
        ],
        "CSS filters, with amounts": [
            ("photo", small),
            *((f"{name} {by:g}", perturb.Filter(name, by)(small)) for name, by in CSS.items()),
        ],
        "LAB scaling, factors of L, a and b": [
            ("photo", small),
            *(("{:g}, {:g}, {:g}".format(*f), perturb.LabScaling(f)(small)) for f in LAB),
        ],
        f"Degradations, enlarged {ZOOM} times": [
            ("photo", piece),
            *((title, degrade(piece)) for title, degrade in DEGRADATIONS.items()),
        ],
        "Another light": [("photo", small), *((title, by(small)) for title, by in LIGHT.items())],
        "Colours as in another photo": [
            ("photo", small),
            *((title, by(small)) for title, by in TRANSFER.items()),
        ],
    }


def shrink(image: Tensor) -> Tensor:
    """The whole image, as wide as a cell."""
    size = (round(CELL * image.shape[1] / image.shape[2]), CELL)
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def most_detailed(image: Tensor) -> Tensor:
    """The piece with the strongest edges, of the image's aspect ratio."""
    height, width = (side // ZOOM for side in shrink(image).shape[1:])
    gray = image.float().mean(0, keepdim=True)
    edges = gray.diff(dim=1)[:, :, :-1].abs() + gray.diff(dim=2)[:, :-1].abs()
    energy = F.avg_pool2d(edges, (height, width), stride=1)[0]
    top, left = divmod(int(energy.argmax()), energy.shape[1])
    return image[:, top : top + height, left : left + width]


def draw_sheet(content: dict[str, Cells]) -> Image.Image:
    """The titled images below their headings."""
    row = next(iter(content.values()))[0][1].shape[1] + TITLE + GAP
    rows = {heading: -(-len(cells) // COLUMNS) for heading, cells in content.items()}
    height = GAP + sum(HEADING + row * count for count in rows.values())
    sheet = Image.new("RGB", (GAP + COLUMNS * (CELL + GAP), height), "white")
    pen, top = ImageDraw.Draw(sheet), GAP
    for heading, cells in content.items():
        pen.text((GAP, top + HEADING / 2), heading, "black", ImageFont.load_default(22), "lm")
        top += HEADING
        for place, (title, image) in enumerate(cells):
            y, x = top + place // COLUMNS * row, GAP + place % COLUMNS * (CELL + GAP)
            pen.text((x, y + TITLE / 2), title, "black", ImageFont.load_default(15), "lm")
            picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
            picture = picture.resize((CELL, row - TITLE - GAP), Image.Resampling.NEAREST)
            sheet.paste(picture, (x, y + TITLE))
        top += row * rows[heading]
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path, nargs="?", help="default: a drawn scene")
    parser.add_argument("--out", type=Path, default=Path("perturbations.png"))
    add_overwrite(parser)
    args = parser.parse_args(arguments)
    check_files({"--out": args.out}, [args.photo], overwrite=args.overwrite)
    image = read_image(args.photo) if args.photo else SyntheticScenes(1, size=448)[0].image
    with replacing(args.out) as path:
        draw_sheet(sections(image)).save(path)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    launch.run(main)
