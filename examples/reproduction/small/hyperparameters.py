"""How a model for photos is trained: hyperparameters, options, and the flags that change them."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import torch

from reproduction.flags import (
    add_flags,
    at_least,
    available_device,
    existing,
    flag,
    given,
    positive,
    share,
    weight,
)
from reproduction.small.batches import Mix


@dataclass(frozen=True)
class Hyperparameters:
    """How the model is trained; each field is a flag, or a group of them."""

    finding: int = flag(
        1500, "steps in which the finder alone learns, before the others", type=at_least(0)
    )
    steps: int = flag(8000, "how many steps for all else", type=at_least(1))
    alone: float = flag(
        0.6,
        "the share of these steps, the first, in which the finder is not asked, which is faster",
        type=share,
    )
    batch_size: int = flag(32, "composites in a step of up to 128 px", type=at_least(1))
    sizes: tuple[int, ...] = flag(
        (64, 96, 128),
        "height and width of the images, in pixels, one after the other",
        type=at_least(16),
        nargs="*",
    )
    until: tuple[float, ...] = flag(
        (0.6, 0.8, 0.92),
        "the share of the steps after which each size ends",
        type=share,
        nargs="*",
    )
    last: tuple[int, ...] = flag(
        (96, 128, 192, 256),
        "sizes of the steps that remain, in turn; larger ones with fewer images",
        type=at_least(16),
        nargs="+",
    )
    scenes: int = flag(200, "synthetic scenes beside the photographs", type=at_least(0))
    trunk: str = flag(
        "lite0", "whose features the network also gets", choices=("lite0", "alexnet", "none")
    )
    width: int = flag(32, "the width of RegionUNet, a multiple of 4", type=at_least(4))
    lr: float = flag(
        2e-3,
        "AdamW's highest learning rate, after a short rise; then it falls to 0 along a cosine",
        type=positive,
    )
    matrix_lr: float = flag(0.02, "Muon's, for matrices", type=positive)
    decay: float = flag(1e-3, "AdamW's weight decay", type=weight)
    ema: float = flag(0.998, "the decay of the averaged weights", type=share)
    eps: float = flag(0.05, "of the Charbonnier loss, in units of RGB in [0, 1]", type=positive)
    inside: float = flag(0.5, "the weight of the loss inside the region, once more", type=weight)
    gate: float = flag(0.08, "the weight of what the gate says of the region", type=weight)
    refined: float = flag(
        0.25, "the share of rough regions that are refined by the gate first", type=share
    )
    relative: float = flag(
        0.02, "the weight of the logarithm of the error of each region", type=weight
    )
    mix: Mix = field(default_factory=Mix)

    def __post_init__(self) -> None:
        if len(self.until) not in (len(self.sizes), len(self.sizes) - 1):
            raise ValueError(
                "'--until' must say of each of '--sizes' when it ends, of the last one only if "
                f"'--last' follows, got {len(self.until)} for {len(self.sizes)}."
            )
        if any(a >= b for a, b in pairwise(self.until)):
            raise ValueError(f"'--until' must ascend, got {self.until}.")
        if self.finding and self.trunk == "none":
            raise ValueError("'--finding' must be 0 with '--trunk none': a finder needs features.")
        if not sum(self.mix.prompts):
            raise ValueError("'--prompts' must hold a share above 0, got zeros alone.")

    def shape(self, step: int) -> tuple[int, int]:
        """How many composites a step has, and their height and width, in pixels.

        Large ones are so many as take the time of a batch of 128 px.
        """
        phase = sum(step / self.steps >= share for share in self.until)
        size = self.sizes[phase] if phase < len(self.sizes) else self.last[step % len(self.last)]
        return max(1, round(self.batch_size * min(1.0, (128 / size) ** 2))), size


def rate(step: int, steps: int) -> float:
    """The learning rate, as a share of the highest: it rises fast, and falls along a cosine."""
    return min(1.0, (step + 1) / 100) * (1 + math.cos(math.pi * step / steps)) / 2


@dataclass(frozen=True)
class Options:
    """What a run is asked for besides its hyperparameters; each field is a flag."""

    data: Path = flag(Path(), "root of the listed photographs", type=existing, required=True)
    out: Path = flag(Path("runs/small"), "the run folder (runs/small)", type=Path)
    photos: Path | None = flag(None, "where the small copies are; else OUT/photos", type=Path)
    clear: bool = flag(False, "licence-clear photographs alone", action="store_true")
    weights: Path | None = flag(None, "of the trunk; lite0's come in a package", type=existing)
    seed: int = flag(0, type=at_least(0))
    device: str = flag(
        "cuda" if torch.cuda.is_available() else "cpu", "else what there is", type=available_device
    )
    compile: bool = flag(False, "compile the network, on a GPU", action="store_true")
    workers: int = flag(os.cpu_count() or 1, "to make photos small", type=at_least(0))
    save_every: int = flag(250, "in steps (250)", type=at_least(1))
    validate_every: int = flag(1000, "in steps (1000)", type=at_least(1))
    resume: bool = flag(False, "go on where the run in --out was", action="store_true")


def parse(description: str) -> tuple[Options, Hyperparameters]:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=description)
    add_flags(parser, Options, "the run")
    add_flags(parser, Hyperparameters, "hyperparameters")
    add_flags(parser, Mix, "what a batch holds")
    args = parser.parse_args()
    mix = Mix(**given(args, Mix))
    try:
        hyperparameters = Hyperparameters(**given(args, Hyperparameters), mix=mix)
    except ValueError as error:
        parser.error(str(error))
    options = Options(**given(args, Options))
    if hyperparameters.trunk == "alexnet" and options.weights is None:
        parser.error("'--trunk alexnet' must come with --weights: torchvision's file of AlexNet.")
    return options, hyperparameters
