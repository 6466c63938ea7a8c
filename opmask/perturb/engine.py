r"""Changes the regions of photos, each by its own perturbations and no pixel but theirs.

The regions of a photo do not overlap, so that all changes together visit each pixel at most once,
however many regions there are. What cannot be told from single pixels, such as a blur that a user
wrote, sees the whole image instead.

Photos, label maps, records -> ``change_regions`` -> changed pixels, for
:func:`opmask.perturb.composite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opmask.perturb.batched import Changes, change_regions_batched
from opmask.perturb.filters.cpu_lookup import run_on_cpu
from opmask.perturb.filters.lookup import Bytes, LookupPipeline, Pipelines
from opmask.perturb.lab import LabScaling
from opmask.perturb.records import PerturbationRecord
from opmask.perturb.steps import (
    ChangedPixels,
    Step,
    change_whole_image,
    missing_label_error,
    regionwise_steps,
)


def change_regions(
    images: Tensor,
    label_maps: Tensor,
    applied: Sequence[PerturbationRecord],
    *,
    compile: bool = False,
) -> ChangedPixels:
    r"""Changes the regions of photos.

    Args:
        images: The RGB photos, ``uint8``, with shape :math:`(B, 3, H, W)`, in 0-255.
        label_maps: The class of each pixel, integers, with shape :math:`(B, H, W)`.
        applied: What to do to each photo.
        compile: Whether filters are compiled, on a GPU; the bits are the same.

    Returns:
        The changed pixels.

    Raises:
        ValueError: If a record names a label that the map does not have.
    """
    changes = [
        (photo, change)
        for photo, record in enumerate(applied)
        for change in {change.label: change for change in record.regions}.values()
    ]
    if images.is_cuda:
        return change_regions_batched(images, label_maps, changes, compile=compile)
    return _change_on_cpu(images, label_maps, changes)


@dataclass(eq=False)
class _Region:
    """The pixels of a region, on their way through its steps."""

    places: NDArray[np.intp]  # (N), row times width plus column
    levels: Bytes  # (3, N)
    steps: tuple[Step, ...] | None


def _change_on_cpu(images: Tensor, label_maps: Tensor, changes: Changes) -> ChangedPixels:
    labels, pixels = label_maps.flatten(1).numpy(), images.flatten(2).numpy()
    inside, regions = np.zeros(labels.shape, bool), []
    for photo, change in changes:
        own = labels[photo] == change.label
        here = np.flatnonzero(own)
        if not len(here):
            raise missing_label_error(change.label)
        inside[photo] |= own
        steps, levels = regionwise_steps(change), pixels[photo].take(here, axis=1)
        if steps is None:
            places = torch.from_numpy(here)
            levels = change_whole_image(change, images[photo], places).numpy()
        regions.append(_Region(here, levels, steps))
    for turn in range(max((len(region.steps or ()) for region in regions), default=0)):
        now = [(r, r.steps[turn]) for r in regions if r.steps and turn < len(r.steps)]
        _take_step(now, images.shape[2], images.shape[3])
    starts = (photo * 3 * labels.shape[1] for photo, _ in changes)
    index = [region.places + start for region, start in zip(regions, starts, strict=True)]
    changed = np.concatenate([np.empty((3, 0), np.uint8), *(r.levels for r in regions)], axis=1)
    return ChangedPixels(
        torch.from_numpy(changed),
        torch.from_numpy(np.concatenate([np.empty(0, np.intp), *index])),
        torch.from_numpy(inside).view(label_maps.shape),
    )


def _take_step(now: Sequence[tuple[_Region, Step]], height: int, width: int) -> None:
    """One step of each of some regions of photos of one size."""
    scaled = [(region, step) for region, step in now if isinstance(step, LabScaling)]
    if len(scaled) > 1:
        _scale_together(scaled)
        now = [(region, step) for region, step in now if not isinstance(step, LabScaling)]
    for region, step in now:
        if isinstance(step, tuple):
            pipeline = _joined(step)
            keys = pipeline.keys(height, width, torch.device("cpu"))
            own = None if keys is None else keys.numpy().take(region.places)
            region.levels = run_on_cpu(pipeline, region.levels, own)
        else:
            region.levels = step(torch.from_numpy(region.levels)[:, None])[:, 0].numpy()


def _scale_together(scaled: Sequence[tuple[_Region, LabScaling]]) -> None:
    """Scales several regions at once: it takes many calls, which cost more than small regions."""
    counts = [len(region.places) for region, _ in scaled]
    levels = np.concatenate([region.levels for region, _ in scaled], axis=1)
    factors = np.repeat(np.array([scaling.factors for _, scaling in scaled]).T, counts, axis=1)
    made = LabScaling.scale(torch.from_numpy(levels)[:, None], torch.from_numpy(factors)[:, None])
    parts = made[:, 0].split(counts, dim=1)
    for (region, _), part in zip(scaled, parts, strict=True):
        region.levels = part.numpy()


@lru_cache(maxsize=256)
def _joined(pipelines: Pipelines) -> LookupPipeline:
    return reduce(LookupPipeline.then, pipelines)
