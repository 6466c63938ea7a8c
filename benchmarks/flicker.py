"""How much do masks flicker in a clip, and what does smoothing them over time cost?

A window pans over one photo of which regions were changed, with new noise in each frame, so that
it is known what a frame should become: the same window of the real photo, with the same noise.
Flicker is the mean change of the masks as they act from one frame to the next, at the size of the
frames, with the pan taken out. Flicker and MSE are over those of frame by frame; so is the MSE of
the worst frame. The last column is the share of frames whose MSE is more than 3 % above.

    python benchmarks/flicker.py --data ../data/scenes
    python benchmarks/flicker.py
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

import opmask
from opmask import OperatorMaskWrapper
from opmask.datasets import ADE20K, Composites, SyntheticScenes
from opmask.inference.video import Moment, named_masks, smooth_masks
from opmask.markdown import markdown_row, markdown_table
from opmask.perturb import Composite, Perturber
from opmask.retouch.pixels import Enlarged, shrink_photo

HEADINGS = (
    "region",
    "pan (pixels a frame)",
    "noise",
    "lag",
    "flicker",
    "MSE",
    "worst frame",
    "above 3 %",
)
PANS = ((0, 2.0), (1, 2.0), (2, 2.0), (4, 2.0), (4, 0.0))
"""Steps in pixels of a frame, and the deviation of the noise in levels of 255."""


class Frame(NamedTuple):
    """A frame of a clip, what it should become, and its masks."""

    stored: Tensor
    real: Tensor
    moment: Moment


class Figures(NamedTuple):
    """The flicker of a clip, and the MSE of each of its frames."""

    flicker: float
    errors: Tensor


def pan(
    model: OperatorMaskWrapper, scene: Composite, step: int, noise: float, count: int, told: bool
) -> list[Frame]:
    widest = max(step for step, _ in PANS) * (count - 1)
    width = scene.composite.shape[2] - widest
    generator = torch.Generator().manual_seed(0)
    frames = []
    for x in range(0, step * count, step) if step else [0] * count:
        place = slice(x, x + width)
        grain = noise / 255 * torch.randn(3, scene.real.shape[1], width, generator=generator)
        stored, real = (
            ((image[..., place] + grain).clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
            for image in (scene.composite, scene.real)
        )
        region = scene.region[..., place] if told else None
        edit = opmask.plan(model, stored.permute(2, 0, 1), region=region)
        masks = torch.cat([*edit.masks(effective=True).values()], 1)
        frames.append(Frame(stored, real, Moment(shrink_photo(stored, edit.size), masks)))
    return frames


def measure(
    model: OperatorMaskWrapper, frames: list[Frame], step: int, lag: int, told: bool
) -> Figures:
    identity = model.retoucher.identity(torch.zeros(1, 3, 1, 1))
    gates = model.retoucher.gates
    own = torch.cat([mask for name, mask in identity.items() if name not in gates], 1)
    moments = (frame.moment for frame in frames)
    smoothed = [*smooth_masks(moments, lag=lag, confined=own if told else None)]
    size = frames[0].stored.shape[:2]
    large = (Enlarged(masks, size)[:] for masks in smoothed)
    changes = [
        (before[..., step:] - after[..., : size[1] - step]).abs().mean()
        for before, after in pairwise(large)
    ]
    errors = []
    for frame, masks in zip(frames, smoothed, strict=True):
        result = model.retoucher.apply_(frame.stored.clone(), named_masks(model.retoucher, masks))
        errors.append((result.float() - frame.real.float()).square().mean())
    return Figures(float(torch.stack(changes).mean()), torch.stack(errors))


def scenes(data: Path | None, count: int) -> Iterator[Composite]:
    photos = SyntheticScenes(count, size=384) if data is None else ADE20K(data, "validation")
    composites = Composites(photos, Perturber(), seed=0)
    return (composites[i * len(composites) // count] for i in range(count))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="photos, as ADE20K; default: drawn scenes")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--lags", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    model = opmask.load()
    chosen = [*scenes(args.data, args.photos)]
    print(markdown_table(HEADINGS))
    for told in (False, True):
        for step, noise in PANS:
            figures: dict[int, list[Figures]] = {lag: [] for lag in (0, *args.lags)}
            for scene in tqdm(chosen, leave=False, disable=None):
                frames = pan(model, scene, step, noise, args.frames, told)
                for lag, found in figures.items():
                    found.append(measure(model, frames, step, lag, told))
            for lag in args.lags:
                pairs = [*zip(figures[lag], figures[0], strict=True)]
                flicker = sum(a.flicker for a, _ in pairs) / sum(b.flicker for _, b in pairs)
                error = sum(a.errors.sum() for a, _ in pairs) / sum(
                    b.errors.sum() for _, b in pairs
                )
                ratios = torch.cat([a.errors / b.errors for a, b in pairs])
                what = ("given" if told else "found", step, f"{noise:g}", lag)
                cells = [
                    *map(str, what),
                    f"{flicker:.2f}",
                    f"{error:.3f}",
                    f"{ratios.max():.3f}",
                    f"{(ratios > 1.03).float().mean():.0%}",
                ]
                print(markdown_row(cells), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
