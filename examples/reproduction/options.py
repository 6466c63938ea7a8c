"""The command line of the training scripts.

flags -> :func:`parse` -> the recipe of each model, with what was given in place of its own values.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from opmask.perturb import PRESETS
from reproduction.arguments import at_least, existing, positive, weight
from reproduction.objective import OF_MASKS, PERCEPTUAL
from reproduction.recipes import CHOICES, MODELS, RATES, SPACES, Family


def add_run(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--model", nargs="+", choices=CHOICES, default=MODELS)
    parser.add_argument("--guided", action="store_true", help="give the region to the models")
    parser.add_argument("--init", type=existing, help="a checkpoint to start from")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--workers", type=at_least(0), default=1, help="data loading processes")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="else what there is")
    parser.add_argument("--out", type=Path, default=Path(out), help=f"the run folder ({out})")
    parser.add_argument("--save-every", type=at_least(1), default=100, help="in steps (100)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--tensorboard", action="store_true", help="log for TensorBoard too")


def add_scale(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scale")
    group.add_argument("--mixed-precision", choices=["no", "bf16", "fp16"])
    help = "batches in a step; else as many as the recipe's images need"
    group.add_argument("--accumulate", type=at_least(1), help=help)
    group.add_argument("--compile", action="store_true", help="torch.compile the networks")


def add_recipe(parser: argparse.ArgumentParser, families: dict[str, Family]) -> None:
    """The fields of a recipe; without a default, as None says that the recipe's value holds."""
    group = parser.add_argument_group("recipe", "each of these overrides the recipe's value")
    group.add_argument("--recipe", choices=families, default="small")
    group.add_argument("--backbone", choices=RATES)
    group.add_argument("--steps", type=at_least(1))
    group.add_argument("--size", type=at_least(32), help="of the images, in pixels")
    group.add_argument("--batch-size", type=at_least(1), help="per process")
    group.add_argument("--perturb", choices=PRESETS, help="how composites are made")
    group.add_argument("--head", choices=["identity", "published"], help="where om starts")
    group.add_argument("--masks", choices=["add-mul", "add"], help="those of om")
    group.add_argument("--space", choices=SPACES, help="where images are compared")
    group.add_argument("--eps", type=positive, help="of the Charbonnier loss")
    group.add_argument("--perceptual", choices=PERCEPTUAL)
    group.add_argument("--weights", type=existing, help="the file of --perceptual's network")
    for flag in ("adversarial", "tv", "sparsity", "supervise-region", "supervise-masks"):
        group.add_argument(f"--{flag}", type=weight, metavar="W", help="the weight of this loss")
    group.add_argument("--ema", type=weight, metavar="DECAY", help="0: no averaged weights")
    group.add_argument("--lr", type=positive, help="the highest learning rate")
    group.add_argument("--betas", type=weight, nargs=2, help="Adam's")
    help = "the steps at which the rate is multiplied by --gamma; none: it stays"
    group.add_argument("--milestones", type=at_least(1), nargs="*", help=help)
    group.add_argument("--gamma", type=positive)


def parse(description: str, families: dict[str, Family], out: str) -> argparse.Namespace:
    """What was asked for; `recipes` has the recipe of each model."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=existing, help="root of the photos; else synthetic scenes")
    add_run(parser, out)
    add_scale(parser)
    add_recipe(parser, families)
    args = parser.parse_args()
    args.model = list(dict.fromkeys(args.model))  # each one once
    flags = vars(args)
    args.recipes = {m: families[args.recipe][m].with_flags(flags) for m in args.model}
    check(parser, args)
    first = args.recipes[args.model[0]]
    args.size, args.batch_size = first.size, first.batch_size
    return args


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuses what does not go together, before any work is done."""
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a CUDA device, but PyTorch finds none.")
    if args.mixed_precision == "fp16" and (args.device == "cpu" or not torch.cuda.is_available()):
        parser.error("--mixed-precision fp16 needs a CUDA device. On a CPU there is bf16.")
    if args.ema is not None and args.ema >= 1:
        parser.error(f"--ema must be below 1, got {args.ema}.")
    for name, recipe in args.recipes.items():
        if name == "omgan" and not recipe.adversarial:
            parser.error("--adversarial must be above 0 for the model omgan.")
        if recipe.supervise_masks and recipe.perturb != "default":
            parser.error("--supervise-masks needs --perturb default, which keeps label maps.")
        if name == "rgb" and any(getattr(recipe, term) for term in OF_MASKS):
            flags = ", ".join(f"--{term.replace('_', '-')}" for term in OF_MASKS)
            parser.error(f"{flags} are losses of masks, and the model rgb has none.")
