"""The data of runs: what each process trains on in every step, and what models are scored on.

photos -> composites, numbered in order -> the positions of a step, see :class:`Share` -> batches
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from opmask.datasets import (
    ADE20K,
    LIP,
    Composites,
    Photo,
    Photos,
    Resized,
    Sources,
    SyntheticScenes,
    labelled,
)
from opmask.datasets.benchmark import draw_recompression
from opmask.perturb import (
    PRESETS,
    Composite,
    CompositeBatch,
    Perturber,
    collate,
    composite,
    draw,
)
from reproduction.recipes import Recipe

# Composites, and the photos that they were made of; None where data loading processes made them.
Batch = tuple[CompositeBatch, Photo | None]

# --- to train on ---


@dataclass(frozen=True)
class Share:
    """What this process does of each step: some batches of some composites.

    Args:
        batch_size: The composites in a batch.
        batches: The batches of a step, whose gradients are accumulated.
        process: The place of this process among all.
        processes: The number of processes.
    """

    batch_size: int
    batches: int = 1
    process: int = 0
    processes: int = 1

    @property
    def step_size(self) -> int:
        """The composites in a step, over all processes."""
        return self.processes * self.batches * self.batch_size

    def positions(self, step: int) -> list[range]:
        """The composites of this process in a step, batch by batch."""
        parts = range(step * self.batches, (step + 1) * self.batches)
        starts = [(part * self.processes + self.process) * self.batch_size for part in parts]
        return [range(start, start + self.batch_size) for start in starts]


def share_steps(recipe: Recipe, accumulate: int, process: int = 0, processes: int = 1) -> Share:
    """The share of a process; without accumulation as many batches as a step's images need."""
    batch_size, images = recipe.batch_size, recipe.batch
    together = processes * batch_size
    if images % together and not accumulate:
        raise SystemExit(
            f"A step of this recipe has {images} images, which cannot be shared by "
            f"{processes} processes with --batch-size {batch_size}. Change one of these, or "
            "say with --accumulate how many batches a step has."
        )
    return Share(batch_size, accumulate or max(1, images // together), process, processes)


def make_composites(
    photos: Photos, perturb: str, *, size: int, crop: bool, seed: int
) -> Composites:
    """Composites of photos; their crops are flipped half of the time."""
    perturber = Perturber(PRESETS[perturb])
    if perturb != "default":
        # As in the published code, photos are changed at their own size, and resized then.
        return Composites(photos, perturber, size=size, shuffle=True, seed=seed)
    square = size if crop else None
    return Composites(Resized(photos, size), perturber, crop=square, shuffle=True, seed=seed)


def read_batches(
    composites: Composites, steps: range, share: Share, device: torch.device, workers: int
) -> Iterator[Sequence[Batch]]:
    """The batches of this process, step by step."""
    # Where photos have one size, workers only read; the training device changes them.
    reads = composites.size is None
    loader = DataLoader(
        Sources(composites) if reads else composites,
        batch_sampler=[part for step in steps for part in share.positions(step)],
        num_workers=workers,
        collate_fn=None if reads else collate,
        worker_init_fn=ignore_interrupts,
    )
    batches = (
        compose(loader, composites, device)
        if reads
        else ((batch, None) for batch in on_device(loader, device))
    )
    return zip(*[batches] * share.batches, strict=True)


def compose(
    loader: DataLoader[tuple[Photo, int]], composites: Composites, device: torch.device
) -> Iterator[Batch]:
    """Composites of the photos that were read, made on the device."""
    for photos, seeds in loader:
        photos = photos.to(device)
        yield composites.compose(photos, seeds), photos


def ignore_interrupts(_: int) -> None:
    """For data loading processes, which get the signal too and must outlive the step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


# --- to score on ---

VALIDATION = 256  # composites to validate on, or more where there are more photos
VALIDATION_SEED = 7  # so that every run is scored on the same composites


class RecompressedComposites(Dataset[Composite]):
    """The same composites without the traces that only synthetic ones have."""

    def __init__(self, composites: Composites) -> None:
        self.composites = composites

    def __getitem__(self, position: int) -> Composite:
        (image, label_map, _), seed = self.composites.source(position)
        applied = draw(label_map, seed, self.composites.perturber.settings)
        made = composite(image, label_map, applied)
        return draw_recompression(seed)(made, size=self.composites.size)


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
) -> DataLoader[Composite]:
    """Those fixed composites, in batches."""
    composites = validation_set(data, size, workers)
    positions = range(max(len(composites), VALIDATION))
    samples = RecompressedComposites(composites) if recompress else composites
    return DataLoader(samples, 16, sampler=positions, num_workers=workers, collate_fn=collate)


def on_device(
    loader: DataLoader[Composite], device: torch.device | str
) -> Iterator[CompositeBatch]:
    """The batches, each moved to the device as it is read."""
    return (batch.to(device) for batch in loader)
