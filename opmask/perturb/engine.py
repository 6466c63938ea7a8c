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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opmask.perturb.batched import change_regions_batched
from opmask.perturb.filters.cpu_lookup import run_on_cpu
from opmask.perturb.filters.lookup import Bytes, LookupPipeline, Pipelines
from opmask.perturb.records import PerturbationRecord
from opmask.perturb.steps import (
    ChangedPixels,
    Step,
    change_whole_image,
    missing_label_error,
    pixelwise_steps,
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
    labels, pixels = label_maps.flatten(1).numpy(), images.flatten(2).numpy()
    inside, size = np.zeros(labels.shape, bool), labels.shape[1]
    places, levels = [np.empty(0, np.intp)], [np.empty((3, 0), np.uint8)]
    for photo, change in changes:
        own = labels[photo] == change.label
        here = np.flatnonzero(own)
        if not len(here):
            raise missing_label_error(change.label)
        inside[photo] |= own
        places.append(here + 3 * size * photo)
        steps = pixelwise_steps(change)
        if steps is None:
            levels.append(
                change_whole_image(change, images[photo], torch.from_numpy(here)).numpy()
            )
        else:
            own_levels = pixels[photo].take(here, axis=1)
            levels.append(_take_steps(steps, own_levels, here, images.shape[2:]))
    made = (
        np.concatenate(levels, axis=1),
        np.concatenate(places),
        inside.reshape(label_maps.shape),
    )
    return ChangedPixels(*map(torch.from_numpy, made))


def _take_steps(
    steps: Sequence[Step], levels: Bytes, places: NDArray[np.intp], size: torch.Size
) -> Bytes:
    """The levels of some pixels of an image after steps, with shape (3, N)."""
    for step in steps:
        if isinstance(step, tuple):
            pipeline = _joined(step)
            keys = pipeline.keys(size[0], size[1], torch.device("cpu"))
            levels = run_on_cpu(
                pipeline, levels, None if keys is None else keys.numpy().take(places)
            )
        else:
            levels = step(torch.from_numpy(levels)[:, None])[:, 0].numpy()
    return levels


@lru_cache(maxsize=256)
def _joined(pipelines: Pipelines) -> LookupPipeline:
    return reduce(LookupPipeline.then, pipelines)
