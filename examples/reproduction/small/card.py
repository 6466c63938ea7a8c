"""What a model for photos can do and cannot: calibrates it, scores it, draws it.

    PYTHONPATH=examples python -m reproduction.small.card RUN --photos RUN/photos --out RUN/card

Writes into `--out`: `small.safetensors`, the model in half precision with its calibration; the
tables, `tables.md`, those by source, `sources.md`, and the scores of all composites, `scores.csv`;
`panel.png`, twenty composites of validation that nobody chose; `worst.png`, those that it made
worst; and `calibration.png`, how far its confidence can be believed. How it treats skin, says
`people.py`; and how much the outcome depends on the working size, `steady.py`.

It takes an hour or two. What is done of it is kept in `--out`, in `parts`, until all is: called
again it goes on, as long as model and flags are the same.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import torch

import opmask
from opmask import OperatorMaskWrapper
from opmask.files import replacing
from opmask.metrics import write_scores
from opmask.visualize import PanelRow, save_panel
from opmask.visualize.figures import new_figure, write_figure
from reproduction.flags import add_every, add_overwrite, check_files
from reproduction.small.calibrate import ImageRegions, find_regions, fit
from reproduction.small.guided import Outcomes, outcomes
from reproduction.small.guided import fit as fit_guided
from reproduction.small.guided import tables as strength_tables
from reproduction.small.kinds import KINDS
from reproduction.small.locating import gates, mask_errors
from reproduction.small.pool import Packed
from reproduction.small.rivals import score_rivals
from reproduction.small.scoring import Row, retouch, scenes, score
from reproduction.small.tables import DARK, given, glance, sources, table, tables

SPLITS = ("validation", "test", "foreign")
LIMIT = 15  # photos of one source, of those that were kept apart as a whole
SHOWN = 20
WRITTEN = (
    *("small.safetensors", "tables.md", "sources.md", "scores.csv"),
    *("calibration.png", "panel.png", "worst.png"),
)
READING = f"""\
At a glance: cells are the share of the composites' MSE that is left, and by how many dB PSNR
rises, with its 95 % interval (bootstrap over photos). First stand the kinds of change; then the
composites of all kinds by their own PSNR, by the share of the photo that was changed, and those
whose region is darker than L* {DARK:.0f} in the photo. On the left is the model, given a region or
told nothing; on the right are Reinhard's colour transfer, the same at a quarter of its strength,
and histogram matching, given the exact region."""

T = TypeVar("T")


def limited(photos: Packed, count: int) -> Packed:
    """At most so many photos of each source, the first by name."""
    seen: dict[str, int] = {}
    kept = []
    for place, name in enumerate(photos.names):
        folder = str(PurePosixPath(name).parent)
        seen[folder] = seen.get(folder, 0) + 1
        if seen[folder] <= count:
            kept.append(place)
    return photos.subset(kept)


def kept(path: Path, make: Callable[[], T]) -> T:
    """What an interrupted run has made already; otherwise it is made and kept."""
    if path.exists():
        return pickle.loads(path.read_bytes())
    made = make()
    with replacing(path) as temporary:
        temporary.write_bytes(pickle.dumps(made))
    return made


def score_all(model: OperatorMaskWrapper, photos: Packed, size: int, kind: str) -> list[Row]:
    """The rows of the model and of its rivals, for a kind of change."""
    # The photos themselves are the same for all kinds.
    rows = score(model, photos, size=size, kind=kind, untouched=kind == "mixed")
    return rows + score_rivals(photos, kind=kind)


def write_csv(path: Path, rows: dict[str, list[Row]]) -> None:
    """All rows; what tables call `by` is the column `model` of such files."""
    lines = [{"split": split, **row._asdict()} for split, some in rows.items() for row in some]
    authors = dict.fromkeys(line["by"] for line in lines)
    scores = {by: [line for line in lines if line["by"] == by] for by in authors}
    write_scores(path, scores, protocol="opmask")


@torch.no_grad()
def panel(
    model: OperatorMaskWrapper, photos: Packed, names: Sequence[str], size: int
) -> list[PanelRow]:
    """Composite, outputs with and without the region, photo, region and gate of some photos."""
    rows = {}
    for scene in scenes(photos, ("exact",)):
        shown = [place for place, name in enumerate(scene.names) if name in names]
        if not shown:
            continue
        made = scene.made.composite, scene.made.real, scene.made.region, scene.prompts["exact"]
        image, real, region, prompt = (part[shown] for part in made)
        pictures = {
            "composite": image,
            "given the region": retouch(model, image, prompt, size, "exact")["exact"],
            "given nothing": retouch(model, image, None, size, "unknown")["auto"],
            "photo": real,
            "region": region,
            "gate, given nothing": model.predict(image, size=size)["gate"],
        }
        for i, place in enumerate(shown):
            row = {title: batch[i] for title, batch in pictures.items()}
            rows[scene.names[place]] = PanelRow(row)
    return [rows[name] for name in names]


def draw_calibration(
    found: Sequence[ImageRegions], calibration: opmask.Calibration, path: Path
) -> None:
    """The share of found regions that was changed, by confidence, and the strengths."""
    regions = [
        (c, share) for image in found for c, share, _ in image.regions[calibration.threshold]
    ]
    confidence, share = np.array(regions).T
    edges = np.quantile(confidence, np.linspace(0, 1, 9))
    bins = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, 7)
    means = [
        (confidence[bins == b].mean(), share[bins == b].mean())
        for b in range(8)
        if (bins == b).any()
    ]
    figure = new_figure(640, 480)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    axes.plot(*zip(*means, strict=True), "o-", label="share of its pixels that were changed")
    axes.plot(
        [0, *calibration.confidence, 1],
        np.interp([0, *calibration.confidence, 1], calibration.confidence, calibration.strength),
        label="strength that is applied",
    )
    axes.set(xlabel="confidence: mean gate over a found region", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    write_figure(figure, path)


def worst(rows: Sequence[Row]) -> list[str]:
    """The photos whose composites lost most, given the region or not."""
    shown = [row for row in rows if (row.by, row.kind) == ("model", "mixed")]
    lost = sorted((row.decibels, row.name) for row in shown if row.prompt in ("exact", "auto"))
    return list(dict.fromkeys(name for _, name in lost))[:6]


def report(
    model: OperatorMaskWrapper,
    rows: dict[str, list[Row]],
    strengths: Outcomes,
    validation: Packed,
    size: int,
) -> str:
    """All tables but those by source, what matters most first."""
    treated = score(model, validation, ("unknown", "exact"), size=size, treated=True)
    guided = strength_tables(strengths).items()
    at_a_glance = (f"### At a glance: {split}\n\n{glance(some)}" for split, some in rows.items())
    return "\n\n".join(
        [
            *(str(model.calibration), READING, *at_a_glance, tables(rows)),
            *("### validation, compressed", table("given", treated, given)),
            *(f"### Strengths, on validation: {hint}\n\n{table}" for hint, table in guided),
            *("### Where, on validation", gates(model, validation, size)),
            *("### Masks, on validation", mask_errors(model, validation, size)),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder of a run of train_small.py")
    parser.add_argument("--photos", type=Path, required=True, help="the photos, made small")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--size", type=int, default=256, help="at which masks are predicted")
    add_every(parser)
    add_overwrite(parser)
    args = parser.parse_args()
    trained = args.run / "model.safetensors"
    outputs = {name: args.out / name for name in WRITTEN}
    check_files(outputs, [trained], overwrite=args.overwrite)
    photos = {split: Packed(args.photos / split) for split in SPLITS}
    photos["foreign"] = limited(photos["foreign"], LIMIT)
    photos = {split: p.subset(range(0, len(p), args.every)) for split, p in photos.items()}
    validation = photos["validation"]
    state = sha256(trained.read_bytes() + repr((args.size, args.every)).encode())
    parts = args.out / "parts" / state.hexdigest()[:16]
    parts.mkdir(parents=True, exist_ok=True)
    model = opmask.load(trained)
    found = kept(parts / "found", partial(find_regions, model, validation, size=args.size))
    strengths = kept(parts / "strengths", partial(outcomes, model, validation, size=args.size))
    model.calibration = replace(fit(found), **fit_guided(strengths))
    opmask.save(model, parts / "small.safetensors", half=True)
    model = opmask.load(parts / "small.safetensors")  # what is scored is what is shipped
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for split, kind in product(SPLITS, ("mixed", *KINDS)):
        score_kind = partial(score_all, model, photos[split], args.size, kind)
        rows[split] += kept(parts / f"{split} {kind}", score_kind)
    texts = {
        "tables.md": report(model, rows, strengths, validation, args.size),
        "sources.md": sources([row for some in rows.values() for row in some]),
    }
    write_csv(args.out / "scores.csv", rows)
    for name, text in texts.items():
        with replacing(args.out / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    draw_calibration(found, model.calibration, args.out / "calibration.png")
    count = min(SHOWN, len(validation))
    drawn = np.random.default_rng(0).choice(len(validation), count, replace=False)
    for name, chosen in (
        ("panel", [validation.names[place] for place in drawn]),
        ("worst", worst(rows["validation"])),
    ):
        save_panel(panel(model, validation, chosen, args.size), args.out / f"{name}.png")
    (parts / "small.safetensors").replace(args.out / "small.safetensors")
    shutil.rmtree(args.out / "parts")
    print(texts["tables.md"])


if __name__ == "__main__":
    launch.run(main)
