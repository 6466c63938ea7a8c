"""Blind baselines in one table: the same network, data and steps, other ways to change colours.

The network is told no region. What it predicts at each pixel is an addend of RGB (with or without
a map of where), an affine map of colours as PCT-Net's, filters as DCCF's, the weights of learned
3-D tables (for the whole picture, or at each pixel), or the paper's six operator masks. Each is a
retoucher over one small U-Net; S2AD without its mask, whose attention is its point, is a network
of its own. All train from one seed on one sequence of composites, and are scored on photos that no
model has seen.

    python examples/blind_baselines.py --smoke
    python examples/blind_baselines.py --data ADEChallengeData2016 --steps 2000
    python examples/blind_baselines.py --iharmony4 IHD --models pct dccf om

Without `--data` the photos are synthetic scenes; `--iharmony4` takes a folder as published or as
made by `opmask make-iharmony4`. `--smoke` takes about a minute on two CPU cores, and shows only
that everything runs.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from reproduction.blind import BLIND, network
from reproduction.data import VALIDATION_SEED, make_composites
from reproduction.flags import add_overwrite, at_least, available_device, check_files, existing
from reproduction.iharmony4 import read_iharmony4, score_iharmony4
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import opmask
from opmask.datasets import Composites, Resized
from opmask.datasets.making import photos_by_split
from opmask.files import replacing
from opmask.losses import charbonnier
from opmask.markdown import markdown_table
from opmask.metrics import average, evaluate
from opmask.perturb import CompositeBatch, Perturber, collate

RATE = 2e-3  # the highest learning rate
SCENES, SMOKE_SCENES = 2048, 256  # of which one in eight is to score on
SMOKE = {"steps": 40, "size": 32, "batch": 8, "width": 16}
SHOWN = {"mse": ("MSE", 2), "psnr": ("PSNR", 2), "fmse": ("fMSE", 2), "iou": ("IoU", 3)}


@dataclass(frozen=True)
class Task:
    """What all models have in common: the batches to train on, and how they are scored."""

    batches: Callable[[], Iterator[CompositeBatch]]
    score: Callable[[nn.Module | None], list[dict[str, float]]]


def of_photos(args: argparse.Namespace) -> Task:
    """Composites of photos: several regions of each are changed, the test photos' always alike."""
    scenes = f"scenes:{SMOKE_SCENES if args.smoke else SCENES}"
    photos = photos_by_split(args.data or scenes, test_share=1 / 8, seed=args.seed, size=args.size)
    train = make_composites(photos["train"], "default", size=args.size, crop=False, seed=args.seed)
    test = Composites(Resized(photos["test"], args.size), Perturber(), seed=VALIDATION_SEED)

    def batches() -> Iterator[CompositeBatch]:
        positions = range(args.steps * args.batch)
        loader = DataLoader(train, args.batch, sampler=positions, collate_fn=collate)
        return (batch.to(args.device) for batch in loader)

    def score(model: nn.Module | None) -> list[dict[str, float]]:
        loader = DataLoader(test, 16, sampler=range(len(test)), collate_fn=collate)
        return evaluate(model, (batch.to(args.device) for batch in loader))

    return Task(batches, score)


def of_iharmony4(args: argparse.Namespace) -> Task:
    """A set in iHarmony4's format, whose masks the models are not given."""
    how = {"size": args.size, "device": args.device}
    steps = range(args.steps)
    return Task(
        lambda: read_iharmony4(
            args.iharmony4, batch=args.batch, steps=steps, seed=args.seed, **how
        ),
        lambda model: score_iharmony4(model, args.iharmony4, **how),
    )


def build(name: str, args: argparse.Namespace) -> opmask.OperatorMaskWrapper:
    """A model, whose network begins as that of every other, but for S2AD's."""
    torch.manual_seed(args.seed)
    model = opmask.OperatorMaskWrapper(network(name, args.width), BLIND[name]())
    return model.to(args.device)


def train(model: nn.Module, batches: Iterator[CompositeBatch], steps: int, title: str) -> float:
    """As many steps as there are; how many seconds they took, but for the reading of data."""
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    model.train()
    seconds = 0.0
    for batch in (progress := tqdm(batches, title, steps)):
        start = time.perf_counter()
        loss = charbonnier(model(batch.composite).image, batch.real)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.4f}")  # which waits for a GPU, too
        seconds += time.perf_counter() - start
    model.eval()
    return seconds


def row(name: str, scores: list[dict[str, float]], **more: float) -> dict[str, float | str]:
    """A line of the table; fMSE is over the images that have a region."""
    of_regions = average([{"fmse": scored["fmse"]} for scored in scores if "fmse" in scored])
    means = average([{n: scored[n] for n in SHOWN if n != "fmse"} for scored in scores])
    return {"model": name, **more, **means, **of_regions}


def table(rows: list[dict[str, float | str]]) -> str:
    headings = ["model", "parameters", *(title for title, _ in SHOWN.values()), "seconds"]
    lines = [
        [
            line["model"],
            f"{line['parameters']:,}",
            *(f"{line[name]:.{decimals}f}" for name, (_, decimals) in SHOWN.items()),
            f"{line['seconds']:.1f}",
        ]
        for line in rows
    ]
    return markdown_table(headings, lines)


def describe(args: argparse.Namespace) -> str:
    """What the table was measured on, in a sentence."""
    where = args.iharmony4 or args.data
    return (
        f"{'Synthetic scenes' if where is None else where.resolve().name}, {args.size} px: "
        f"{args.steps} steps of {args.batch}, SmallUNet of width {args.width}, seed {args.seed}."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", type=existing, help="photos with label maps; else scenes")
    where.add_argument("--iharmony4", type=existing, help="a folder as iHarmony4's")
    parser.add_argument("--models", nargs="+", choices=BLIND, default=list(BLIND))
    parser.add_argument("--steps", type=at_least(1), help="of each model; default: 1000")
    parser.add_argument("--size", type=at_least(32), help="in pixels; default: 64")
    parser.add_argument("--batch", type=at_least(1), help="default: 16")
    parser.add_argument("--width", type=at_least(8), help="of the network; default: 24")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--smoke", action="store_true", help="a minute, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/blind"), help="a folder")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=available_device, default=default)
    add_overwrite(parser)
    args = parser.parse_args()
    sizes = SMOKE if args.smoke else {"steps": 1000, "size": 64, "batch": 16, "width": 24}
    for name, value in sizes.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.models = list(dict.fromkeys(args.models))
    return args


def main() -> None:
    args = parse()
    results = {"table": args.out / "results.md", "rows": args.out / "results.json"}
    check_files(results, overwrite=args.overwrite)
    task = of_iharmony4(args) if args.iharmony4 else of_photos(args)
    rows = [row("composite", task.score(None), parameters=0, seconds=0.0)]
    for name in args.models:
        model = build(name, args)
        seconds = train(model, task.batches(), args.steps, name)
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        rows.append(row(name, task.score(model), parameters=parameters, seconds=seconds))
    note = f"{describe(args)} Seconds are those of training steps."
    with replacing(results["table"]) as path:
        path.write_text(f"{table(rows)}\n\n{note}\n")
    with replacing(results["rows"]) as path:
        path.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{table(rows)}\n\n{note} The table is {results['table']}.")


if __name__ == "__main__":
    launch.run(main)
