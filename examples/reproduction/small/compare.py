"""Compare models for photos at equal harm: blind, a model that does less also harms less.

    PYTHONPATH=examples python -m reproduction.small.compare RUN RUN --photos RUN/photos/validation

Each model gets one strength for all images: that at which untouched photos come back with the MSE
`--harm`. The table holds that strength, with what is left at it of the composites' MSE and the
gain in PSNR when nothing is given; and the same given the exact region, at full strength.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import opmask
from opmask import OperatorMaskWrapper
from opmask.markdown import markdown_row, markdown_table
from reproduction.flags import add_every
from reproduction.small.network import fast_precision
from reproduction.small.pool import Packed
from reproduction.small.scoring import psnr, scenes, squared_error

STRENGTHS = tuple(np.linspace(0, 2, 11).tolist())


class Curve(NamedTuple):
    """The MSE of each image at each strength (images, strengths), in levels of 255."""

    harm: np.ndarray
    blind: np.ndarray
    guided: np.ndarray


def errors(
    model: OperatorMaskWrapper, image: Tensor, real: Tensor, masks: dict[str, Tensor]
) -> Tensor:
    """The MSE of each image at each strength, (B, S)."""
    edited = (model.retoucher.edit(masks, strength=strength) for strength in STRENGTHS)
    return torch.stack([squared_error(model.retoucher(image, m), real) for m in edited], 1)


@torch.no_grad()
def curve(model: OperatorMaskWrapper, photos: Packed, size: int) -> Curve:
    """What a model does with photos and their composites at each strength."""
    found: list[list[Tensor]] = []
    for scene in tqdm(scenes(photos, ("exact",)), "compare", leave=False, disable=None):
        made = scene.made
        tried = (made.real, None), (made.composite, None), (made.composite, scene.prompts["exact"])
        with fast_precision("cpu"):
            masks = [model.predict(image, prompt, size=size) for image, prompt in tried]
        pairs = zip(tried, masks, strict=True)
        found.append([errors(model, image, made.real, m) for (image, _), m in pairs])
    return Curve(*(torch.cat(parts).numpy() for parts in zip(*found, strict=True)))


def strength_at(harm: np.ndarray, wanted: float) -> float:
    """The strength at which the mean harm is as wanted, the largest tried where it stays below."""
    means = np.maximum.accumulate(harm.mean(0))
    return float(np.interp(wanted, means, STRENGTHS))


def at(table: np.ndarray, strength: float) -> np.ndarray:
    """The errors of all images at a strength."""
    return np.array([np.interp(strength, STRENGTHS, row) for row in table])


def line(name: str, found: Curve, harm: float) -> str:
    """A row of the table."""
    before, strength = found.blind[:, 0], strength_at(found.harm, harm)
    cells = [name, f"{strength:.2f}", f"{at(found.harm, strength).mean():.2f}"]
    for table, used in ((found.blind, strength), (found.guided, 1.0)):
        after = at(table, used)
        gained = (psnr(after) - psnr(before)).mean()
        cells += [f"{after.sum() / before.sum():.3f}", f"{gained:+.2f}"]
    return markdown_row(cells)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run folders of train_small.py")
    parser.add_argument("--photos", type=Path, required=True, help="packed photos of one split")
    parser.add_argument("--size", type=int, default=128, help="at which masks are predicted")
    parser.add_argument("--harm", type=float, default=3.0, help="MSE of untouched photos")
    add_every(parser)
    args = parser.parse_args(arguments)
    photos = Packed(args.photos)
    photos = photos.subset(range(0, len(photos), args.every))
    titles = "run", "strength", "harm", "blind: MSE left", "dB", "guided: MSE left", "dB"
    print(markdown_table(titles))
    for run in args.runs:
        model = opmask.load(run / "model.safetensors")
        print(line(run.name, curve(model, photos, args.size), args.harm), flush=True)


if __name__ == "__main__":
    launch.run(main)
