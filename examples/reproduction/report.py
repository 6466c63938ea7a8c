"""Scores models on held-out composites, and draws what they do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from opmask.datasets import ADE20K, LIP, Composites, Sample, Source, SyntheticScenes, labelled
from opmask.datasets.benchmark import draw_recompression
from opmask.files import replacing
from opmask.metrics import average, evaluate, results_table, to_markdown
from opmask.metrics.evaluation import HEADLINE
from opmask.perturb import Perturber, composite, draw
from opmask.visualize import PanelRow, save_curves, save_panel
from reproduction.run_folder import read_log

Batch = TypeVar("Batch", Sample, Source)

VALIDATION = 256  # composites to validate on, or more where there are more photos
MASKED = ("omgan", "om", "om-hls")  # the models whose masks are shown, the first that there is
VALIDATION_SEED = 7  # so that every run is scored on the same composites


class RecompressedComposites(Dataset[Sample]):
    """The same composites without the traces that only synthetic ones have."""

    def __init__(self, composites: Composites) -> None:
        self.composites = composites

    def __getitem__(self, position: int) -> Sample:
        image, label_map, photo, seed = self.composites.source(position)
        applied = draw(label_map, seed, self.composites.perturber.settings)
        made = draw_recompression(seed)(
            composite(image, label_map, applied), size=self.composites.size
        )
        return Sample(*made[:3], photo, applied.to_json())


def validation_set(data: Path | None, size: int, workers: int = 0) -> Composites:
    """Composites of photos that no model was trained on; VALIDATION or more are fixed."""
    if data is None:
        photos = SyntheticScenes(VALIDATION, size=size, seed=2**31)
    else:
        is_lip = (data / "val_images").is_dir()
        files = LIP(data, "val") if is_lip else ADE20K(data, "validation")
        photos = labelled(files, workers=workers)
    return Composites(photos, Perturber(), size=size, seed=VALIDATION_SEED)


def validation_loader(
    data: Path | None, size: int, workers: int = 0, *, recompress: bool = False
) -> DataLoader[Sample]:
    """Those fixed composites, in batches."""
    composites = validation_set(data, size, workers)
    positions = range(max(len(composites), VALIDATION))
    samples = RecompressedComposites(composites) if recompress else composites
    return DataLoader(samples, 16, sampler=positions, num_workers=workers)


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


def neighbours(scores: Mapping[str, object]) -> list[tuple[str, str]]:
    """Each model with the one before it, to be compared; the first row is the composites'."""
    models = list(scores)[1:]
    return list(zip(models[1:], models, strict=False))


def report(models: dict[str, nn.Module], args: argparse.Namespace, device: torch.device) -> str:
    """Scores the models on the validation composites; writes results, panel and loss curves."""
    loader = validation_loader(args.data, args.size, args.workers)
    scores = {}
    for name, model in {"composite": None, **models}.items():
        batches = moved(tqdm(loader, f"evaluate {name}", leave=False), device)
        made = evaluate(model and model.eval(), batches, guided=args.guided)
        scores[name] = [{"name": str(position), **row} for position, row in enumerate(made)]
    rows = [
        {
            "model": name,
            **average([{key: row[key] for key in HEADLINE if key in row} for row in made]),
        }
        for name, made in scores.items()
    ]
    table = to_markdown(rows)
    details = results_table(scores, protocol="opmask", pairs=neighbours(scores))
    texts = {
        "results.json": json.dumps(rows, indent=1) + "\n",
        "results.md": f"{table}\n{details}",
    }
    for name, text in texts.items():
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
