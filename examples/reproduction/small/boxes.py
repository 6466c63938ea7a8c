r"""Which way finds what was changed in a box: the model's gate, GrabCut, or segments?

    PYTHONPATH=examples python -m reproduction.small.boxes MODEL --photos PHOTOS/validation \\
        --data ROOT

Fixed composites of packed photos, told boxes around what was changed; with `--data` also those
that people made, told a box with some room around what was pasted. Each way makes of a box a
region; where it finds nothing the box stays. One table holds their overlap with what was changed
(IoU), and that of the boxes themselves, with 95 % intervals. Two others tell what comes of the
ways that `opmask.harmonize` has, its `refine`, for boxes and for scribbles: the share of the
composites' MSE that is left, and by how many dB PSNR rises.

References:
    Efficient Graph-Based Image Segmentation (Felzenszwalb and Huttenlocher, 2004)
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import opmask
from opmask import OperatorMaskWrapper
from opmask.color import to_levels
from opmask.inference.grabcut import cut_labels
from opmask.markdown import markdown_table
from opmask.wrapper.model import fit_longer_side, resize
from reproduction.flags import add_every, existing
from reproduction.small.guided import ROUGH
from reproduction.small.kinds import KINDS
from reproduction.small.locating import iou
from reproduction.small.pool import Packed
from reproduction.small.scoring import Gain, Row, gain, retouch, rows_of, scenes
from reproduction.small.steady import FOLDERS, read_pasted
from reproduction.small.tables import mean

ROOM = 0.06  # of the longer side, around what was pasted

Way = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""From an 8-bit picture (H, W, 3), its box (H, W) and the gate (H, W) to what was changed."""


def cut(image: np.ndarray, inside: np.ndarray, box: np.ndarray) -> np.ndarray:
    """GrabCut within a box, which begins with what is probably inside."""
    import cv2

    labels = np.where(inside, cv2.GC_PR_FGD, np.where(box, cv2.GC_PR_BGD, cv2.GC_BGD))
    found = None if box.all() else cut_labels(image, labels.astype(np.uint8))
    return inside if found is None else found


