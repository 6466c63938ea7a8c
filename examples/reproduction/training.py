"""The training loop of `train_hscene.py` and `train_hlip.py`, from one process to many.

photos -> composites -> :func:`advance` for each model -> checkpoints and log -> table and pictures

A step has the same composites however many processes and accumulated batches share it, and its
dropout is drawn from the seed, the step and the process. So a run that is resumed is the run that
was interrupted. What processes cannot have in common is in the guide, under "Training".
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

import opmask
from opmask.datasets import Photos
from opmask.perturb import CompositeBatch, sample_seed
from reproduction.batches import Batch, make_composites, positions, read_batches
from reproduction.failures import (
    explained_memory,
    stop_if_not_finite,
    stop_if_weights_are_not_finite,
)
from reproduction.learners import Run, begin, starting_point
from reproduction.objective import discriminator_loss, generator_terms
from reproduction.report import inputs, report
from reproduction.run_folder import Interrupt, keep, open_run
from reproduction.settings import accumulation, settings

T = TypeVar("T")

CHECK_STEP = 500  # when a model that still returns its input is reported
STILL = 0.5  # levels of 255: a smaller mean change counts as returning the input
SLOW = 3  # times the median: a step that takes as long is called slow
SHOWN = 4  # composites in a picture for TensorBoard


# --- a step ---


def accumulated(network: nn.Module, batches: Sequence[T], accelerator: Accelerator) -> Iterator[T]:
    """Each batch; the processes exchange the gradients of all of them with the last one."""
    for batch in batches[:-1]:
        with accelerator.no_sync(network):
            yield batch
    yield batches[-1]


def train_generator(
    run: Run, batches: Sequence[Batch], accelerator: Accelerator, guided: bool
) -> tuple[list[Tensor], Tensor]:
    """The images of the generator's step, and its values for the log."""
    network, images, values = run.generator.network, [], []
    for batch in accumulated(network, batches, accelerator):
        result = network(*inputs(batch.sample, guided))
        terms = generator_terms(run.recipe, batch, run.model, result, run.perceptual, run.critic)
        loss = sum(terms.values())
        accelerator.backward(loss / len(batches))
        images.append(result.image.detach())
        known = batch.sample.real, batch.sample.composite
        off = [255 * (images[-1] - image).abs().mean() for image in known]
        values.append(torch.stack([loss, *off, *terms.values()]).detach())
    run.generator.step()
    return images, torch.stack(values).mean(0)


def train_discriminator(
    run: Run, batches: Sequence[Batch], images: list[Tensor], accelerator: Accelerator
) -> Tensor:
    """The discriminator's step, on the same images; its loss."""
    network, losses = run.discriminator.network, []
    network.requires_grad_(True)
    pairs = [(batch.sample.real, image) for batch, image in zip(batches, images, strict=True)]
    for real, image in accumulated(network, pairs, accelerator):
        loss = discriminator_loss(run.recipe, network, real, image)
        accelerator.backward(loss / len(batches))
        losses.append(loss.detach())
    run.discriminator.step()
    network.requires_grad_(False)
    return torch.stack(losses).mean(0, keepdim=True)


def advance(
    run: Run, batches: Sequence[Batch], accelerator: Accelerator, args: argparse.Namespace
) -> None:
    """One step of one model, on one batch or, where gradients are accumulated, on several."""
    torch.manual_seed(sample_seed(args.seed, run.step, accelerator.process_index))  # of dropout
    places = positions(run.step, accelerator, args)
    images, values = train_generator(run, batches, accelerator, args.guided)
    if run.discriminator is not None:
        values = torch.cat([values, train_discriminator(run, batches, images, accelerator)])
    if run.average is not None:
        run.average.update_parameters(run.model)
    run.step += 1
    means = accelerator.reduce(values, "mean").tolist()
    stop_if_not_finite(run, values, means, batches, places)
    run.log.add(run.step, means[: len(run.log.columns) - 1])  # a single term is the loss itself
    if run.step == CHECK_STEP:
        warn_if_still(run.name, means[2])


def warn_if_still(name: str, change: float) -> None:
    """Reports a model whose output is still its input, given the mean change in levels of 255."""
    if change < STILL:
        warnings.warn(
            f"after {CHECK_STEP} steps {name} still returns its input (mean change {change:.2f} "
            "of 255 levels). Raise the learning rate, or the eps of the Charbonnier loss.",
            stacklevel=2,
        )


# --- all steps ---


def timed(progress: tqdm) -> Iterator[Any]:
    """The items of a progress bar, which says when a step takes much longer than most."""
    last, taken = time.perf_counter(), deque(maxlen=50)
    for item in progress:
        yield item
        taken.append(time.perf_counter() - last)
        last += taken[-1]
        progress.set_postfix_str(describe_pace(taken), refresh=False)


