"""A run from its beginning to its end, with one process or many: all steps of all models.

a task (`tasks.py`) -> :func:`begin` its models -> :func:`train`, step by step (`train.py`) ->
checkpoints and log -> :func:`finish` -> table and pictures (`report.py`)
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

import opmask
from opmask import DomainVerificationDiscriminator, PatchDiscriminator
from opmask.datasets import Photos
from opmask.perturb import CompositeBatch
from reproduction.checkpoint import (
    Interrupt,
    Log,
    describe_run,
    load_state,
    open_run,
    save_state,
)
from reproduction.data import (
    Batch,
    Share,
    share_steps,
)
from reproduction.networks import (
    build,
    build_perceptual_loss,
    draw_weights,
    start_from,
    starting_point,
    trained,
)
from reproduction.recipes import RATES, Options, Recipe
from reproduction.tasks import Task, of_composites
from reproduction.train import (
    Learner,
    Run,
    advance,
    advice,
    describe_batches,
    inputs_of,
    term_names,
)

RISE = 0.1001  # of all steps. Not 0.1: 10 steps would leave the rise no time, a division by zero
SLOW = 3  # times the median: a step that takes as long is called slow
SHOWN = 4  # composites in a picture for TensorBoard

# --- the beginning ---


def begin(
    name: str,
    recipe: Recipe,
    share: Share,
    accelerator: Accelerator,
    options: Options,
    build: Callable[..., nn.Module] = build,
) -> Run:
    """A new model, or one at the step where it was interrupted."""
    folder, device = options.out / name, accelerator.device
    torch.manual_seed(options.seed)
    model = build(name, recipe, guided=options.guided).to(memory_format=torch.channels_last)
    average = make_average(model, recipe.ema, device) if recipe.ema else None
    if path := starting_point(name, options):
        start_from(path, model, average and average.module)
    if options.compile:
        model.compile()
    terms = term_names(recipe)
    columns = ("loss", "pixel", "change", *(terms if len(terms) > 1 else ()))
    log, generator = Log(folder / "log.csv", columns), make_learner(model, recipe, accelerator)
    run = Run(name, recipe, folder, options.seed, share, log, model, generator, average)
    run.perceptual = build_perceptual_loss(recipe.perceptual, options.weights, device)
    if recipe.adversarial:
        begin_discriminator(run, accelerator, compile=options.compile)
    if options.resume:
        run.step = load_state(folder, run.parts(accelerator))
    run.log.read(run.step)
    if options.tensorboard and accelerator.is_main_process:
        run.log.open_board()
    return run


def begin_discriminator(run: Run, accelerator: Accelerator, *, compile: bool) -> None:
    run.critic = build_critic(run.recipe).to(memory_format=torch.channels_last)
    if compile:
        run.critic.compile()
    run.discriminator = make_learner(run.critic, run.recipe, accelerator)
    run.critic.requires_grad_(False)  # but for its own step


def build_critic(recipe: Recipe) -> nn.Module:
    """One of CRITICS; DoveNet's is as deep as the size allows, at 256 px as published."""
    if recipe.critic == "patch":
        return PatchDiscriminator()
    depth = min(6, int(math.log2(recipe.size + 1)) - 2)
    critic = DomainVerificationDiscriminator(width=recipe.critic_width, depth=depth)
    return critic.apply(draw_weights) if recipe.drawn else critic


def make_learner(network: nn.Module, recipe: Recipe, accelerator: Accelerator) -> Learner:
    """A network with Adam, on its device and, with several processes, in step with its copies."""
    rate = recipe.lr or RATES[recipe.backbone]
    optimizer = torch.optim.Adam(network.parameters(), rate, betas=recipe.betas)
    schedule = make_schedule(optimizer, recipe, rate)
    return Learner(*accelerator.prepare(network, optimizer), schedule)


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, rate: float
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate at each step."""
    schedules = torch.optim.lr_scheduler
    if recipe.fade:
        fall = round(recipe.fade * recipe.steps) + 1
        return schedules.LambdaLR(optimizer, lambda step: min(1, (recipe.steps - step) / fall))
    if recipe.milestones is None:
        return schedules.OneCycleLR(optimizer, rate, total_steps=recipe.steps, pct_start=RISE)
    # Step m is the last before the rate falls, as in the published code.
    return schedules.MultiStepLR(optimizer, list(recipe.milestones), recipe.gamma)


def make_average(model: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    """The moving average of a model's weights, which begins with those that it has now."""
    average = AveragedModel(model, device, multi_avg_fn=get_ema_multi_avg_fn(decay))
    average.n_averaged.fill_(1)  # else those after the first step would replace them
    return average


# --- all steps ---


def train(runs: list[Run], task: Task, accelerator: Accelerator, options: Options) -> None:
    """Trains models side by side, and saves them."""
    main, first = accelerator.is_main_process, min(run.step for run in runs)
    steps = range(first, runs[0].recipe.steps)
    recipes = {run.name: run.recipe for run in runs}
    read = task.read(recipes, steps, runs[0].share, accelerator.device)
    progress = tqdm(read, "train", steps.stop, initial=first, disable=not main)
    with Interrupt() as interrupt, progress:
        for step, batches in enumerate(timed(progress), first + 1):
            for run in runs:
                if run.step < step:  # one may have been saved a moment before the others
                    advance(run, batches[run.name], accelerator)
            stop = interrupt.asked_anywhere(accelerator)
            if stop or step % options.save_every == 0:
                for run in runs:
                    save(run, batches[run.name], accelerator)
            if stop:
                raise KeyboardInterrupt(f"at step {step}. Add --resume to go on")
    for run in runs:
        finish(run, accelerator)


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


