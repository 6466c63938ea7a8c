"""The data of a training run: which composites each process sees, in every step.

photos -> composites, numbered in order -> :func:`positions` of a step -> ``Batch``
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader

from opmask.datasets import Composites, Photo, Photos, Resized, Sources
from opmask.perturb import PRESETS, CompositeBatch, Perturber, collate
from reproduction.run_folder import ignore_interrupts


class Batch(NamedTuple):
    """Composites, and where they come from.

    Attributes:
        sample: The composites, stacked.
        label_map: The classes of the pixels, or None where workers made the composites.
    """

    sample: CompositeBatch
    label_map: Tensor | None


def make_composites(photos: Photos, perturb: str, args: argparse.Namespace) -> Composites:
    perturber = Perturber(PRESETS[perturb])
    if perturb != "default":
        # As in the published code, photos are changed at their own size, and resized then.
        return Composites(photos, perturber, size=args.size, shuffle=True, seed=args.seed)
    crop = None if args.data is None else args.size  # the whole photo; half of the time, flipped
    photos = Resized(photos, args.size)
    return Composites(photos, perturber, crop=crop, shuffle=True, seed=args.seed)


def positions(step: int, accelerator: Accelerator, args: argparse.Namespace) -> list[range]:
    """The composites of this process in a step, batch by batch."""
    rank, count, size = accelerator.process_index, accelerator.num_processes, args.batch_size
    parts = range(step * args.accumulate, (step + 1) * args.accumulate)
    starts = [(part * count + rank) * size for part in parts]
    return [range(start, start + size) for start in starts]


def read_batches(
    composites: Composites, steps: range, accelerator: Accelerator, args: argparse.Namespace
) -> Iterator[list[Batch]]:
    """The batches of this process, step by step."""
    # Where photos have one size, workers only read; the training device changes them.
    only_read = composites.size is None
    loader = DataLoader(
        Sources(composites) if only_read else composites,
        collate_fn=None if only_read else collate,
        batch_sampler=[part for step in steps for part in positions(step, accelerator, args)],
        num_workers=args.workers,
        worker_init_fn=ignore_interrupts,
    )
    batches = (as_batch(item, composites, accelerator.device) for item in loader)
    return zip(*[batches] * args.accumulate, strict=True)


def as_batch(
    item: CompositeBatch | list[Photo | Tensor], composites: Composites, device: torch.device
) -> Batch:
    if isinstance(item, CompositeBatch):
        return Batch(item.to(device), None)
    photos, seeds = item[0].to(device), item[1]
    return Batch(composites.compose(photos, seeds), photos.label_map)
