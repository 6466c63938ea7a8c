"""One network in training, on batches that follow from their seeds; at any step it can be resumed.

step -> `draw` -> batch -> `terms` -> loss -> optimisers -> averaged weights, log and checkpoint
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from opmask.perturb import sample_seed
from reproduction.checkpoint import Interrupt, Log, load_state, save_state
from reproduction.loop import make_average
from reproduction.small.batches import Batch, Mix, make_batch
from reproduction.small.hyperparameters import Hyperparameters, Options, rate
from reproduction.small.muon import Muon, split
from reproduction.small.pool import Packed
from reproduction.train import Learner


class Terms(NamedTuple):
    """The terms of a loss, weighted, and what else is to be written down of a step."""

    loss: dict[str, Tensor]
    facts: dict[str, Tensor]


@dataclass
class Run:
    """A network in training and what goes with it.

    Attributes:
        out: The folder of its log and its checkpoint.
        network: Of which all parameters learn that are not frozen.
        terms: The terms of the loss on a batch, at a step.
        draw: The seed of a step and its batch.
        steps: How many there are.
        learners: The optimisers by name.
        average: The moving average of the weights.
        log: The values of each step.
        step: How many are done.
    """

    out: Path
    network: nn.Module
    terms: Callable[[Batch, int], Terms]
    draw: Callable[[int], tuple[int, Batch]]
    steps: int
    learners: dict[str, Learner]
    average: AveragedModel
    log: Log
    step: int = 0

    @property
    def parts(self) -> dict[str, object]:
        parts = {"model": self.network, "average": self.average}
        for name, learner in self.learners.items():
            parts |= {name: learner.optimizer, f"{name}_schedule": learner.schedule}
        return parts


def begin(
    out: Path,
    network: nn.Module,
    steps: int,
    terms: Callable[[Batch, int], Terms],
    draw: Callable[[int], tuple[int, Batch]],
    columns: tuple[str, ...],
    recipe: Hyperparameters,
    options: Options,
) -> Run:
    """A new run, or one at the step where it was interrupted."""
    average = make_average(network, recipe.ema, torch.device(options.device))
    learners, log = make_learners(network, recipe, steps), Log(out / "log.csv", columns)
    run = Run(out, network, terms, draw, steps, learners, average, log)
    if options.resume:
        run.step = load_state(out, run.parts)
    log.read(run.step)
    return run


def make_learners(network: nn.Module, recipe: Hyperparameters, steps: int) -> dict[str, Learner]:
    """Muon for the matrices of a network, AdamW for the rest."""
    matrices, rest = split([p for p in network.parameters() if p.requires_grad])
    optimizers = {
        "muon": Muon(matrices, recipe.matrix_lr),
        "adamw": torch.optim.AdamW(rest, recipe.lr, betas=(0.9, 0.99), weight_decay=recipe.decay),
    }
    return {
        name: Learner(network, optimizer, LambdaLR(optimizer, lambda step: rate(step, steps)))
        for name, optimizer in optimizers.items()
    }


def drawer(
    photos: Packed,
    kind: int,
    shape: Callable[[int], tuple[int, int]],
    mix: Mix,
    seed: int,
    device: str,
) -> Callable[[int], tuple[int, Batch]]:
    """What draws the batch of a step from photos: `shape` says how many composites of which size.

    Batches of another kind of run, with another number, are others.
    """
    images, labels = photos.images.to(device), photos.labels.to(device)

    def draw(step: int) -> tuple[int, Batch]:
        number = sample_seed(seed, kind, step)
        generator = torch.Generator().manual_seed(number)
        count, size = shape(step)
        chosen = torch.randint(len(images), (count,), generator=generator).to(device)
        return number, make_batch(images[chosen], labels[chosen], size, mix, number)

    return draw


def read_batches(run: Run) -> Iterator[tuple[int, Batch]]:
    """The batch of each step to come, with its seed; the next one is made meanwhile."""
    steps = range(run.step, run.steps)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(run.draw, steps.start) if steps else None
        for step in steps:
            batch = coming.result()
            if step + 1 in steps:
                coming = pool.submit(run.draw, step + 1)
            yield batch


def advance(run: Run, seed: int, batch: Batch) -> None:
    """One step, on a batch that follows from a seed, as all that is random does."""
    torch.manual_seed(seed)
    terms = run.terms(batch, run.step)
    loss = torch.stack(list(terms.loss.values())).sum()
    loss.backward()
    if not torch.nn.utils.clip_grad_norm_(run.network.parameters(), 1.0).isfinite():
        raise SystemExit(
            f"The gradient is not finite in step {run.step} (seed {seed}). The last good state is "
            f"in {run.out / 'checkpoint'}. Lower --lr and go on with --resume."
        )
    for learner in run.learners.values():
        learner.step()
    run.average.update_parameters(run.network)
    run.step += 1
    values = {"loss": loss, **terms.loss, **terms.facts}
    run.log.add(run.step, torch.stack([values[name] for name in run.log.columns[1:]]).tolist())


def train(
    run: Run,
    title: str,
    save_every: int,
    after: Callable[[Run], str | None] = lambda run: None,
    saved: Callable[[Run], None] = lambda run: None,
) -> None:
    """All steps that are left.

    `after` each of them something may be done, and said; and when the state was `saved`, more may
    be written.
    """
    progress = tqdm(read_batches(run), title, run.steps, initial=run.step, disable=None)
    with Interrupt() as interrupt, progress:
        for seed, batch in progress:
            advance(run, seed, batch)
            if interrupt.asked or run.step == run.steps or run.step % save_every == 0:
                run.log.write()
                save_state(run.out, run.parts, run.step)
                saved(run)
            if said := after(run):
                progress.write(said)
            if interrupt.asked:
                raise KeyboardInterrupt(f"at step {run.step}. Add --resume to go on")
