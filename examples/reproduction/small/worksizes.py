"""How well a model does by the size at which it predicts masks.

    PYTHONPATH=examples python -m reproduction.small.pool --data ROOT --out PHOTOS_512 --size 512
    PYTHONPATH=examples python -m reproduction.small.worksizes MODEL --photos PHOTOS_512/validation

Masks are predicted at each size, and applied to composites of the photos' own size. Cells are the
share of the composites' MSE that is left, and by how many dB PSNR rises.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from itertools import product
from pathlib import Path

import opmask
from opmask.markdown import markdown_table
from reproduction.flags import add_every, existing
from reproduction.small.kinds import KINDS
from reproduction.small.pool import Packed
from reproduction.small.scoring import gain, score

SIZES = (128, 192, 256, 384, 512)
HINTS = ("exact", "boxes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=existing, help="a checkpoint that takes a region")
    parser.add_argument("--photos", type=Path, required=True, help="photos, packed large")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="in pixels")
    add_every(parser)
    args = parser.parse_args()
    photos = Packed(args.photos)
    photos = photos.subset(range(0, len(photos), args.every))
    model = opmask.load(args.model)
    kinds = ("mixed", *KINDS)
    table = []
    for size in args.sizes:
        gains = {}
        for kind in kinds:
            rows = score(model, photos, HINTS, size=size, kind=kind, untouched=False)
            for hint in HINTS:
                gains[hint, kind] = gain([row for row in rows if row.prompt == hint])
        cells = (gains[each] for each in product(HINTS, kinds))
        table.append([str(size), *(f"{one.share:.3f}, {one.decibels:+.2f}" for one in cells)])
    titles = [f"{hint}: {kind}" for hint, kind in product(HINTS, kinds)]
    print(f"{len(photos)} photos of {photos.images.shape[-1]} px")
    print(markdown_table(["work size, px", *titles], table))


if __name__ == "__main__":
    launch.run(main)
