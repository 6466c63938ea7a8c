"""What a model does with new photos, given the region exactly, roughly, or not at all.

packed photos -> one fixed composite of each -> model, for each kind of region prompt -> a row of
numbers for each image, `Row`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import opmask
from opmask import LAB, OperatorMaskWrapper
from opmask.datasets import REGION_PROMPTS, region_prompt
from opmask.inference.refine import refined, to_refine, told_roughly, told_strengths
from opmask.inference.regions import within
from opmask.metrics import psnr_from_mse
from opmask.perturb import CompositeBatch, collate, composite, sample_seed
from reproduction.small.batches import treat
from reproduction.small.kinds import draw_kind, family, kind_seed
from reproduction.small.network import fast_precision
from reproduction.small.pool import Packed

SEED = 7  # of the composites and the region prompts, so that every run is scored on the same ones
BATCH = 16
AUTO = {"unknown": "auto", "untouched": "untouched auto"}  # with strengths by confidence
KEPT = 40.0  # dB that untouched photos must have on average, at full strength
BEST = 60.0  # dB; what is closer than that counts as the same
Errors = TypeVar("Errors", float, np.ndarray)


class Row(NamedTuple):
    """One image with one region prompt.

    Attributes:
        name: The photo's file.
        prompt: What was given; `untouched` for the photo itself. `auto` is nothing given, with the
            strengths that the calibration of the model says.
        changed: With what its first region was changed.
        before: The MSE of the composite, in levels of 255.
        after: The MSE of the output.
        foreground: The share of the image that was changed.
        lightness: The mean L* of what was changed, in the photo.
        kind: The kind of change, see `kinds.draw_kind`.
        by: Who made the output: the model, or one of `rivals.RIVALS`.
    """

    name: str
    prompt: str
    changed: str
    before: float
    after: float
    foreground: float
    lightness: float
    kind: str = "mixed"
    by: str = "model"

    @property
    def decibels(self) -> float:
        """By how much PSNR rises."""
        return psnr(self.after) - psnr(self.before)


class Traits(NamedTuple):
    """What a composite is like; see `Row`."""

    changed: str
    foreground: float
    lightness: float


class Scene(NamedTuple):
    """A batch of fixed composites, with the changed regions and region prompts by kind."""

    names: list[str]
    made: CompositeBatch
    regions: Tensor
    prompts: dict[str, Tensor]
    kind: str
    traits: list[Traits]


def scenes(
    photos: Packed, prompts: Sequence[str] = REGION_PROMPTS, kind: str = "mixed"
) -> Iterator[Scene]:
    """The fixed composites of photos, in order; photos without a label are left out."""
    usable = photos.labelled.nonzero()[:, 0].tolist()
    for start in range(0, len(usable), BATCH):
        places = usable[start : start + BATCH]
        label_maps = photos.labels[places].long()
        records = (draw_kind(kind, photos, p, kind_seed(kind, SEED, p)) for p in places)
        samples = zip(photos.images[places], label_maps, records, strict=True)
        made = collate([composite(*sample) for sample in samples])
        pairs = zip(made.applied, label_maps, strict=True)
        regions = torch.stack([applied.region_map(label_map) for applied, label_map in pairs])
        generator = torch.Generator().manual_seed(sample_seed(SEED, 1, start))
        given = {
            prompt: region_prompt(regions, [prompt] * len(places), generator=generator)
            for prompt in prompts
        }
        names = [photos.names[place] for place in places]
        yield Scene(names, made, regions, given, kind, describe(made))


@torch.no_grad()
def score(
    model: OperatorMaskWrapper,
    photos: Packed,
    prompts: Sequence[str] = REGION_PROMPTS,
    *,
    size: int | None = None,
    treated: bool = False,
    kind: str = "mixed",
    untouched: bool = True,
    device: str = "cpu",
) -> list[Row]:
    """The rows of all images; masks are predicted at `size`, and applied at full size.

    Composites that are treated are compressed as a whole, some after resampling or noise. The
    photo stays what it was, and untouched ones are not scored again. What was done to photos is
    said by `kind`, see `kinds.draw_kind`; the photos themselves are the same for every kind, and
    scored if `untouched`.
    """
    rows = []
    generator = torch.Generator().manual_seed(SEED)
    total = math.ceil(len(photos) / BATCH)
    for scene in tqdm(scenes(photos, prompts, kind), "score", total, leave=False, disable=None):
        made = scene.made
        shown = treat(made.composite, 1.0, generator) if treated else made.composite
        tried = {name: (shown, prompt) for name, prompt in scene.prompts.items()}
        if untouched and not treated:
            tried["untouched"] = made.real, None
        outputs = {
            name: output.cpu()
            for given, (image, prompt) in tried.items()
            for name, output in retouch(model, image.to(device), prompt, size, given).items()
        }
        for given, output in outputs.items():
            image = made.real if "untouched" in given else shown
            rows += rows_of(scene, given, image, output)
    return rows


def rows_of(
    scene: Scene, prompt: str, image: Tensor, output: Tensor, by: str = "model"
) -> list[Row]:
    """The rows of the outputs that were made of a batch of images."""
    before = squared_error(image, scene.made.real).tolist()
    after = squared_error(output, scene.made.real).tolist()
    return [
        Row(name, prompt, traits.changed, *errors, *traits[1:], scene.kind, by)
        for name, traits, *errors in zip(scene.names, scene.traits, before, after, strict=True)
    ]


def retouch(
    model: OperatorMaskWrapper,
    image: Tensor,
    prompt: Tensor | None,
    size: int | None,
    kind: str,
    refine: bool | str = "auto",
) -> dict[str, Tensor]:
    """What `opmask.harmonize` makes of images; if nothing is given, first at strength 1.

    In the precision of training, in batches, and on the device of the images.
    """
    told, trust = None if prompt is None else prompt.to(image.device), model.calibration
    rough = [False] if told is None else told_roughly(told, refine)
    with fast_precision(image.device):
        if told is not None:
            chosen, cut = to_refine(model, rough, refine), refine == "grabcut"
            told = refined(model, image, told, chosen, size, grabcut=cut)
        masks = model.predict(image, told, size=size)
    if told is not None:
        masks = within(model.retoucher, masks, told)
    if told is not None and trust is not None and kind not in AUTO:
        trusted = told_strengths(model, image, masks, told, rough).to(told)
        distrust = (1 - trusted)[:, None, None, None].expand_as(told)
        masks = model.retoucher.edit(masks, strength=0.0, region=distrust)
    made = {kind: model.retoucher(image, masks)}
    if trust is not None and kind in AUTO:
        distrust = 1 - trust.strengths(masks["gate"])
        masks = model.retoucher.edit(masks, strength=0.0, region=distrust)
        made[AUTO[kind]] = model.retoucher(image, masks)
    return made


def with_the_box(paths: Sequence[Path]) -> Iterator[tuple[str, OperatorMaskWrapper]]:
    """The bundled model, and then others, by the names that tables give them."""
    yield "bundled", opmask.load()
    for path in paths:
        yield str(path), opmask.load(path)


def squared_error(output: Tensor, real: Tensor) -> Tensor:
    """The MSE of each image (B,), as 8-bit pictures have it, in levels of 255."""
    levels = (output.clamp(0, 1) * 255).round() - (real * 255).round()
    return levels.double().square().mean((1, 2, 3))


def psnr(mse: Errors) -> Errors:
    """In dB, at most BEST; of one MSE or of each in an array."""
    return np.minimum(BEST, psnr_from_mse(mse))


def describe(made: CompositeBatch) -> list[Traits]:
    """What is known of each composite."""
    light = (LAB.from_rgb(made.real)[:, :1] * made.region).sum((1, 2, 3))
    lightness = 100 * light / made.region.sum((1, 2, 3))
    numbers = made.region.mean((1, 2, 3)).tolist(), lightness.tolist()
    return [Traits(family(a), *n) for a, *n in zip(made.applied, *numbers, strict=True)]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


class Gain(NamedTuple):
    """What is left of the composites' MSE, as a share, and by how many dB PSNR rises."""

    share: float
    decibels: float


def gain(rows: Sequence[Row]) -> Gain:
    share = mean([row.after for row in rows]) / mean([row.before for row in rows])
    return Gain(share, mean([row.decibels for row in rows]))


def summarize(rows: Sequence[Row]) -> dict[str, float]:
    """The gains by kind of region prompt, and the harm to untouched photos."""
    found: dict[str, float] = {}
    for kind in dict.fromkeys(row.prompt for row in rows):
        chosen = [row for row in rows if row.prompt == kind]
        if "untouched" in kind:
            found[kind] = mean([row.after for row in chosen])
            found[f"{kind} dB"] = mean([psnr(row.after) for row in chosen])
        else:
            found[kind], found[f"{kind} dB"] = gain(chosen)
    return found


def rank(found: dict[str, float]) -> float:
    """By which checkpoints are compared, the lower the better: MSE and PSNR, guided and blind.

    Harm to untouched photos counts below KEPT; above it calibration sees to what is left.
    """
    return (
        found["exact"]
        + found["unknown"]
        - 0.1 * (found["exact dB"] + found["unknown dB"])
        + 0.1 * max(0.0, KEPT - found["untouched dB"])
    )
