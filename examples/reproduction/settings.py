"""What makes a run the run that it is: with other settings it cannot be resumed.

args, photos, processes -> :func:`settings` -> `settings.json` of the run folder.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from hashlib import sha256

from accelerate import Accelerator
from torch.utils.data import Subset

from opmask.datasets import Photos


def accumulation(args: argparse.Namespace, processes: int) -> int:
    """How many batches a step needs for the images of the recipe."""
    images, together = args.recipes[args.model[0]].batch, processes * args.batch_size
    if images % together:
        raise SystemExit(
            f"A step of --recipe {args.recipe} has {images} images, which cannot be shared by "
            f"{processes} processes with --batch-size {args.batch_size}. Change one of these, or "
            "say with --accumulate how many batches a step has."
        )
    return max(1, images // together)


def settings(photos: Photos, accelerator: Accelerator, args: argparse.Namespace) -> dict[str, str]:
    """All that decides what is trained; the recipes' values by model."""
    processes = accelerator.num_processes
    values = {
        "data": args.data,
        "photos": describe_photos(photos),
        "guided": args.guided,
        "seed": args.seed,
        "init": args.init,
        "processes": processes,
        "images in a step": processes * args.batch_size * args.accumulate,
        "mixed precision": accelerator.mixed_precision,
    }
    for model, recipe in args.recipes.items():
        fields = asdict(recipe)
        del fields["batch_size"], fields["batch"]  # how the images of a step are shared
        values |= {f"{name} of {model}": value for name, value in fields.items()}
    return {name: str(value) for name, value in values.items()}


def describe_photos(photos: Photos) -> str:
    """Their number and, for files, a checksum of their names in order, wherever they lie."""
    if not isinstance(photos, Subset):
        return f"{len(photos)} synthetic"
    names = "\n".join(photos.dataset.pairs[index][0].name for index in photos.indices)
    return f"{len(photos)}, checksum of names {sha256(names.encode()).hexdigest()[:16]}"