def segments(image: np.ndarray, box: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """The segments of even colour over which the gate is open on average."""
    from skimage.segmentation import felzenszwalb

    labels = felzenszwalb(image, scale=100, sigma=0.8, min_size=50)
    counts = np.bincount(labels.ravel())
    opened = np.bincount(labels.ravel(), (gate * box).ravel()) / counts
    return box & (opened > 0.5)[labels]


WAYS: dict[str, Way] = {
    "the box itself": lambda image, box, gate: box,
    "the gate": lambda image, box, gate: box & (gate > 0.5),
    "GrabCut": lambda image, box, gate: cut(image, box, box),
    "GrabCut, from the gate": lambda image, box, gate: cut(image, box & (gate > 0.5), box),
    "GrabCut, from its wider half": lambda image, box, gate: cut(
        image, box & (gate >= np.median(gate[box])), box
    ),
    "segments, by the gate": segments,
}


REFINE: dict[str, bool | str] = {
    "not at all": "never",
    "by the gate (True)": True,
    "with GrabCut (grabcut)": "grabcut",
}


@torch.no_grad()
def overlaps(
    model: OperatorMaskWrapper, photos: Packed, kind: str, size: int
) -> tuple[list[str], dict[str, list[float]]]:
    """The names of the photos, and for each way the overlap in each of them."""
    names: list[str] = []
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for scene in tqdm(scenes(photos, ("boxes",), kind), kind, leave=False, disable=None):
        image, told = scene.made.composite, scene.prompts["boxes"]
        gates = model.predict(image, told, size=size)["gate"]
        names += scene.names
        pictures = to_levels(image).permute(0, 2, 3, 1).contiguous().numpy()
        for place, picture in enumerate(pictures):
            box, gate = (told[place, 0] > 0).numpy(), gates[place, 0].numpy()
            for way, value in each_way(picture, box, gate, scene.made.region[place]):
                found[way].append(value)
    return names, found


def each_way(
    picture: np.ndarray, box: np.ndarray, gate: np.ndarray, region: Tensor
) -> Iterator[tuple[str, float]]:
    """The overlap of each way with a region (1, H, W)."""
    for way, make in WAYS.items():
        made = make(picture, box, gate)
        made = made if made.any() else box
        yield way, iou(torch.from_numpy(made)[None, None], region[None])[0]


@torch.no_grad()
def pasted_overlaps(
    model: OperatorMaskWrapper, folder: Path, size: int
) -> tuple[list[str], dict[str, list[float]]]:
    """As `overlaps`, of composites that people made, with the longer side at `size`."""
    names: list[str] = []
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for pasted in tqdm(list(read_pasted(folder, FOLDERS[folder.name])), "pasted", leave=False):
        small = fit_longer_side((pasted.image.shape[1], pasted.image.shape[2]), size)
        image = resize(pasted.image[None].float() / 255, small).clamp(0, 1)
        region = (resize(pasted.region[None, None].float(), small) > 0.5)[0]
        told = around(region)
        gate = model.predict(image, told[None], size=small)["gate"][0, 0].numpy()
        picture = to_levels(image)[0].permute(1, 2, 0).contiguous().numpy()
        names.append(pasted.name)
        for way, value in each_way(picture, told[0].bool().numpy(), gate, region.float()):
            found[way].append(value)
    return names, found


def around(region: Tensor) -> Tensor:
    """A box around a region (1, H, W), with some room on each side."""
    height, width = region.shape[1:]
    room = round(ROOM * max(height, width))
    rows, columns = (region[0].any(dim).nonzero()[:, 0] for dim in (1, 0))
    box = torch.zeros_like(region, dtype=torch.float32)
    top, left = (max(0, int(where[0]) - room) for where in (rows, columns))
    box[:, top : int(rows[-1]) + 1 + room, left : int(columns[-1]) + 1 + room] = 1
    return box


@torch.no_grad()
def rows_by_refine(
    model: OperatorMaskWrapper, photos: Packed, kind: str, size: int, given: str
) -> dict[str, list[Row]]:
    """What `opmask.harmonize` makes of boxes or strokes that are refined in each way."""
    rows: dict[str, list[Row]] = {name: [] for name in REFINE}
    for scene in tqdm(scenes(photos, (given,), kind), kind, leave=False, disable=None):
        image, told = scene.made.composite, scene.prompts[given]
        for name, refine in REFINE.items():
            output = retouch(model, image, told, size, given, refine)[given]
            rows[name] += rows_of(scene, given, image, output)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=existing, help="a checkpoint with a gate")
    parser.add_argument("--photos", type=Path, required=True, help="photos, made small")
    parser.add_argument("--size", type=int, default=256, help="at which masks are predicted")
    parser.add_argument("--data", type=existing, help="the root of the photographs")
    add_every(parser)
    args = parser.parse_args()
    photos = Packed(args.photos)
    photos = photos.subset(range(0, len(photos), args.every))
    model = opmask.load(args.model)
    columns: list[list[str]] = []
    outcomes: dict[str, list[list[Gain]]] = {given: [] for given in ROUGH}
    for kind in ("mixed", *KINDS):
        for given, gains in outcomes.items():
            by_refine = rows_by_refine(model, photos, kind, args.size, given).values()
            gains.append([gain(rows) for rows in by_refine])
        names, found = overlaps(model, photos, kind, args.size)
        columns.append([f"{mean(names, values):.3f}" for values in found.values()])
    titles = ["IoU", "mixed", *KINDS]
    if args.data:
        names, found = pasted_overlaps(model, args.data / "real_composites", args.size)
        columns.append([f"{mean(names, values):.3f}" for values in found.values()])
        titles.append(f"pasted by people ({len(names)})")
    rows = [[way, *cells] for way, *cells in zip(WAYS, *columns, strict=True)]
    print(markdown_table(titles, rows))
    for given, gains in outcomes.items():
        cells = ([f"{one.share:.3f}, {one.decibels:+.2f}" for one in some] for some in gains)
        rows = [[name, *row] for name, *row in zip(REFINE, *cells, strict=True)]
        print("\n" + markdown_table([f"{given}, refined", "mixed", *KINDS], rows))


if __name__ == "__main__":
    launch.run(main)
