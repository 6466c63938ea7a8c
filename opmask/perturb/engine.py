r"""Changes the regions of a photo, each by its own program and no pixel but theirs.

The regions of a photo do not overlap, so that all programs together visit each pixel at most once,
however many regions there are. What cannot be told from single pixels, such as a blur that a user
wrote, sees the whole image instead.

Photo, label map, record -> ``change_regions`` -> changed photo, for
:func:`opmask.perturb.composite`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from opmask.perturb.cube import Cube
from opmask.perturb.filters import Filter, program_of
from opmask.perturb.lab import LabScaling, LabScaling8
from opmask.perturb.programs import Program, run_tensors
from opmask.perturb.records import Applied, Perturbation

_PIXELWISE = (Filter, LabScaling, LabScaling8, Cube)
"""What changes a pixel by its colour and place alone, whatever the other pixels are."""

_FEW = 64
"""Below so many pixels a compiled program is not worth its call."""

_LONG = 4
"""The most stages of a program that is compiled; no drawn one has more."""


def change_regions(
    image: Tensor, label_map: Tensor, applied: Applied, *, compile: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Changes the regions of a photo.

    Args:
        image: The RGB photo, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
        label_map: The class of each pixel, integers, with shape :math:`(H, W)`.
        applied: What to do.
        compile: Whether programs are compiled, which gives the same bits.

    Returns:
        The changed photo, and where it was changed as ``bool`` with shape :math:`(1, H, W)`.

    Raises:
        ValueError: If the record names a label that the map does not have.
    """
    pixels, labels = image.flatten(1), label_map.flatten()
    changed, region = pixels.clone(), torch.zeros_like(labels, dtype=torch.bool)
    for change in applied.regions:
        inside = labels == change.label
        places = _where(inside)
        if not len(places):
            raise ValueError(
                f"'applied' must name labels of 'label_map', got {change.label}, which no pixel "
                f"has. Was it drawn for another photo?"
            )
        changed.index_copy_(1, places, _perturbed(image, places, change.perturbations, compile))
        region |= inside
    return changed.view_as(image), region.view_as(label_map)[None]


def _perturbed(
    image: Tensor, places: Tensor, perturbations: tuple[Perturbation, ...], compile: bool
) -> Tensor:
    """The pixels at some places of the perturbed image, with shape (3, N)."""
    if not all(isinstance(perturbation, _PIXELWISE) for perturbation in perturbations):
        for perturbation in perturbations:
            image = _checked(perturbation(image), image, perturbation)
        return _at(places, image)
    height, width = image.shape[1:]
    pixels = _at(places, image)
    for step in _steps(perturbations):
        if not isinstance(step, Program):
            pixels = step(pixels[:, None])[:, 0]
            continue
        keys = step.keys(height, width, image.device)
        here = None if keys is None else keys.index_select(0, places)
        if compile and len(places) >= _FEW and step.is_plain and len(step.stages) <= _LONG:
            pixels = _compiled()(pixels, here, *step.tensors(image.device))
        else:
            pixels = step.run(pixels, here)
    return pixels


def _where(inside: Tensor) -> Tensor:
    """The places that are inside, with shape (N)."""
    if inside.is_cuda:
        return inside.nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(inside.numpy()))  # three times as fast


def _at(places: Tensor, image: Tensor) -> Tensor:
    """The pixels at some places of an image, with shape (3, N)."""
    # One channel at a time is three times as fast as all at once.
    return torch.stack([channel.index_select(0, places) for channel in image.flatten(1)])


def _checked(changed: Tensor, image: Tensor, perturbation: Perturbation) -> Tensor:
    if changed.dtype != torch.uint8 or changed.shape != image.shape:
        raise ValueError(
            f"a perturbation must give an 8-bit image of the size of its input, got "
            f"{changed.dtype} with shape {tuple(changed.shape)} from {perturbation!r}."
        )
    return changed


@lru_cache(maxsize=256)
def _steps(perturbations: tuple[Perturbation, ...]) -> tuple[Program | Perturbation, ...]:
    """Filters as programs, merged where one may follow the other."""
    steps: list[Program | Perturbation] = []
    for perturbation in perturbations:
        if not isinstance(perturbation, Filter):
            steps.append(perturbation)
            continue
        program = program_of(perturbation.name, perturbation.amount)
        if steps and isinstance(steps[-1], Program) and not program.has_keys:
            steps[-1] = steps[-1].then(program)
        else:
            steps.append(program)
    return tuple(steps)


@cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(run_tensors, dynamic=True)
