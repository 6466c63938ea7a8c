r"""Changes the regions of photos, each by its own perturbations and no pixel but theirs.

The regions of a photo do not overlap, so that all changes together visit each pixel at most once,
however many regions there are. What cannot be told from single pixels, such as a blur that a user
wrote, sees the whole image instead.

Photos, label maps, records -> ``change_regions`` -> changed pixels, for
:func:`opmask.perturb.composite`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce

import torch
from torch import Tensor

from opmask.perturb.batched import change_regions_batched
from opmask.perturb.filters.lookup import LookupPipeline, Pipelines
from opmask.perturb.records import PerturbationRecord, RegionChange
from opmask.perturb.steps import (
    ChangedPixels,
    Step,
    change_whole_image,
    gather_pixels,
    missing_label_error,
    pixelwise_steps,
    true_indices,
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
    inside = torch.zeros(label_maps.shape, dtype=torch.bool)
    size, places, levels = inside[0].numel(), [], []
    for photo, change in changes:
        own = label_maps[photo].flatten() == change.label
        here = true_indices(own)
        if not len(here):
            raise missing_label_error(change.label)
        inside[photo].view(-1).logical_or_(own)
        levels.append(_change_region(images[photo], here, change))
        places.append(here + 3 * size * photo)
    if not changes:
        return ChangedPixels(images.new_empty(3, 0), torch.empty(0, dtype=torch.long), inside)
    return ChangedPixels(torch.cat(levels, 1), torch.cat(places), inside)


def _change_region(image: Tensor, places: Tensor, change: RegionChange) -> Tensor:
    """The pixels at some places of the changed image, with shape (3, N)."""
    steps = pixelwise_steps(change)
    if steps is None:
        return change_whole_image(change, image, places)
    levels = gather_pixels(image.flatten(1), places)
    for step in steps:
        levels = _apply_step(step, levels, places, image.shape[1:])
    return levels


def _apply_step(step: Step, levels: Tensor, places: Tensor, size: torch.Size) -> Tensor:
    if not isinstance(step, tuple):
        return step(levels[:, None])[:, 0]
    pipeline = _joined(step)
    keys = pipeline.keys(size[0], size[1], levels.device)
    return pipeline.run(levels, None if keys is None else keys.index_select(0, places))


@lru_cache(maxsize=256)
def _joined(pipelines: Pipelines) -> LookupPipeline:
    return reduce(LookupPipeline.then, pipelines)
