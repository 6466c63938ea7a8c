"""Scores models on held-out composites, and draws what they do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from opmask import Retouched
from opmask.files import replacing
from opmask.metrics import average, evaluate, results_table, to_markdown
from opmask.metrics.evaluation import HEADLINE
from opmask.perturb import Composite, CompositeBatch
from opmask.visualize import PanelRow, save_curves, save_panel
from reproduction.checkpoint import read_log
from reproduction.data import on_device
from reproduction.train import inputs_of

MASKED = (
    "omgan",
    "om",
    "om-hls",
    "ht-lab",
    "ht-hls",
    "ht-hls-add",
)  # the models whose masks are shown, the first that there is


@torch.no_grad()
def panel_rows(
    models: dict[str, nn.Module], batch: CompositeBatch, count: int = 5
) -> list[PanelRow]:
    """What each model makes of the composites that were changed most, and the masks' additions."""
    results = {name: model(*inputs_of(model, batch)) for name, model in models.items()}
    masked = [name for name in (*MASKED, *results) if name in results and results[name].masks]
    masks = results[masked[0]].masks if masked else {}
    adds = {name: mask for name, mask in masks.items() if name.endswith("_add")}
    changes = (batch.composite - batch.real).square().mean((1, 2, 3))
    worst = changes.topk(min(count, len(changes))).indices
    return [
        PanelRow(images_of(batch, results, i), {name: mask[i] for name, mask in adds.items()})
        for i in worst.tolist()
    ]


def images_of(
    batch: CompositeBatch, results: Mapping[str, Retouched], place: int
) -> dict[str, Tensor]:
    """A composite, what models make of it, the real image and the region."""
    made = {name: result.image[place] for name, result in results.items()}
    real, region = batch.real[place], batch.region[place]
    return {"composite": batch.composite[place], **made, "real": real, "region": region}


def consecutive(scores: Mapping[str, object]) -> list[tuple[str, str]]:
    """Each model with the one before it, to be compared; the first row is the composites'."""
    models = list(scores)[1:]
    return list(zip(models[1:], models, strict=False))


def write_report(
    models: dict[str, nn.Module],
    loader: DataLoader[Composite],
    out: Path,
    device: torch.device,
) -> str:
    """Scores the models on the validation composites; writes results, panel and loss curves."""
    scores = {}
    for name, model in {"composite": None, **models}.items():
        batches = on_device(tqdm(loader, f"evaluate {name}", leave=False), device)
        guided = model is not None and model.region
        made = evaluate(model and model.eval(), batches, guided=guided)
        scores[name] = [{"name": str(position), **row} for position, row in enumerate(made)]
    rows = [
        {
            "model": name,
            **average([{key: row[key] for key in HEADLINE if key in row} for row in made]),
        }
        for name, made in scores.items()
    ]
    table = to_markdown(rows)
    details = results_table(scores, protocol="opmask", pairs=consecutive(scores))
    texts = {
        "results.json": json.dumps(rows, indent=1) + "\n",
        "results.md": f"{table}\n{details}",
    }
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text)
    draw(models, next(on_device(loader, device)), out)
    return table


def draw(models: dict[str, nn.Module], batch: CompositeBatch, out: Path) -> None:
    """Writes the picture of what models make of a batch, and their curves."""
    draw_panel(models, batch, out)
    draw_curves(models, out)


def draw_panel(models: dict[str, nn.Module], batch: CompositeBatch, out: Path) -> None:
    save_panel(panel_rows(models, batch), out / "panel.png")


def draw_curves(models: Iterable[str], out: Path) -> None:
    logs = {name: list(zip(*read_log(out / name / "log.csv"), strict=True)) for name in models}
    curves = {name: (columns[0], columns[2]) for name, columns in logs.items()}
    save_curves(curves, out / "loss.png", ylabel="mean absolute error, levels of 255")
