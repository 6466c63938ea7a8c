"""What the training scripts do not have in common: what models see, are, and are scored on.

photos -> :func:`of_composites` -> :class:`Task` -> the loop in `loop.py`. The task of networks
that are given the region is in `given_task.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from opmask.datasets import Photos
from reproduction.checkpoint import describe_photos
from reproduction.data import Batch, Share, make_composites, read_batches, validation_loader
from reproduction.networks import build
from reproduction.recipes import Options, Recipe
from reproduction.report import write_report

T = TypeVar("T")
Batches = dict[str, Sequence[Batch]]  # those of a step, by model


@dataclass(frozen=True)
class Task:
    """What the models of a script see, are, and are scored on; the rest is in common.

    Args:
        photos: What is trained on, in words by which another run is told from this one.
        read: The batches of this process, step by step, by model.
        report: Scores the finished models, and returns a table.
        build: A model, untrained.
        prepare: What one process does before all others read.
    """

    photos: str
    read: Callable[[Mapping[str, Recipe], range, Share, torch.device], Iterator[Batches]]
    report: Callable[[dict[str, nn.Module], torch.device], str]
    build: Callable[..., nn.Module] = build
    prepare: Callable[[], None] = lambda: None


def of_composites(photos: Photos, recipes: Mapping[str, Recipe], options: Options) -> Task:
    """The paper's task: composites of photos, made as they are needed."""
    size = next(iter(recipes.values())).size

    def read(
        recipes: Mapping[str, Recipe], steps: range, share: Share, device: torch.device
    ) -> Iterator[Batches]:
        return read_steps(photos, recipes, steps, share, device, options)

    def report(models: dict[str, nn.Module], device: torch.device) -> str:
        loader = validation_loader(options.data, size, options.workers)
        return write_report(models, loader, options.out, device)

    return Task(describe_photos(photos), read, report)


def read_steps(
    photos: Photos,
    recipes: Mapping[str, Recipe],
    steps: range,
    share: Share,
    device: torch.device,
    options: Options,
) -> Iterator[Batches]:
    """The batches of each step; models of equal perturbations share theirs."""
    kinds = {name: recipe.perturb for name, recipe in recipes.items()}
    size, crop = next(iter(recipes.values())).size, options.data is not None
    streams = {}
    for kind in dict.fromkeys(kinds.values()):
        composites = make_composites(photos, kind, size=size, crop=crop, seed=options.seed)
        streams[kind] = read_batches(composites, steps, share, device, options.workers)
    return by_model(kinds, streams)


def by_model(
    kinds: Mapping[str, T], streams: Mapping[T, Iterator[Sequence[Batch]]]
) -> Iterator[Batches]:
    """Step by step the batches of each model, from the stream of its kind."""
    for batches in zip(*streams.values(), strict=True):
        found = dict(zip(streams, batches, strict=True))
        yield {name: found[kind] for name, kind in kinds.items()}
