r"""Which degradation a photo gets.

The reference code degrades the real image of one sample in twenty, and so what surrounds the
regions of its composite: a region may be sharper or cleaner than the rest.

Draws -> ``draw_degradation`` -> degradation, of ``opmask.perturb.degrade.degradations``.

References:
    | Semantic-guided Multi-mask Image Harmonization (Ren and Liu, 2022)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

from torch import Tensor

from opmask.files.typed_json import from_plain
from opmask.perturb.degrade.counter import RANDOM_BITS
from opmask.perturb.degrade.degradations import (
    JPEG,
    Degradation,
    GaussianBlur,
    GaussianNoise,
    LaplaceNoise,
    MotionBlur,
    PoissonNoise,
)
from opmask.perturb.rng import pick, uniform

NOISE_STRENGTHS = (8.0, 10.0)
"""Between which the scale or rate of noise is drawn, in 8-bit levels (reference code)."""

MOTION_ANGLES = (0.0, 360.0)
"""Between which the angle of a motion blur is drawn, in degrees (reference code)."""

MOTION_DIRECTIONS = (-1.0, 1.0)
"""Between which the direction of a motion blur is drawn (reference code)."""

_NOISES: tuple[Callable[[float, int], Degradation], ...] = (
    GaussianNoise,
    LaplaceNoise,
    PoissonNoise,
)

_KINDS: dict[str, type[Degradation]] = {
    kind.name: kind
    for kind in (GaussianNoise, LaplaceNoise, PoissonNoise, MotionBlur, GaussianBlur, JPEG)
}


def draw_degradation(rng: Random) -> Degradation:
    r"""Draws a degradation as the reference code does.

    Noise, blur or JPEG, each as likely; then one of its kind, each as likely; then its parameters.

    Args:
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        The degradation.

    Example:
        >>> from opmask.perturb.rng import make_rng
        >>> draw_degradation(make_rng(1))
        PoissonNoise(rate=9.5275..., seed=2297457538547630)
    """
    family = pick((_draw_noise, _draw_blur, _draw_jpeg), rng)
    return family(rng)


def degradation_from_dict(record: dict[str, Any]) -> Degradation:
    r"""Reads what ``to_dict`` of a degradation wrote.

    Args:
        record: The plain values.

    Returns:
        The degradation.

    Raises:
        ValueError: If the record names no degradation, or its parameters are of another kind or
            out of bounds.

    Example:
        >>> degradation_from_dict({"degrade": "jpeg", "quality": 95})
        JPEG(quality=95)
    """
    parameters = dict(record)
    name = parameters.pop("degrade", None)
    if not isinstance(name, str) or name not in _KINDS:
        raise ValueError(f"'degrade' must be one of {', '.join(_KINDS)}, got {name!r}.")
    return from_plain(parameters, _KINDS[name], f"the degradation {name}")


def degrade(images: Tensor, degradations: Sequence[Degradation | None]) -> Tensor:
    r"""Degrades some images of a batch.

    JPEG, which only a CPU can do, goes to threads, and all else happens meanwhile.

    Args:
        images: The images, ``uint8``, with shape :math:`(B, 3, H, W)`, in 0-255.
        degradations: What is done to each image, or ``None``.

    Returns:
        The images, with the type, shape and range of `images`.

    Example:
        >>> import torch
        >>> images = torch.tensor([0, 0, 90], dtype=torch.uint8).expand(2, 3, 1, 3)
        >>> degrade(images, [None, GaussianBlur()])[:, 0, 0]
        tensor([[ 0,  0, 90],
                [10, 22, 37]], dtype=torch.uint8)
    """
    todo = [(place, how) for place, how in enumerate(degradations) if how is not None]
    if not todo:
        return images
    result = images.clone()
    with ThreadPoolExecutor() as pool:  # which starts no thread that it does not need
        coded = {i: pool.submit(how, images[i]) for i, how in todo if isinstance(how, JPEG)}
        for place, how in todo:
            if place not in coded:
                result[place] = how(images[place])
        for place, task in coded.items():
            result[place] = task.result()
    return result


def _draw_noise(rng: Random) -> Degradation:
    return pick(_NOISES, rng)(uniform(*NOISE_STRENGTHS, rng), int(rng.random() * 2**RANDOM_BITS))


def _draw_blur(rng: Random) -> Degradation:
    if pick(("motion", "gaussian"), rng) == "motion":
        return MotionBlur(uniform(*MOTION_ANGLES, rng), uniform(*MOTION_DIRECTIONS, rng))
    return GaussianBlur()


def _draw_jpeg(rng: Random) -> Degradation:
    return JPEG()
