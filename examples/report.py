"""Scores models on held-out composites, and draws what they do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import torch
from run_folder import read_log
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from opmask.datasets import ADE20K, Composites, Sample, Source, SyntheticScenes, labelled
from opmask.files import replacing
from opmask.metrics import average, evaluate, to_markdown
from opmask.perturb import Perturber
from opmask.visualize import PanelRow, save_curves, save_panel

Batch = TypeVar("Batch", Sample, Source)

VALIDATION = 256  # composites to validate on, or more where there are more photos
MASKED = ("om", "om-hls")  # the models whose masks are shown, the first that there is
VALIDATION_SEED = 7  # so that every run is scored on the same composites


def validation_loader(data: Path | None, size: int, workers: int = 0) -> DataLoader[Sample]:
    """Fixed composites of photos that no model was trained on."""
    if data is None:
        photos = SyntheticScenes(VALIDATION, size=size, seed=2**31)
    else:
        photos = labelled(ADE20K(data, "validation"), workers=workers)
    composites = Composites(photos, Perturber(), size=size, seed=VALIDATION_SEED)
    positions = range(max(len(photos), VALIDATION))
    return DataLoader(composites, 16, sampler=positions, num_workers=workers)


def inputs(batch: Sample, guided: bool) -> tuple[Tensor, ...]:
    return (batch.composite, batch.region) if guided else (batch.composite,)


def to_device(batch: Batch, device: torch.device) -> Batch:
    values = (value.to(device) if isinstance(value, Tensor) else value for value in batch)
    return type(batch)(*values)


def moved(loader: DataLoader[Sample], device: torch.device) -> Iterator[Sample]:
    return (to_device(batch, device) for batch in loader)


@torch.no_grad()
def panel_rows(
    models: dict[str, nn.Module], batch: Sample, guided: bool, count: int = 5
) -> list[PanelRow]:
    """What each model makes of the composites that were changed most, and the masks' additions."""
    results = {name: model(*inputs(batch, guided)) for name, model in models.items()}
    masks = next((results[name].masks for name in MASKED if name in results), {})
    adds = {name: mask for name, mask in masks.items() if name.endswith("_add")}
    worst = (batch.composite - batch.real).square().mean((1, 2, 3)).topk(count).indices
    return [
        PanelRow(
            {
                "composite": batch.composite[i],
                **{name: result.image[i] for name, result in results.items()},
                "real": batch.real[i],
                "region": batch.region[i],
            },
            {name: mask[i] for name, mask in adds.items()},
        )
        for i in worst.tolist()
    ]


def report(models: dict[str, nn.Module], args: argparse.Namespace, device: torch.device) -> str:
    """Scores the models on the validation composites; writes results, panel and loss curves."""
    loader = validation_loader(args.data, args.size, args.workers)
    rows = []
    for name, model in {"composite": None, **models}.items():
        batches = moved(tqdm(loader, f"evaluate {name}", leave=False), device)
        scores = evaluate(model and model.eval(), batches, guided=args.guided)
        rows.append({"model": name, **average(scores)})
    table = to_markdown(rows)
    for name, text in (("results.json", json.dumps(rows, indent=1) + "\n"), ("results.md", table)):
        with replacing(args.out / name) as temporary:
            temporary.write_text(text)
    batch = next(moved(loader, device))
    save_panel(panel_rows(models, batch, args.guided), args.out / "panel.png")
    logs = {
        name: list(zip(*read_log(args.out / name / "log.csv"), strict=True)) for name in models
    }
    curves = {name: (columns[0], columns[2]) for name, columns in logs.items()}
    save_curves(curves, args.out / "loss.png", ylabel="mean absolute error, levels of 255")
    return table
