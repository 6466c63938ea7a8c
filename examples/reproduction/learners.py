"""A model in training, and what goes with it: optimisers, averaged weights, discriminator, log.

recipe -> :func:`begin` -> ``Run``, new or at the step where it was interrupted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from opmask import PatchDiscriminator
from reproduction.networks import build, start_from
from reproduction.objective import Perceptual, perceptual_loss, term_names
from reproduction.recipes import RATES, Recipe
from reproduction.run_folder import Log, restore

RISE = 0.1001  # of all steps. Not 0.1: 10 steps would leave the rise no time, a division by zero


@dataclass
class Learner:
    """A network in training, its optimiser and its learning rates."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def step(self) -> None:
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()


@dataclass
class Run:
    """One model in training, and what goes with it.

    With several processes the network of a learner is a wrapper that exchanges gradients; `model`
    and `critic` are the networks inside.
    """

    name: str
    recipe: Recipe
    folder: Path
    log: Log
    model: nn.Module
    generator: Learner
    average: AveragedModel | None = None
    perceptual: Perceptual | None = None
    critic: nn.Module | None = None
    discriminator: Learner | None = None
    step: int = 0

    def parts(self, accelerator: Accelerator) -> dict[str, Any]:
        """All that a checkpoint holds besides the step, of which data and dropout follow."""
        parts = {"model": self.model, "average": self.average, "scaler": accelerator.scaler}
        parts |= {"optimizer": self.generator.optimizer, "schedule": self.generator.schedule}
        if self.discriminator is not None:
            parts["discriminator"] = self.critic
            parts["discriminator_optimizer"] = self.discriminator.optimizer
            parts["discriminator_schedule"] = self.discriminator.schedule
        return {name: part for name, part in parts.items() if part is not None}

    def networks(self) -> list[nn.Module]:
        return [network for network in (self.model, self.critic) if network is not None]


def learner(network: nn.Module, recipe: Recipe, accelerator: Accelerator) -> Learner:
    """A network with Adam, on its device and, with several processes, in step with its copies."""
    rate = recipe.lr or RATES[recipe.backbone]
    optimizer = torch.optim.Adam(network.parameters(), rate, betas=recipe.betas)
    schedules = torch.optim.lr_scheduler
    if recipe.milestones is None:
        schedule = schedules.OneCycleLR(optimizer, rate, total_steps=recipe.steps, pct_start=RISE)
    else:
        # Step m is the last before the rate falls, as in the published code.
        schedule = schedules.MultiStepLR(optimizer, list(recipe.milestones), recipe.gamma)
    return Learner(*accelerator.prepare(network, optimizer), schedule)


def make_average(model: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    """The moving average of a model's weights, which begins with those that it has now."""
    average = AveragedModel(model, device, multi_avg_fn=get_ema_multi_avg_fn(decay))
    average.n_averaged.fill_(1)  # else those after the first step would replace them
    return average


def starting_point(name: str, args: argparse.Namespace) -> Path | None:
    """The checkpoint to start from: that of --init, or the om of this run for omgan."""
    om = args.out / "om" / "model.safetensors"
    if name != "omgan" or (args.init is not None and "om" not in args.model):
        return args.init
    if "om" not in args.model and not om.exists():
        raise SystemExit(
            f"omgan starts from a trained om, but there is none in {args.out}. "
            "Add om to --model, or give its checkpoint as --init."
        )
    return om


def begin(name: str, accelerator: Accelerator, args: argparse.Namespace) -> Run:
    """A new model, or one at the step where it was interrupted."""
    recipe, folder, device = args.recipes[name], args.out / name, accelerator.device
    torch.manual_seed(args.seed)
    model = build(name, recipe, guided=args.guided).to(memory_format=torch.channels_last)
    average = make_average(model, recipe.ema, device) if recipe.ema else None
    if path := starting_point(name, args):
        start_from(path, model, average and average.module)
    if args.compile:
        model.compile()
    terms = term_names(recipe)
    columns = ("loss", "pixel", "change", *(terms if len(terms) > 1 else ()))
    log = Log(folder / "log.csv", columns)
    run = Run(name, recipe, folder, log, model, learner(model, recipe, accelerator), average)
    run.perceptual = perceptual_loss(recipe, args.weights, device)
    if recipe.adversarial:
        begin_discriminator(run, accelerator, args)
    if args.resume:
        run.step = restore(folder, run.parts(accelerator))
    run.log.read(run.step)
    if args.tensorboard and accelerator.is_main_process:
        run.log.open_board()
    return run


def begin_discriminator(run: Run, accelerator: Accelerator, args: argparse.Namespace) -> None:
    run.critic = PatchDiscriminator().to(memory_format=torch.channels_last)
    if args.compile:
        run.critic.compile()
    run.discriminator = learner(run.critic, run.recipe, accelerator)
    run.critic.requires_grad_(False)  # but for its own step
