r"""What the changes of regions come down to: steps that are taken on lists of pixels.

Record -> ``regionwise_steps`` -> steps; steps + pixels -> ``ChangedPixels``, for
:mod:`opmask.perturb.engine` and :mod:`opmask.perturb.batched`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from opmask.perturb.filters import Cube, Filter, filter_pipeline
from opmask.perturb.filters.lookup import Pipelines
from opmask.perturb.lab import LabScaling, LabScaling8
from opmask.perturb.light import Light
from opmask.perturb.records import Perturbation, RegionChange
from opmask.perturb.transfer import ColorTransfer

_REGIONWISE = (Filter, LabScaling, LabScaling8, Cube, Light, ColorTransfer)
"""What changes the pixels of a region by their colours and places, whatever is around it."""

Step = Pipelines | LabScaling | LabScaling8 | Cube | Light | ColorTransfer
"""What is done to pixels at once, such as filters that follow one another."""


@dataclass(frozen=True, eq=False)
class ChangedPixels:
    r"""The changed pixels of a batch.

    Args:
        levels: Their new RGB levels, ``uint8``, with shape :math:`(3, N)`, in 0-255.
        index: Where the red of each is in the flattened images, with shape :math:`(N)`.
        inside: Whether each pixel of the batch is one of them, with shape :math:`(B, H, W)`.
    """

    levels: Tensor
    index: Tensor
    inside: Tensor

    def scatter(self, images: Tensor, values: Tensor) -> Tensor:
        r"""Gives the changed pixels other values.

        Args:
            images: The images, with shape :math:`(B, 3, H, W)`.
            values: The values, with shape :math:`(3, N)`.

        Returns:
            A new tensor with the type and shape of `images`.
        """
        result = images.clone(memory_format=torch.contiguous_format)
        flat, size = result.view(-1), self.inside[0].numel()
        for c, channel in enumerate(values):
            if result.is_cuda:
                flat.index_copy_(0, self.index + c * size, channel)
            else:  # three times as fast
                flat[c * size :].numpy()[self.index.numpy()] = channel.numpy()
        return result


def regionwise_steps(change: RegionChange) -> tuple[Step, ...] | None:
    r"""The steps of a change.

    Args:
        change: What is done to a region.

    Returns:
        Its steps, or ``None`` if it has to see the whole image, see :func:`change_whole_image`.
    """
    if all(isinstance(perturbation, _REGIONWISE) for perturbation in change.perturbations):
        return _steps(change.perturbations)
    return None


def change_whole_image(change: RegionChange, image: Tensor, places: Tensor) -> Tensor:
    r"""Changes a whole image, and takes some pixels of it.

    Args:
        change: What is done.
        image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
        places: Which pixels to take, with shape :math:`(N)`: row times width plus column.

    Returns:
        Their levels, ``uint8``, with shape :math:`(3, N)`.

    Raises:
        ValueError: If a perturbation gives an image of another size or data type.
        TypeError: If it gives something else.
    """
    for perturbation in change.perturbations:
        if isinstance(perturbation, ColorTransfer):  # its statistics are those of the region
            levels = gather_pixels(image.flatten(1), places)
            levels = perturbation(levels[:, None])[:, 0]
            image = image.flatten(1).index_copy(1, places.long(), levels).view_as(image)
            continue
        changed = perturbation(image)
        if not isinstance(changed, Tensor):
            raise TypeError(
                "a perturbation must give an 8-bit image of the size of its input, got "
                f"{type(changed).__name__} from {perturbation!r}."
            )
        if changed.dtype != torch.uint8 or changed.shape != image.shape:
            raise ValueError(
                f"a perturbation must give an 8-bit image of the size of its input, got "
                f"{changed.dtype} with shape {tuple(changed.shape)} from {perturbation!r}."
            )
        image = changed
    return gather_pixels(image.flatten(1), places)


def gather_pixels(levels: Tensor, places: Tensor) -> Tensor:
    r"""Takes pixels, with shape :math:`(3, N)`, from a list of shape :math:`(3, M)`."""
    # One channel at a time is three times as fast as all at once.
    return torch.stack([channel.index_select(0, places) for channel in levels])


def true_indices(inside: Tensor) -> Tensor:
    r"""The indices at which a list is true, with shape :math:`(N)`."""
    if inside.is_cuda:
        return inside.nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(inside.numpy()))  # three times as fast


def missing_label_error(label: int) -> ValueError:
    """What to raise if a record names a label that no pixel has."""
    return ValueError(
        f"'applied' must name labels of 'label_map', got {label}, which no pixel has. "
        f"Was it drawn for another photo?"
    )


@lru_cache(maxsize=256)
def _steps(perturbations: tuple[Perturbation, ...]) -> tuple[Step, ...]:
    """Filters as look-up pipelines, in one step where one may follow the other."""
    steps: list[Any] = []
    for perturbation in perturbations:
        if not isinstance(perturbation, Filter):
            steps.append(perturbation)
            continue
        pipeline = filter_pipeline(perturbation.name, perturbation.amount)
        if steps and isinstance(steps[-1], tuple) and not pipeline.has_keys:
            steps[-1] += (pipeline,)
        else:
            steps.append((pipeline,))
    return tuple(steps)