def describe_pace(taken: Sequence[float]) -> str:
    """What to say of the last of these times, in seconds; nothing if it is as usual."""
    usual = median(taken)
    if taken[-1] < SLOW * usual:
        return ""
    return f"slow: {taken[-1]:.1f} s instead of {usual:.1f}, is another process busy?"


def train(
    runs: list[Run], photos: Photos, accelerator: Accelerator, args: argparse.Namespace
) -> None:
    """Trains models side by side on the same composites, and saves them."""
    main, first = accelerator.is_main_process, min(run.step for run in runs)
    steps = range(first, runs[0].recipe.steps)
    kinds = dict.fromkeys(run.recipe.perturb for run in runs)
    streams = [
        read_batches(make_composites(photos, kind, args), steps, accelerator, args)
        for kind in kinds
    ]
    progress = tqdm(
        zip(*streams, strict=True), "train", steps.stop, initial=first, disable=not main
    )
    with Interrupt() as interrupt, progress:
        for step, read in enumerate(timed(progress), first + 1):
            batches = dict(zip(kinds, read, strict=True))
            for run in runs:
                if run.step < step:  # one may have been saved a moment before the others
                    advance(run, batches[run.recipe.perturb], accelerator, args)
            stop = interrupt.asked_anywhere(accelerator)
            if stop or step % args.save_every == 0:
                for run in runs:
                    save(run, batches[run.recipe.perturb], accelerator, args)
            if stop:
                raise KeyboardInterrupt(f"at step {step}. Add --resume to go on")
    for run in runs:
        finish(run, accelerator)


def save(
    run: Run, batches: Sequence[Batch], accelerator: Accelerator, args: argparse.Namespace
) -> None:
    """Writes what resuming needs."""
    places = positions(run.step - 1, accelerator, args)
    stop_if_weights_are_not_finite(run, batches, places)
    if accelerator.is_main_process:
        run.log.write()
        if args.tensorboard:
            run.log.show("composite, output, real", picture(run, batches[-1].sample, args.guided))
        keep(run.folder, run.parts(accelerator), run.step)


@torch.no_grad()
def picture(run: Run, sample: CompositeBatch, guided: bool) -> Tensor:
    """The first composites of a batch, what is made of them, and the real images, (3, H, W)."""
    run.model.eval()
    few = type(sample)(*(value[:SHOWN] for value in sample))
    rows = few.composite, run.model(*inputs(few, guided)).image, few.real
    run.model.train()
    return torch.cat([torch.cat(list(row), -1) for row in rows], -2).cpu()


def finish(run: Run, accelerator: Accelerator) -> None:
    """Saves the finished model; its average, if there is one, is the model to use."""
    model = accelerator.unwrap_model(run.generator.network, keep_fp32_wrapper=False)
    if accelerator.is_main_process:
        run.log.write()
        if run.average is not None:
            opmask.save(model, run.folder / "raw.safetensors")
            model = run.average.module
        opmask.save(model, run.folder / "model.safetensors")


def train_all(photos: Photos, accelerator: Accelerator, args: argparse.Namespace) -> None:
    """All models that are not finished; omgan after the others, as it starts from om."""
    unfinished = [name for name in args.model if not finished(name, args).exists()]
    for stage in (
        [n for n in unfinished if n != "omgan"],
        [n for n in unfinished if n == "omgan"],
    ):
        if stage:
            train([begin(name, accelerator, args) for name in stage], photos, accelerator, args)
        accelerator.wait_for_everyone()  # until the files are there


def finished(name: str, args: argparse.Namespace) -> Path:
    """Where a model lies when it is trained."""
    return args.out / name / "model.safetensors"


def main(args: argparse.Namespace, find_photos: Callable[[argparse.Namespace], Photos]) -> None:
    """Trains, evaluates and draws what the command line asks for."""
    accelerator = Accelerator(cpu=args.device == "cpu", mixed_precision=args.mixed_precision)
    photos = find_photos(args)
    args.accumulate = args.accumulate or accumulation(args, accelerator.num_processes)
    for name in args.model:
        starting_point(name, args)  # raises where there is none, before hours of training
    if accelerator.is_main_process:
        open_run(args.out, settings(photos, accelerator, args), resume=args.resume)
    accelerator.wait_for_everyone()
    with explained_memory(args):
        train_all(photos, accelerator, args)
        if accelerator.is_main_process:
            # Read again, so that all runs are scored alike: where weights lie in memory decides
            # in which order they are summed.
            files = {name: finished(name, args) for name in args.model}
            models = {n: opmask.load(f).to(accelerator.device) for n, f in files.items()}
            print(report(models, args, accelerator.device))
            print(f"The table, the picture (panel.png), curves and models are in {args.out}.")
    accelerator.end_training()
