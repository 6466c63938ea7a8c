"""iHarmony4, or a set in its format, to train and score networks on.

folder -> :func:`read_iharmony4` -> batches of composite, real and region -> training
folder -> :func:`score_iharmony4` -> rows by subset -> ``opmask.metrics.results_table``
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from opmask.metrics import evaluate
from opmask.metrics.localization import ADD_THRESHOLD
from opmask.perturb import Composite, CompositeBatch, collate
from opmask.perturb.rng import sample_seed
from reproduction.data import Share, ignore_interrupts, on_device
from reproduction.scoring import Target, open_samples


class Endless(Dataset[Composite]):
    """Samples in an order of their own in each epoch, flipped half of the time.

    The sample at a position depends on the seed alone, so that training resumes anywhere.
    """

    def __init__(
        self, samples: Dataset[Composite], count: int, seed: int, *, flip: bool = True
    ) -> None:
        self.samples, self.count, self.seed, self.flip = samples, count, seed, flip
        self._order: tuple[int, list[int]] = (-1, [])  # of the epoch at hand

    def __getitem__(self, position: int) -> Composite:
        epoch, place = divmod(position, self.count)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(sample_seed(self.seed, epoch, 0))
            self._order = epoch, torch.randperm(self.count, generator=generator).tolist()
        sample = self.samples[self._order[1][place]]
        if not self.flip or sample_seed(self.seed, epoch, place + 1) % 2:
            return sample
        return Composite(*(plane.flip(-1) for plane in sample[:3]), None)


def read_iharmony4(
    root: Path,
    *,
    size: int,
    batch: int,
    steps: range,
    seed: int = 0,
    subset: str | None = None,
    inverted: bool = False,
    protocol: str = "ih4-256",
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[CompositeBatch]:
    """The training batches of some steps; pictures are resized as the protocol's code does it."""
    where = {"iharmony4": root, "split": "train", "subset": subset, "inverted": inverted}
    samples, names, _ = open_samples(Target(size, protocol, **where), None)
    endless = Endless(samples.dataset, len(names), seed)
    return read_positions(endless, steps, Share(batch), workers, device)


def read_positions(
    samples: Endless, steps: range, share: Share, workers: int, device: torch.device | str
) -> Iterator[CompositeBatch]:
    """The batches of this process, one after the other."""
    loader = DataLoader(
        samples,
        batch_sampler=[part for step in steps for part in share.positions(step)],
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=ignore_interrupts,
    )
    return on_device(loader, device)


def score_iharmony4(
    model: nn.Module | None,
    root: Path,
    *,
    size: int = 256,
    protocol: str = "ih4-256",
    split: str = "test",
    subset: str | None = None,
    inverted: bool = False,
    guided: bool = False,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> list[dict[str, str | float]]:
    """The scores of every image, with its name and subset; no model: those of the composites.

    Of a model that has add masks, `add_iou` is their overlap with the region.
    """
    where = {"iharmony4": root, "split": split, "subset": subset, "inverted": inverted}
    samples = open_samples(Target(size, protocol, workers=workers, **where), model)
    batches = on_device(samples.loader, device)
    rows = evaluate(model, batches, guided=guided, protocol=protocol, add_threshold=ADD_THRESHOLD)
    return samples.labelled(rows)
