"""The task of networks that are given the region: a folder in iHarmony4's format, and the tables.

:func:`of_iharmony4` -> :class:`reproduction.tasks.Task` -> the loop in `loop.py` ->
:func:`write_report`: one table by both of PROTOCOLS, by subset and of all images.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from opmask.datasets import IHarmony4, MakingConfig, make_iharmony4
from opmask.datasets.making import photos_by_split
from opmask.files import replacing
from opmask.markdown import markdown_table
from opmask.metrics import average, results_table, write_scores
from reproduction.data import Batch, Share
from reproduction.given import GivenOptions, GivenRecipe, build_given
from reproduction.iharmony4 import Endless, read_positions, score_iharmony4
from reproduction.report import draw
from reproduction.scoring import Pasted, Target, open_samples, write_notes
from reproduction.tasks import Batches, Task, by_model

SCENES, TESTED = 576, 64  # synthetic scenes, without --data; of which so many are to test on
PROTOCOLS = ("ih4-256", "reference-ih4")
SHOWN = {"mse": "MSE", "psnr": "PSNR", "fmse": "fMSE"}
ALL = "All"
# MSE and PSNR of all of iHarmony4's test images at 256 px, as the papers have them.
PAPERS = {
    "composite": (172.47, 31.63),
    "dovenet": (52.36, 34.75),
    "rainnet": (40.29, 36.12),
    "bargainnet": (37.82, 35.88),
    "ht": (21.91, 38.39),
    "ht-lab": (21.89, 38.38),
    "ht-hls": (30.19, 36.90),
    "ht-hls-add": (31.00, 36.73),
    "dht": (30.30, 37.55),
}
Rows = list[dict[str, str | float]]


def of_iharmony4(recipes: Mapping[str, GivenRecipe], options: GivenOptions) -> Task:
    """Composites of a folder, or of one that is made of scenes first; the region is given."""
    root = options.data or options.out / "iharmony4"
    size = next(iter(recipes.values())).size

    def prepare() -> None:
        if options.data is None:
            make_scenes(root, size, options.seed)

    def read(
        recipes: Mapping[str, GivenRecipe], steps: range, share: Share, device: torch.device
    ) -> Iterator[Batches]:
        where = {"iharmony4": root, "subset": options.subset, "inverted": options.inverted}
        samples = open_samples(Target(size, PROTOCOLS[0], split="train", **where), None)
        flips = {name: recipe.flip for name, recipe in recipes.items()}
        streams = {}
        for flip in dict.fromkeys(flips.values()):
            count = len(samples.names)
            endless = Endless(samples.loader.dataset, count, options.seed, flip=flip)
            batches = read_positions(endless, steps, share, options.workers, device)
            streams[flip] = in_steps(batches, share)
        return by_model(flips, streams)

    def report(models: dict[str, nn.Module], device: torch.device) -> str:
        pasted = {name: finished(model, recipes[name]) for name, model in models.items()}
        return write_report(pasted, root, size, options, device)

    return Task(describe(options), read, report, build_given, prepare)


def make_scenes(root: Path, size: int, seed: int) -> None:
    """A set of synthetic scenes; what is there of it stays."""
    share = TESTED / SCENES
    photos = photos_by_split(f"scenes:{SCENES}", test_share=share, seed=seed, size=size)
    make_iharmony4(photos, root, MakingConfig("HScenes", seed))


def describe(options: GivenOptions) -> str:
    """How many composites are trained on and, for files, a checksum of their names in order."""
    if options.data is None:
        return f"{SCENES - TESTED} synthetic"
    for split in ("test", "train"):  # raises before hours of training
        paths = IHarmony4(options.data, split, options.subset).paths
    names = "\n".join(path.name for path in paths)
    return f"{len(paths)}, checksum of names {sha256(names.encode()).hexdigest()[:16]}"


def in_steps(batches: Iterator[object], share: Share) -> Iterator[Sequence[Batch]]:
    """The batches of each step, with no photos that they were made of."""
    together = [((batch, None) for batch in batches)] * share.batches
    return zip(*together, strict=True)


def finished(model: nn.Module, recipe: GivenRecipe) -> nn.Module:
    """A model as it is scored: what masks make of an image is pasted too, as in the paper."""
    painted = hasattr(model, "paste") or recipe.paste == "never"
    return model if painted else Pasted(model)


# --- the report ---


def write_report(
    models: dict[str, nn.Module],
    root: Path,
    size: int,
    options: GivenOptions,
    device: torch.device,
) -> str:
    """Scores the models on the images to test on; writes the table, the scores and a picture."""
    where = {"subset": options.subset, "inverted": options.inverted}
    scores: dict[str, dict[str, Rows]] = {}
    for protocol in PROTOCOLS:
        how = {**where, "size": size, "protocol": protocol, "workers": options.workers}
        scores[protocol] = {
            name: score_iharmony4(model, root, guided=model is not None, device=device, **how)
            for name, model in {"composite": None, **models}.items()
        }
    table = table_of(scores)
    details = [results_table(of, protocol=protocol) for protocol, of in scores.items()]
    note = (
        "The papers' figures are those of iHarmony4 at 256 px, of networks at their full size: "
        "not of what was trained and scored here.\n"
    )
    texts = {
        "results.md": "\n".join([table, note, *details]),
        "results.json": json.dumps(scores, indent=1) + "\n",
    }
    for name, text in texts.items():
        with replacing(options.out / name) as temporary:
            temporary.write_text(text)
    targets = {name: Target(size, name, iharmony4=root, **where) for name in PROTOCOLS}
    for protocol, target in targets.items():
        path = options.out / f"{protocol}.csv"
        write_scores(path, scores[protocol], protocol=protocol)
        made = options.data is None
        write_notes(path.with_suffix(".json"), scores[protocol], target, made=made)
    batch = next(iter(open_samples(targets[PROTOCOLS[0]], None).loader)).to(device)
    draw(models, batch, options.out)
    return f"{table}\n{note}"


def table_of(scores: Mapping[str, Mapping[str, Rows]]) -> str:
    """A line for each subset and model, those of all images last."""
    first = scores[PROTOCOLS[0]]
    subsets = list(dict.fromkeys(row["subset"] for row in first["composite"]))
    places = [*(subsets if len(subsets) > 1 else []), ALL]
    titles = [f"{title}, {name}" for name in scores for title in SHOWN.values()]
    headings = ["images", "model", *titles, "add IoU", "papers: MSE / PSNR"]
    lines = [
        [
            f"{place} ({len(rows_of(first, model, place))})",
            model,
            *(cell for of in scores.values() for cell in cells(rows_of(of, model, place))),
            mean(rows_of(first, model, place), "add_iou"),
            "{:.2f} / {:.2f}".format(*PAPERS[model]) if place == ALL else "",
        ]
        for place in places
        for model in first
    ]
    if not any(line[-2] for line in lines):  # no model has masks
        for line in (headings, *lines):
            del line[-2]
    return markdown_table(headings, lines) + "\n"


def rows_of(scores: Mapping[str, Rows], model: str, place: str) -> Rows:
    return [row for row in scores[model] if place in (ALL, row["subset"])]


def cells(rows: Rows) -> list[str]:
    return [mean(rows, name) for name in SHOWN]


def mean(rows: Rows, name: str) -> str:
    """The mean over the images that have a value."""
    found = [{name: row[name]} for row in rows if name in row]
    return f"{average(found)[name]:.2f}" if found else ""
