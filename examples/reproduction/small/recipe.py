"""How a model for photos is trained: the recipe, and the command line that may change it."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch

from reproduction.small.batches import Mix


@dataclass(frozen=True)
class Recipe:
    """How it is trained; each field is a flag.

    Args:
        steps: How many steps.
        batch_size: Composites in a step.
        sizes: Height and width of the images, in pixels, one after the other.
        until: The share of the steps after which each size but the last one ends.
        scenes: How many synthetic scenes are added to the photographs.
        width: That of :class:`opmask.backbones.RegionUNet`.
        lr: AdamW's highest learning rate, after a short rise; then it falls to 0 along a cosine.
        matrix_lr: That of matrices, see :class:`small.muon.Muon`.
        decay: AdamW's weight decay.
        ema: The decay of the averaged weights.
        eps: That of the Charbonnier loss, in units of RGB in [0, 1].
        inside: The weight of the loss inside the region, once more.
        gate: The weight of what the gate says about the region.
        perceptual: The weight of LPIPS (AlexNet).
    """

    steps: int = 7000
    batch_size: int = 32
    sizes: tuple[int, ...] = (64, 96, 128)
    until: tuple[float, ...] = (0.4, 0.8)
    scenes: int = 200
    width: int = 24
    lr: float = 2e-3
    matrix_lr: float = 0.02
    decay: float = 1e-3
    ema: float = 0.998
    eps: float = 0.05
    inside: float = 0.5
    gate: float = 0.05
    perceptual: float = 0.0
    mix: Mix = field(default_factory=Mix)

    def size(self, step: int) -> int:
        return self.sizes[sum(step / self.steps >= share for share in self.until)]

    def rate(self, step: int) -> float:
        """The learning rate, as a share of the highest."""
        return min(1.0, (step + 1) / 100) * (1 + math.cos(math.pi * step / self.steps)) / 2


def parse(description: str) -> argparse.Namespace:
    """The command line, with the recipe as `args.recipe`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="root of the listed photographs")
    parser.add_argument("--out", type=Path, default=Path("runs/small"), help="the run folder")
    parser.add_argument("--photos", type=Path, help="where the small copies are; else OUT/photos")
    parser.add_argument("--clear", action="store_true", help="licence-clear photographs alone")
    parser.add_argument("--weights", type=Path, help="AlexNet's, as torchvision's; else none")
    for f in fields(Recipe):
        if f.name != "mix":
            several = f.name in ("sizes", "until")
            kind = {"sizes": int, "until": float}.get(f.name, type(f.default))
            flag = "--" + f.name.replace("_", "-")
            parser.add_argument(flag, type=kind, nargs="*" if several else None, default=f.default)
    parser.add_argument("--seed", type=int, default=0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device)
    parser.add_argument("--compile", action="store_true", help="compile the network, on a GPU")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="to make photos small")
    parser.add_argument("--save-every", type=int, default=250)
    parser.add_argument("--look-every", type=int, default=1000)
    parser.add_argument("--resume", action="store_true", help="go on where the run in --out was")
    args = parser.parse_args()
    given = {f.name: getattr(args, f.name) for f in fields(Recipe) if f.name != "mix"}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    args.recipe = Recipe(**values)
    return args