def save(run: Run, batches: Sequence[Batch], accelerator: Accelerator) -> None:
    """Writes what resuming needs."""
    stop_if_weights_are_not_finite(run, batches)
    if accelerator.is_main_process:
        run.log.write()
        if run.log.board is not None:
            run.log.show("composite, output, real", picture(run.model, batches[-1][0]))
        save_state(run.folder, run.parts(accelerator), run.step)


def stop_if_weights_are_not_finite(run: Run, batches: Sequence[Batch]) -> None:
    """Ends the run before such weights replace the last good checkpoint."""
    networks = [network for network in (run.model, run.critic) if network is not None]
    tensors = (tensor for network in networks for tensor in network.state_dict().values())
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise SystemExit(
            f"The weights of {run.name} are not finite after step {run.step}. The last batch: "
            f"{describe_batches(run, batches)}. {advice(run)}"
        )


@torch.no_grad()
def picture(model: nn.Module, batch: CompositeBatch) -> Tensor:
    """The first composites of a batch, what is made of them, and the real images, (3, H, W)."""
    model.eval()
    few = CompositeBatch(*(part[:SHOWN] for part in batch))
    rows = few.composite, model(*inputs_of(model, few)).image, few.real
    model.train()
    return torch.cat([torch.cat(list(row), -1) for row in rows], -2).cpu()


# --- the end ---


def finish(run: Run, accelerator: Accelerator) -> None:
    """Saves the finished model; its average, if there is one, is the model to use."""
    model = accelerator.unwrap_model(run.generator.network, keep_fp32_wrapper=False)
    if accelerator.is_main_process:
        run.log.write()
        if run.average is not None:
            opmask.save(model, run.folder / "raw.safetensors")
            model = run.average.module
        opmask.save(model, run.folder / "model.safetensors")


def stages_of(recipes: Mapping[str, Recipe], shares: Mapping[str, Share]) -> list[list[str]]:
    """The models that train side by side: as many steps, of as many images.

    omgan comes after the others, as it starts from om.
    """
    stages: dict[object, list[str]] = {}
    for name in sorted(recipes, key=lambda name: name == "omgan"):
        kind = name == "omgan", recipes[name].steps, shares[name]
        stages.setdefault(kind, []).append(name)
    return list(stages.values())


def train_all(
    task: Task,
    recipes: Mapping[str, Recipe],
    shares: Mapping[str, Share],
    accelerator: Accelerator,
    options: Options,
) -> None:
    """All models that are not finished."""
    for stage in stages_of(recipes, shares):
        unfinished = [name for name in stage if not trained(options.out, name).exists()]
        if unfinished:
            given = accelerator, options, task.build
            runs = [begin(name, recipes[name], shares[name], *given) for name in unfinished]
            train(runs, task, accelerator, options)
        accelerator.wait_for_everyone()  # until the files are there


def main(photos: Photos, recipes: Mapping[str, Recipe], options: Options) -> None:
    """Trains models on composites of photos, and scores them."""
    run(of_composites(photos, recipes, options), recipes, options)


def run(task: Task, recipes: Mapping[str, Recipe], options: Options) -> None:
    """Trains, evaluates and draws what the command line asks for."""
    accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision=options.mixed_precision)
    place = accelerator.process_index, accelerator.num_processes
    shares = {n: share_steps(recipe, options.accumulate, *place) for n, recipe in recipes.items()}
    for name in recipes:
        starting_point(name, options)  # raises where there is none, before hours of training
    if accelerator.is_main_process:
        precision = accelerator.mixed_precision
        settings = describe_run(task.photos, recipes, options, shares, precision)
        open_run(options.out, settings, resume=options.resume)
        task.prepare()
    accelerator.wait_for_everyone()
    with explained_memory(next(iter(recipes.values()))):
        train_all(task, recipes, shares, accelerator, options)
        if accelerator.is_main_process:
            # Read again, so that all runs are scored alike: where weights lie in memory decides
            # in which order they are summed.
            files = {name: trained(options.out, name) for name in recipes}
            models = {n: opmask.load(f).to(accelerator.device) for n, f in files.items()}
            print(task.report(models, accelerator.device))
            print(f"The table, the picture (panel.png), curves and models are in {options.out}.")
    accelerator.end_training()


@contextmanager
def explained_memory(recipe: Recipe) -> Iterator[None]:
    """Says which flag to lower when memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SystemExit(
            f"Out of memory with --batch-size {recipe.batch_size} and --size {recipe.size}. Lower "
            "--batch-size (raise --accumulate by the same factor, and a step has as many images "
            "as before), or --size, or try --mixed-precision bf16. "
            f"({(str(error) or 'MemoryError').splitlines()[0]})"
        ) from error


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Of a GPU or of Python, which have errors of their own, or of PyTorch on a CPU."""
    kinds, texts = (torch.OutOfMemoryError, MemoryError), ("not enough memory", "can't allocate")
    return isinstance(error, kinds) or any(text in str(error) for text in texts)
