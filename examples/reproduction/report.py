"""Scores models on held-out composites, and draws what they do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from opmask.datasets import ADE20K, LIP, Composites, SyntheticScenes, labelled
from opmask.datasets.benchmark.recompression import draw_cleaning
from opmask.files import replacing
from opmask.metrics import average, evaluate, results_table, to_markdown
from opmask.metrics.evaluation import HEADLINE
from opmask.perturb import Composite, CompositeBatch, Perturber, collate, composite, draw
from opmask.visualize import PanelRow, save_curves, save_panel
from reproduction.run_folder import read_log

VALIDATION = 256  # composites to validate on, or more where there are more photos
MASKED = ("omgan", "om", "om-hls")  # the models whose masks are shown, the first that there is
VALIDATION_SEED = 7  # so that every run is scored on the same composites


class CleanComposites(Dataset[Composite]):
    """The same composites without the traces that only synthetic ones have."""

    def __init__(self, composites: Composites) -> None:
        self.composites = composites

    def __getitem__(self, position: int) -> Composite:
        (image, label_map, _), seed = self.composites.source(position)
        applied = draw(label_map, seed, self.composites.perturber.settings)
        made = composite(image, label_map, applied)
        return draw_cleaning(seed)(made, size=self.composites.size)


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
    data: Path | None, size: int, workers: int = 0, *, clean: bool = False
) -> DataLoader[Composite]:
    """Those fixed composites, in batches."""
    composites = validation_set(data, size, workers)
    positions = range(max(len(composites), VALIDATION))
    samples = CleanComposites(composites) if clean else composites
    return DataLoader(samples, 16, sampler=positions, num_workers=workers, collate_fn=collate)


def inputs(batch: CompositeBatch, guided: bool) -> tuple[Tensor, ...]:
    return (batch.composite, batch.region) if guided else (batch.composite,)


def moved(
    loader: Iterable[CompositeBatch], device: torch.device | str
) -> Iterator[CompositeBatch]:
    return (batch.to(device) for batch in loader)


@torch.no_grad()
def panel_rows(
    models: dict[str, nn.Module], batch: CompositeBatch, guided: bool, count: int = 5
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
