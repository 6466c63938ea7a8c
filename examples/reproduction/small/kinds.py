"""Test composites by kind of change: what a region went through, one region of each photo.

Photos are changed by filters, by the colours of a region of another photo, or by light. `mixed`
are those of training: several regions, and filters alone.

packed photos + kind + seed -> `draw_kind` -> `PerturbationRecord`, for `scoring.scenes`.
"""

from __future__ import annotations

from random import Random

from torch import Tensor

from opmask import LAB
from opmask.perturb import (
    CSS_FILTERS,
    DEFAULT,
    ColorTransfer,
    Light,
    Perturbation,
    PerturbationRecord,
    RegionChange,
    draw,
    draw_filter,
    sample_seed,
)
from opmask.perturb.rng import make_rng, pick, uniform
from opmask.perturb.settings import draw_default_second
from reproduction.small.pool import Packed

KINDS = ("filters", "transfer", "light")
LEAST = 0.01  # the smallest region that is changed, as a share of the photo
DONORS = 8  # regions of other photos, of which the one most alike lends its colours


def draw_kind(kind: str, photos: Packed, place: int, seed: int) -> PerturbationRecord:
    """What is done to a photo; `mixed` is what `DEFAULT` draws."""
    if kind == "mixed":
        return draw(photos.labels[place].long(), seed, DEFAULT)
    rng = make_rng(seed)
    label = pick_region(photos.labels[place], rng)
    changes: tuple[Perturbation, ...]
    if kind == "filters":
        changes = (draw_filter(rng), draw_default_second(rng))[: 1 + (rng.random() < 0.5)]
    elif kind == "transfer":
        changes = (transfer(photos, place, label, rng),)
    else:
        changes = (draw_camera(rng),)
    return PerturbationRecord(seed, (RegionChange(label, changes),))


def pick_region(label_map: Tensor, rng: Random) -> int:
    """A label, of a region that is large enough if there is one."""
    counts = label_map.flatten().bincount()
    counts[0] = 0
    large = (counts >= LEAST * label_map.numel()).nonzero().flatten().tolist()
    return pick(large or [int(counts.argmax())], rng)


def transfer(photos: Packed, place: int, label: int, rng: Random) -> ColorTransfer:
    """The colours of a region of another photo, the one of a few that is most like this one."""
    own = pixels(photos, place, label)
    usable = [p for p in photos.labelled.nonzero()[:, 0].tolist() if p != place]
    donors = [pick(usable, rng) for _ in range(DONORS)]
    others = [pixels(photos, p, pick_region(photos.labels[p], rng)) for p in donors]
    nearest = min(others, key=lambda other: float((mean(other) - mean(own)).norm()))
    return ColorTransfer.between(own, nearest)


def pixels(photos: Packed, place: int, label: int) -> Tensor:
    """The pixels of a region, (3, 1, N)."""
    return photos.images[place][:, photos.labels[place] == label][:, None]


def mean(region: Tensor) -> Tensor:
    return LAB.from_rgb(region[None] / 255).mean((0, 2, 3))


def draw_camera(rng: Random) -> Light:
    """Exposure up to a stop, and another white balance."""
    return Light(
        exposure=uniform(-1, 1, rng),
        temperature=uniform(-0.5, 0.5, rng),
        tint=uniform(-0.25, 0.25, rng),
    )


def kind_seed(kind: str, seed: int, place: int) -> int:
    """A seed of its own for each kind and photo; `mixed` has those of older tables."""
    number = 0 if kind == "mixed" else 2 + KINDS.index(kind)
    return sample_seed(seed, number, place)


def family(applied: PerturbationRecord) -> str:
    """With what the first region of a composite was changed."""
    first, *more = applied.regions[0].perturbations
    if isinstance(first, ColorTransfer | Light):
        return "transfer" if isinstance(first, ColorTransfer) else "light"
    kind = "CSS filter" if first.name in CSS_FILTERS else "photo filter"
    return f"{kind}, scaling" if more else kind
