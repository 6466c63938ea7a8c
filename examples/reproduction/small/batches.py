"""Training batches for a model that may be given the region.

Every batch depends on one integer alone, and is made on the device that the photos are on:

packed photos -> crop, flip, colours -> composites -> region prompts -> `Batch`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from tqdm import tqdm

from opmask.color import to_levels
from opmask.datasets import REGION_PROMPTS, SyntheticScenes, region_prompt
from opmask.perturb import (
    DEFAULT,
    JPEG,
    LIFELIKE,
    CompositeBatch,
    Degradation,
    GaussianNoise,
    Perturber,
)
from opmask.perturb.degrade import degrade
from opmask.perturb.sample import join
from reproduction.flags import flag, share
from reproduction.small.pool import Packed, listed

SCENES = 1  # the seed of the synthetic ones


@dataclass(frozen=True)
class Mix:
    """How often a batch holds what; shares in [0, 1].

    Args:
        prompts: The kinds of region prompts, in the order of REGION_PROMPTS.
        untouched: Photos that nobody changed. They teach when to do nothing.
        lifelike: Composites as `LIFELIKE` draws them; the rest are as in `DEFAULT`.
        treated: Composites that were then compressed, resampled or made noisy as a whole, as real
            ones are.
        colors: Photos whose own colours are varied.
    """

    prompts: tuple[float, ...] = flag(
        (0.2, 0.35, 0.15, 0.2, 0.1),
        f"shares of the region prompts: {', '.join(REGION_PROMPTS)}",
        type=share,
        nargs=len(REGION_PROMPTS),
    )
    untouched: float = flag(0.1, "the share of photos that nobody changed", type=share)
    lifelike: float = flag(0.6, "of composites as in life; the rest are filters", type=share)
    treated: float = flag(0.25, "of composites that are compressed as a whole", type=share)
    colors: float = flag(0.7, "of photos whose own colours are varied", type=share)


class Batch(NamedTuple):
    """Composites (B, 3, H, W), what they were, where changed (B, 1, H, W), and region prompts."""

    composite: Tensor
    real: Tensor
    region: Tensor
    prompt: Tensor


def usable(photos: Packed, clear: bool) -> list[int]:
    """The places of the photos to train on, those without a label left out."""
    allowed = {files.image for files in listed("train", clear=clear)}
    pairs = zip(photos.names, photos.labelled.tolist(), strict=True)
    return [place for place, (name, some) in enumerate(pairs) if some and name in allowed]


def gather(photos: Packed, scenes: int, *, clear: bool) -> Packed:
    """The photos to train on and some synthetic scenes, in memory, as each is read many times."""
    found = photos.subset(usable(photos, clear))
    if scenes:
        made = SyntheticScenes(scenes, size=found.images.shape[-1], seed=SCENES)
        progress = tqdm(range(scenes), "scenes", leave=False, disable=None)
        images, labels, names = zip(*(made[place] for place in progress), strict=True)
        found.images = torch.cat([found.images, torch.stack(images)])
        found.labels = torch.cat([found.labels, torch.stack(labels).byte()])
        found.names += names
    return found


def make_batch(images: Tensor, label_maps: Tensor, size: int, mix: Mix, seed: int) -> Batch:
    """Composites of packed photos (B, 3, S, S), `uint8`, with label maps (B, S, S)."""
    generator = torch.Generator().manual_seed(seed)
    count = len(images)
    images, label_maps = crop(images, label_maps, size, generator)
    images = torch.where(
        chance(mix.colors, count, generator).to(images.device)[:, None, None, None],
        vary_colors(images, generator),
        images,
    )
    empty = ~label_maps.flatten(1).any(1)  # cut away; such a photo stays untouched
    label_maps[empty] = 1
    seeds = torch.randint(2**40, (count,), generator=generator)
    made = change(images, label_maps, seeds, round(mix.lifelike * count))
    regions = torch.stack([a.region_map(m) for a, m in zip(made.applied, label_maps, strict=True)])
    places = torch.multinomial(torch.tensor(mix.prompts), count, True, generator=generator)
    prompt = region_prompt(regions, [REGION_PROMPTS[i] for i in places], generator=generator)
    untouched = chance(mix.untouched, count, generator).to(empty.device) | empty
    return leave_untouched(
        treat(made.composite, mix.treated, generator), made, prompt, untouched, generator
    )


def change(images: Tensor, label_maps: Tensor, seeds: Tensor, lifelike: int) -> CompositeBatch:
    """Composites, the first of them as in life."""
    first, rest = slice(lifelike), slice(lifelike, None)
    return join(
        [
            Perturber(settings)(images[some], label_maps[some], seeds[some])
            for settings, some in ((LIFELIKE, first), (DEFAULT, rest))
            if len(seeds[some])
        ]
    )


def leave_untouched(
    composite: Tensor,
    made: CompositeBatch,
    prompt: Tensor,
    untouched: Tensor,
    generator: Generator,
) -> Batch:
    """Some photos are not changed after all; of those the region is mostly unknown."""
    pick = untouched[:, None, None, None]
    drawn = torch.rand(len(prompt), generator=generator).to(prompt.device)[:, None, None, None]
    nothing = torch.where(drawn < 0.7, -1.0, torch.where(drawn < 0.8, 0.0, prompt))
    return Batch(
        torch.where(pick, made.real, composite),
        made.real,
        torch.where(pick, 0.0, made.region),
        torch.where(pick, nothing, prompt),
    )


def chance(share: float, count: int, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share


def uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def crop(
    images: Tensor, label_maps: Tensor, size: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """A random piece of each photo, 60 to 100 % of its sides, half of the time mirrored."""
    count = len(images)
    height = uniform(0.6, 1.0, count, generator)
    width = (height * uniform(0.8, 1.25, count, generator)).clamp(0.6, 1.0)
    shifts = [(1 - side) * uniform(-1, 1, count, generator) for side in (width, height)]
    flip = torch.where(chance(0.5, count, generator), -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width * flip, height
    theta[:, 0, 2], theta[:, 1, 2] = shifts
    theta = theta.to(images.device)
    # Sampled twice as densely and averaged, against aliasing.
    grid = F.affine_grid(theta, [count, 3, 2 * size, 2 * size], align_corners=False)
    dense = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    small = F.avg_pool2d(dense, 2).round().clamp(0, 255).to(torch.uint8)
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    labels = F.grid_sample(label_maps[:, None].float(), grid, "nearest", "border", False)
    return small, labels[:, 0].round().long()


def vary_colors(images: Tensor, generator: Generator) -> Tensor:
    """Other exposures, white balances, contrasts and saturations of photos, `uint8`."""
    count = len(images)

    def factor(spread: float, channels: int = 1) -> Tensor:
        drawn = (spread * torch.randn(count, channels, 1, 1, generator=generator)).exp()
        return drawn.to(images.device)

    x = (images.float() / 255 * factor(0.12) * factor(0.06, 3)).clamp(0, 1) ** factor(0.15)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * factor(0.15)
    return to_levels(x)


def treat(composite: Tensor, share: float, generator: Generator) -> Tensor:
    """Compresses some composites, after resampling or noise for some of them."""
    eight = to_levels(composite)
    codes: list[Degradation | None] = []
    noises: list[Degradation | None] = []
    for chosen, first, quality, level, seed in zip(
        chance(share, len(composite), generator).tolist(),
        torch.rand(len(composite), generator=generator).tolist(),
        torch.randint(70, 98, (len(composite),), generator=generator).tolist(),
        uniform(1, 4, len(composite), generator).tolist(),
        torch.randint(2**40, (len(composite),), generator=generator).tolist(),
        strict=True,
    ):
        codes.append(JPEG(quality) if chosen else None)
        noises.append(GaussianNoise(level, seed) if chosen and first < 0.3 else None)
        if chosen and first > 0.7:
            eight[len(codes) - 1] = resample(eight[len(codes) - 1], 1 - 0.4 * (1 - first) / 0.3)
    done = degrade(degrade(eight, noises), codes).float() / 255
    same = torch.tensor([code is None for code in codes], device=done.device)
    return torch.where(same[:, None, None, None], composite, done)


def resample(image: Tensor, scale: float) -> Tensor:
    """Makes an image (3, H, W), `uint8`, smaller and then as large as it was."""
    size = tuple(image.shape[1:])
    small = [max(8, round(side * scale)) for side in size]
    x = F.interpolate(image[None].float(), small, mode="bilinear", antialias=True)
    return F.interpolate(x, size, mode="bicubic")[0].round().clamp(0, 255).to(torch.uint8)
