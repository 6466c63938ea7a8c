"""Train an operator-mask model, on one page: copy it, and change what you need.

    python examples/train_minimal.py
    python examples/train_minimal.py --data ADEChallengeData2016

photos -> composites -> model -> loss -> optimiser, and at the end a table and a picture. Without
`--data` the photos are synthetic scenes, and it takes a few minutes on a CPU. Recipes, resuming,
several models, processes and evaluation protocols are what `train_hscene.py` adds to this.
"""

from __future__ import annotations

import argparse
import os
from itertools import count
from pathlib import Path

# Threads that wait should sleep: those that spin slow training down where others compute as well.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import matplotlib  # noqa: F401 - for the picture at the end; better missed now than then
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

import opmask
from opmask.backbones import SmallUNet
from opmask.datasets import (
    ADE20K,
    Composites,
    Photos,
    Resized,
    SyntheticScenes,
    labelled,
)
from opmask.metrics import mse, psnr
from opmask.perturb import CompositeBatch, Perturber, collate
from opmask.visualize import PanelRow, save_panel

SIZE = 64  # height and width of the images, in pixels
BATCH = 16
RATE = 1e-3  # the highest learning rate
VALIDATION = 256  # composites
SHOWN = 5  # composites in the picture


def load_photos(data: Path | None, *, training: bool) -> Photos:
    """Photos with label maps: of the folder, in ADE20K's layout, or synthetic ones."""
    if data is None:
        return SyntheticScenes(2048 if training else 256, size=SIZE, seed=int(not training))
    return Resized(labelled(ADE20K(data, "training" if training else "validation")), SIZE)


def load_batches(data: Path | None, count: int, *, training: bool) -> DataLoader:
    """Composites: in each photo, some regions are changed by filters that the seed decides."""
    photos = load_photos(data, training=training)
    composites = Composites(photos, Perturber(), shuffle=training, seed=int(not training))
    # An endless sequence: position p is photo p % len(photos), changed anew in each epoch.
    positions = range(count * BATCH)
    return DataLoader(composites, BATCH, sampler=positions, num_workers=1, collate_fn=collate)


def train_step(model: nn.Module, optimizer: Optimizer, batch: CompositeBatch) -> float:
    """One step: what the masks make of a composite should be the real photo."""
    restored, _ = model(batch.composite)
    # The Charbonnier loss. With a much smaller constant the model would stay at the identity.
    loss = ((restored - batch.real) ** 2 + 0.05**2).sqrt().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def train(model: nn.Module, batches: DataLoader) -> None:
    """As many steps as there are batches."""
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, len(batches))
    model.train()
    for batch in (progress := tqdm(batches, "train")):
        progress.set_postfix(loss=f"{train_step(model, optimizer, batch):.4f}")
        schedule.step()


@torch.no_grad()
def evaluate(model: nn.Module, batches: DataLoader) -> str:
    """A Markdown table: the composites as they are, and what the model makes of them."""
    errors: dict[str, list[Tensor]] = {"composite": [], "om": []}
    ratios: dict[str, list[Tensor]] = {"composite": [], "om": []}
    model.eval()
    for batch in tqdm(batches, "evaluate"):
        images = {"composite": batch.composite, "om": model(batch.composite).image}
        for name, image in images.items():
            errors[name].append(mse(image, batch.real))
            ratios[name].append(psnr(image, batch.real))
    lines = ["| model | MSE | PSNR |", "|---|---:|---:|"]
    for name in errors:
        error, ratio = (float(torch.cat(values[name]).mean()) for values in (errors, ratios))
        lines.append(f"| {name} | {error:.2f} | {ratio:.2f} |")
    return "\n".join(lines)


@torch.no_grad()
def draw(model: opmask.OperatorMaskWrapper, batch: CompositeBatch, path: Path) -> None:
    """Composites, outputs, photos, regions, and how far each mask is from doing nothing."""
    image, masks = model(batch.composite)
    ranges = model.retoucher.ranges
    columns = {"composite": batch.composite, "om": image, "real": batch.real}
    columns["region (not given)"] = batch.region
    rows = [
        PanelRow(
            {title: images[i] for title, images in columns.items()},
            {name: mask[i] - ranges[name].identity for name, mask in masks.items()},
        )
        for i in range(SHOWN)
    ]
    save_panel(rows, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="root of the photos; default: synthetic scenes")
    parser.add_argument("--steps", type=int, default=500, help="default: 500")
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f"--steps must be at least 1, got {args.steps}")
    torch.manual_seed(0)
    model = opmask.OperatorMaskWrapper(SmallUNet())  # or any image-to-image network
    try:
        validation = load_batches(args.data, VALIDATION // BATCH, training=False)
    except (OSError, ValueError) as error:
        parser.error(f"--data: {error}")
    train(model, load_batches(args.data, args.steps, training=True))
    print(evaluate(model, validation))
    runs = (Path("runs", f"minimal-{number}") for number in count(1))
    folder = next(run for run in runs if not run.exists())
    draw(model, next(iter(validation)), folder / "panel.png")
    opmask.save(model, folder / "model.safetensors")
    print(f"The model and a picture, panel.png, are in {folder}.")


if __name__ == "__main__":
    main()
