"""Draw the figures of the paper from trained models: what they see, predict, and let one edit.

Writes into `--out`: `panels.png`, as the paper's figures 3 to 5: composites, the output of each
model, the real image, the region, and what the masks add to each channel, signed, in units of CIE
LAB (or degrees and percent in HLS). And `sweep-MODEL-MASK.png`, as figure 6: the first result with
one mask lowered and raised, step by step, without the network.

    python examples/figures.py runs/hscene --data ADEChallengeData2016
    python examples/figures.py runs/hscene --triptychs HScene/test/composite --rows 8
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from pathlib import Path

import torch
from evaluate import find_checkpoints
from reproduction.flags import add_overwrite, at_least, available_device, check_files, existing
from reproduction.report import MASKED, images_of
from reproduction.scoring import Target, open_samples
from reproduction.train import inputs_of
from torch import nn

import opmask
from opmask.perturb import CompositeBatch
from opmask.visualize import PanelRow, save_panel

# What one unit of each channel is: in CIE LAB, or in degrees and percent.
UNITS = {
    "lab": (100.0, 128.0, 128.0),
    "lab_centered": (50.0, 127.5, 127.5),
    "lab_unit": (100.0, 255.0, 255.0),
    "lab_unit_clamped": (100.0, 255.0, 255.0),
    "hls": (360.0, 100.0, 100.0),
    "hls_clamped": (360.0, 100.0, 100.0),
}
NAMES = {"lab": ("L*", "a*", "b*"), "hls": ("hue (degrees)", "lightness (%)", "saturation (%)")}
# By how much a sweep raises and lowers each channel, in those units: up to here, in STEPS steps.
REACH = {"lab": (30.0, 40.0, 40.0), "hls": (90.0, 30.0, 60.0)}
STEPS = 3


def added(model: nn.Module) -> dict[str, tuple[str, float, float]]:
    """For each mask of an addition its name in figures, its unit, and the reach of its sweep."""
    found = {}
    if not isinstance(model, opmask.OperatorMaskWrapper):
        return found
    for stage in model.retoucher.stages:
        for operator in stage.operators:
            if isinstance(operator, opmask.Add) and operator.space.name in UNITS:
                space, kind = operator.space, operator.space.name[:3]
                for mask in operator.ranges:
                    i = [mask.endswith(f"{c}_add") for c in space.channels].index(True)
                    found[mask] = NAMES[kind][i], UNITS[space.name][i], REACH[kind][i]
    return found


@torch.no_grad()
def most_changed(target: Target, count: int) -> CompositeBatch:
    """The samples that were changed most, of those there are."""
    batches = list(open_samples(target, None).loader)
    planes = zip(*(batch[:3] for batch in batches), strict=True)
    composite, real, region = (torch.cat(part) for part in planes)
    change = (composite - real).square().mean((1, 2, 3))
    few = change.topk(min(count, len(change))).indices
    applied = [record for batch in batches for record in batch.applied]
    chosen = tuple(applied[i] for i in few.tolist())
    return CompositeBatch(composite[few], real[few], region[few], chosen)


@torch.no_grad()
def panels(models: dict[str, nn.Module], batch: CompositeBatch) -> list[PanelRow]:
    """A row for each sample; the masks are those of the first model in MASKED."""
    results = {name: model(*inputs_of(model, batch)) for name, model in models.items()}
    masked = [name for name in (*MASKED, *models) if name in models and added(models[name])]
    shown = masked[0] if masked else ""
    masks = added(models[shown]) if shown else {}
    return [
        PanelRow(
            images_of(batch, results, i),
            {
                f"{shown}: added to {title}": results[shown].masks[mask][i] * unit
                for mask, (title, unit, _) in masks.items()
            },
        )
        for i in range(len(batch.real))
    ]


@torch.no_grad()
def sweeps(model: opmask.OperatorMaskWrapper, batch: CompositeBatch) -> dict[str, PanelRow]:
    """For each addition the first result, and what becomes of it as the mask is edited."""
    first, rows = CompositeBatch(*(part[:1] for part in batch)), {}
    _, masks = model(*inputs_of(model, first))
    for mask, (title, unit, reach) in added(model).items():
        images = {"composite": first.composite[0]}
        for step in range(-STEPS, STEPS + 1):
            offset = step / STEPS * reach
            edited = model.retoucher.edit(masks, mask, offset=offset / unit)
            image = model.retoucher(first.composite, edited)[0]
            images[f"{title} {offset:+.0f}" if step else "output"] = image
        rows[mask] = PanelRow(images)
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=existing, help="a run folder, or a checkpoint")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", type=existing, help="root as ADE20K's or LIP's; else synthetic")
    where.add_argument("--triptychs", type=existing, help="folder of real | composite | region")
    parser.add_argument("--size", type=at_least(32), help="pixels; else 64, or 256 for pictures")
    parser.add_argument("--rows", type=at_least(1), default=6, help="samples in the panels")
    parser.add_argument("--workers", type=at_least(0), default=1, help="data loading processes")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=available_device, default=default)
    parser.add_argument("--out", type=Path, help="a folder; else `figures` in the run folder")
    add_overwrite(parser)
    args = parser.parse_args()
    args.size = args.size or (256 if args.triptychs else 64)
    folder = args.path if args.path.is_dir() else args.path.parent
    args.out = args.out or folder / "figures"
    return args


def main() -> None:
    args = parse()
    files = find_checkpoints(args.path)
    models = {name: opmask.load(file).to(args.device) for name, file in files.items()}
    panel = args.out / "panels.png"
    swept = {
        (name, mask): args.out / f"sweep-{name}-{mask}.png"
        for name, model in models.items()
        for mask in added(model)
    }
    outputs = {path.name: path for path in (panel, *swept.values())}
    check_files(outputs, files.values(), overwrite=args.overwrite)
    target = Target(args.size, data=args.data, triptychs=args.triptychs, workers=args.workers)
    batch = most_changed(target, args.rows).to(args.device)
    save_panel(panels(models, batch), panel)
    for name, model in models.items():
        if added(model):
            for mask, row in sweeps(model, batch).items():
                save_panel([row], swept[name, mask])
    print(f"The figures are in {args.out}.")


if __name__ == "__main__":
    launch.run(main)
