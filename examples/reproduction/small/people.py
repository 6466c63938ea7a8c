r"""Whether models turn people grey: what becomes of the colour of skin.

    PYTHONPATH=examples python -m reproduction.small.people MODEL... --data ROOT \
        --photos RUN/photos/validation

Of each photo of a person, skin is changed, or another region, by each kind of change; and nothing
at all. What `opmask.harmonize` makes of it, at its defaults, is compared with the photo where its
label map says skin: hue is that of the mean colour, chroma the mean over the pixels, both in
CIELAB; the hue of a skin that went nearly grey means little. There is a table for each model,
first for the bundled one.

packed photos + label maps with names -> fixed composites -> `opmask.harmonize` -> :class:`Skin`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import opmask
from opmask import LAB, OperatorMaskWrapper
from opmask.datasets import read_label_map
from opmask.markdown import markdown_table
from opmask.perturb.resize import resize_nearest
from reproduction.flags import add_every, existing
from reproduction.small.kinds import KINDS
from reproduction.small.pool import SPLITS, Packed, listed
from reproduction.small.scoring import AUTO, BATCH, scenes, with_the_box
from reproduction.small.tables import mean

FOLDER = "people"  # of the photos and of the names of their labels; those of `val` are private
HINTS = ("exact", "boxes", "scribbles", "unknown")
GREYED = 0.75  # a skin is greyed whose chroma fell below this share of the photo's


class Colour(NamedTuple):
    """The hue of skin, in degrees, and its chroma, in CIELAB."""

    hue: float
    chroma: float


class Skin(NamedTuple):
    """The skin in one image, with one hint.

    Attributes:
        name: The photo's file.
        changed: What was changed: `skin`, `another region` or `nothing`.
        kind: How, see `kinds.draw_kind`.
        given: What the model was given; `auto` is nothing.
        real: The colour of the skin in the photo.
        before: That in the composite.
        after: That in the output.
    """

    name: str
    changed: str
    kind: str
    given: str
    real: Colour
    before: Colour
    after: Colour

    @property
    def greyed(self) -> bool:
        """Whether the model took the colour of the skin, and not the change."""
        least = GREYED * self.real.chroma
        return self.after.chroma < least <= self.before.chroma


def read_people(root: Path, photos: Packed) -> Packed:
    """Those of packed photos that show people, with the labels of their data set."""
    files = {file.image: file.labels for split in SPLITS for file in listed(split)}
    places = [p for p, name in enumerate(photos.names) if name.startswith(f"{FOLDER}/val_")]
    if not places:
        raise ValueError(
            f"'--photos' must hold photos of {FOLDER}/val_images, got {photos.folder} without "
            "any. Take those of validation or test."
        )
    people = photos.subset(places)
    label_maps = (read_label_map(root / files[name]) for name in people.names)
    side = photos.labels.shape[-1]
    people.labels = torch.stack([resize_nearest(m, side).byte() for m in label_maps])
    return people


def label_of(root: Path, name: str) -> int:
    """The number of a label of the photos of people."""
    lines = (root / FOLDER / "labels.txt").read_text(encoding="utf-8").splitlines()
    return next(int(number) for number, label in map(str.split, lines) if label == name)


def relabelled(people: Packed, keep: Tensor) -> Packed:
    """The photos with only some pixels labelled, so that no other ones are changed."""
    some = people.subset(range(len(people)))
    some.labels = people.labels * keep
    return some


def colours(images: Tensor, skin: Tensor) -> list[Colour]:
    """Those of the skin (B, H, W), `bool`, in images (B, 3, H, W)."""
    count = skin.sum((1, 2))
    _, a, b = (128 * LAB.from_rgb(images.clamp(0, 1))).unbind(1)
    chroma, mean_a, mean_b = ((x * skin).sum((1, 2)) / count for x in (a.hypot(b), a, b))
    hue = torch.rad2deg(torch.atan2(mean_b, mean_a))
    return [Colour(*pair) for pair in zip(hue.tolist(), chroma.tolist(), strict=True)]


def turn(colour: Colour, other: Colour) -> float:
    """The angle between two hues, in degrees, at most 180."""
    return abs((colour.hue - other.hue + 180) % 360 - 180)


@torch.no_grad()
def skins(model: OperatorMaskWrapper, people: Packed, label: int) -> list[Skin]:
    """The rows of all photos that show skin, which has that label."""
    seen = people.labels == label
    people = people.subset(seen.flatten(1).any(1).nonzero()[:, 0].tolist())
    seen = people.labels == label
    rows = []
    for place in range(0, len(people), BATCH):  # the photos, which nobody changed
        some = slice(place, place + BATCH)
        real = people.images[some] / 255
        said = people.names[some], "nothing", "untouched", AUTO["unknown"]
        rows += skin_rows(*said, seen[some], real, real, opmask.harmonize(model, real))
    skin_of = dict(zip(people.names, seen, strict=True))
    for changed, where in ("skin", seen), ("another region", ~seen):
        for kind in KINDS:
            for scene in scenes(relabelled(people, where), HINTS, kind):
                made, skin = scene.made, torch.stack([skin_of[name] for name in scene.names])
                for hint, prompt in scene.prompts.items():
                    told = None if hint == "unknown" else prompt
                    output = opmask.harmonize(model, made.composite, region=told)
                    said = scene.names, changed, kind, AUTO.get(hint, hint)
                    rows += skin_rows(*said, skin, made.real, made.composite, output)
    return rows


def skin_rows(
    names: Sequence[str], changed: str, kind: str, given: str, skin: Tensor, *images: Tensor
) -> list[Skin]:
    """The rows of a batch: of photos, composites and outputs."""
    found = zip(*(colours(image, skin) for image in images), strict=True)
    return [Skin(name, changed, kind, given, *row) for name, row in zip(names, found, strict=True)]


def line(title: Sequence[str], rows: Sequence[Skin]) -> list[object]:
    """The cells of a row of the table."""
    names = [row.name for row in rows]
    hue = [(turn(row.before, row.real), turn(row.after, row.real)) for row in rows]
    off = [
        tuple(abs(colour.chroma - row.real.chroma) for colour in (row.before, row.after))
        for row in rows
    ]
    kept = [row.after.chroma / row.real.chroma for row in rows]
    cells: list[object] = [*title, len(rows)]
    for before, after in (zip(*values, strict=True) for values in (hue, off)):
        cells += [f"{mean(names, before).mean:.1f}", f"{mean(names, after):.1f}"]
    greyed = mean(names, [float(row.greyed) for row in rows])
    return [*cells, f"{mean(names, kept):.2f}", f"{greyed:.0%}"]


def table(rows: Sequence[Skin]) -> str:
    """The rows by what was changed and what was given, and where it was skin also by kind."""
    titles = (
        *("changed", "how", "given", "images", "hue off before, degrees", "after"),
        *("chroma off before", "after", "chroma of the photo's", "greyed"),
    )
    lines = []
    for changed in dict.fromkeys(row.changed for row in rows):
        of_change = [row for row in rows if row.changed == changed]
        kinds = dict.fromkeys(row.kind for row in of_change if changed == "skin")
        for kind in ("all", *kinds):
            of_kind = [row for row in of_change if kind in ("all", row.kind)]
            for given in dict.fromkeys(row.given for row in of_kind):
                chosen = [row for row in of_kind if row.given == given]
                lines.append(line((changed, kind, given), chosen))
    return markdown_table(titles, lines, rules=["---"] * 3 + ["---:"] * 7)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=existing, nargs="*", help="checkpoints")
    parser.add_argument("--data", type=existing, required=True, help="the root of the photographs")
    parser.add_argument("--photos", type=existing, required=True, help="packed photos of a split")
    add_every(parser)
    args = parser.parse_args(arguments)
    try:
        people = read_people(args.data, Packed(args.photos))
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    people = people.subset(range(0, len(people), args.every))
    label = label_of(args.data, "skin")
    for title, model in with_the_box(args.models):
        print(f"### People: {title}\n\n{table(skins(model, people, label))}\n", flush=True)


if __name__ == "__main__":
    launch.run(main)
