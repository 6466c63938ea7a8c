"""What a model for photos can do and cannot: calibrates it, scores it, draws it.

    PYTHONPATH=examples python -m reproduction.small.card RUN --photos RUN/photos --out RUN/card

Writes into `--out`: `small.safetensors`, the model in half precision with its calibration; the
tables, `tables.md`; `panel.png`, twenty composites of validation that nobody chose; `worst.png`,
those that it made worst; and `calibration.png`, how far its confidence can be believed.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import opmask
from opmask import OperatorMaskWrapper, lab_retoucher
from opmask.files import replacing
from opmask.fitting import fit_masks
from opmask.metrics.masks import mask_error
from opmask.visualize import PanelRow, new_figure, save_panel, write_figure
from reproduction.flags import add_overwrite, check_files
from reproduction.small.calibrate import ImageRegions, find_regions, fit
from reproduction.small.pool import Packed
from reproduction.small.scoring import Row, retouch, scenes, score
from reproduction.small.tables import table, tables

SPLITS = ("validation", "test", "foreign")
LIMIT = 15  # photos of one source, of those that were kept apart as a whole
SHOWN = 20
WRITTEN = ("small.safetensors", "tables.md", "calibration.png", "panel.png", "worst.png")


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


@torch.no_grad()
def localisation(model: OperatorMaskWrapper, photos: Packed, size: int) -> str:
    """How well the gate says where, and how near masks are to those that undo the change."""
    gates, truths, overlaps = [], [], []
    errors: dict[str, dict[str, list[Tensor]]] = {}
    for scene in scenes(photos, ("exact",)):
        image, region = scene.made.composite, scene.made.region
        fitted = fit_masks(lab_retoucher(), image, scene.made.real, scene.regions)
        for given, prompt in (("unknown", None), ("exact", scene.prompts["exact"])):
            masks = model.predict(image, prompt, size=size)
            gate = masks["gate"]
            if prompt is None:
                gates.append(F.avg_pool2d(gate, 8).flatten())
                truths.append(F.avg_pool2d(region, 8).flatten() > 0.5)
                hit, some = (
                    ((gate > 0.5) & (region > 0)).sum((1, 2, 3)),
                    (gate > 0.5) | (region > 0),
                )
                overlaps.append(hit / some.sum((1, 2, 3)))
            acting = effective(model, image, masks)
            identity = lab_retoucher().identity(image)
            for name, error in mask_error(acting, fitted, identity, region).items():
                kept = errors.setdefault(given, {}).setdefault(name, [])
                kept.append(torch.stack([error.error, error.identity]))
    found_at = auc(torch.cat(gates), torch.cat(truths))
    overlap = torch.cat(overlaps).mean()
    lines = [f"Gate, blind: AUC {found_at:.3f} over blocks of 8 pixels, IoU {overlap:.3f} at 0.5."]
    for given, found in errors.items():
        means = {name: torch.cat(v, 1).nanmean(1) for name, v in found.items()}
        listed = ", ".join(f"{n} {m[0]:.3f} ({m[0] / m[1]:.0%})" for n, m in means.items())
        lines.append(f"Mask error, {given} (share of the identity's): {listed}")
    return "\n\n".join(lines)


def effective(
    model: OperatorMaskWrapper, image: Tensor, masks: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The masks as they act, behind their gate."""
    identity = model.retoucher.identity(image)
    return {
        name: identity[name].lerp(mask, masks["gate"])
        for name, mask in masks.items()
        if name != "gate"
    }


def auc(scores: Tensor, truth: Tensor) -> float:
    """The chance that a changed place is scored above another."""
    order = scores.argsort().argsort().double()
    inside = int(truth.sum())
    total = order[truth].sum() - inside * (inside - 1) / 2
    return float(total / (inside * (len(truth) - inside)))


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
    axes.step(
        [0, *calibration.confidence, 1],
        np.interp([0, *calibration.confidence, 1], calibration.confidence, calibration.strength),
        where="mid",
        label="strength that is applied",
    )
    axes.set(xlabel="confidence: mean gate over a found region", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    write_figure(figure, path)


def worst(rows: Sequence[Row]) -> list[str]:
    """The photos whose composites lost most, given the region or not."""
    lost = sorted((row.decibels, row.name) for row in rows if row.prompt in ("exact", "auto"))
    return list(dict.fromkeys(name for _, name in lost))[:6]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder of a run of train_small.py")
    parser.add_argument("--photos", type=Path, required=True, help="the photos, made small")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--size", type=int, default=256, help="at which masks are predicted")
    add_overwrite(parser)
    args = parser.parse_args()
    trained = args.run / "model.safetensors"
    outputs = {name: args.out / name for name in WRITTEN}
    check_files(outputs, [trained], overwrite=args.overwrite)
    photos = {split: limited(Packed(args.photos / split), LIMIT) for split in SPLITS[2:]}
    photos = {split: Packed(args.photos / split) for split in SPLITS[:2]} | photos
    model = opmask.load(trained)
    found = find_regions(model, photos["validation"], size=args.size)
    model.calibration = fit(found)
    opmask.save(model, args.out / "small.safetensors", half=True)
    model = opmask.load(args.out / "small.safetensors")  # what is scored is what is shipped
    rows = {split: score(model, some, size=args.size) for split, some in photos.items()}
    treated = score(
        model, photos["validation"], ("unknown", "exact"), size=args.size, treated=True
    )
    compressed = f"### validation, compressed\n\n{table('given', treated, lambda row: row.prompt)}"
    where = localisation(model, photos["validation"], args.size)
    with replacing(args.out / "tables.md") as temporary:
        parts = model.calibration, tables(rows), compressed, where
        temporary.write_text("\n\n".join(map(str, parts)) + "\n")
    draw_calibration(found, model.calibration, args.out / "calibration.png")
    validation = photos["validation"]
    drawn = np.random.default_rng(0).choice(len(validation), SHOWN, replace=False)
    for name, chosen in (
        ("panel", [validation.names[place] for place in drawn]),
        ("worst", worst(rows["validation"])),
    ):
        save_panel(panel(model, validation, chosen, args.size), args.out / f"{name}.png")
    print((args.out / "tables.md").read_text())


if __name__ == "__main__":
    launch.run(main)
