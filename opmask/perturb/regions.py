r"""Which regions of a photo are changed.

A region is all pixels of one class. Label map + random numbers -> labels, for
:func:`opmask.perturb.draw`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from torch import Tensor

from opmask.perturb.rng import pick

LABELS_PER_DRAW = 5
"""Among how many classes one is drawn: the paper's factor of 0.2."""

MAX_LABEL = 65535
"""The largest label, that of a 16-bit file; classes are counted in a table of that size."""


def choose_regions(label_map: Tensor, rng: Random) -> tuple[int, ...]:
    r"""Chooses the classes to change, as the paper does.

    .. math:: k = \lfloor n / 5 \rfloor + 1

    of the :math:`n` classes present are drawn, with replacement: the same class may come up again,
    so there are 1 to :math:`k` of them.

    Args:
        label_map: The class of each pixel, integers in 0-65535, with shape :math:`(H, W)`; 0 is
            unlabelled and never chosen.
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        The chosen labels, each once, in rising order.

    Raises:
        ValueError: If no pixel is labelled, or a label is out of range.

    References:
        | Semantic-guided Multi-mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> from opmask.perturb.rng import make_rng
        >>> choose_regions(torch.arange(13).view(1, 13), make_rng(0))
        (6, 10, 11)
    """
    return choose_labels(present_labels(label_map[None])[0], rng)


def choose_labels(classes: Sequence[int], rng: Random) -> tuple[int, ...]:
    r"""Chooses among the classes of a photo, see :func:`choose_regions`.

    Args:
        classes: The classes present, as :func:`present_labels` gives them.
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        The chosen labels, each once, in rising order.

    Raises:
        ValueError: If there are none.
    """
    if not classes:
        raise ValueError("'label_map' must have a labelled pixel, got only label 0.")
    chosen = {pick(classes, rng) for _ in range(len(classes) // LABELS_PER_DRAW + 1)}
    return tuple(sorted(chosen))


def present_labels(label_maps: Tensor) -> list[list[int]]:
    r"""The classes of photos.

    Args:
        label_maps: The class of each pixel, integers in 0-65535, with shape :math:`(B, H, W)`; 0
            is unlabelled.

    Returns:
        For each photo the labels that some pixel has, but for 0, in rising order.

    Raises:
        ValueError: If a label is out of range.

    Example:
        >>> present_labels(torch.tensor([[[7, 0, 2, 7]], [[1, 1, 1, 0]]]))
        [[2, 7], [1]]
    """
    lowest, highest = torch.stack(torch.aminmax(label_maps)).tolist()
    if lowest < 0 or highest > MAX_LABEL:
        raise ValueError(
            f"'label_map' must hold labels in 0-{MAX_LABEL}, got {lowest} to {highest}. "
            f"Use 0 for pixels without a class."
        )
    count, size = len(label_maps), highest + 1
    if label_maps.is_cuda:
        places = label_maps.flatten(1).long()
        places = places + torch.arange(count, device=places.device)[:, None] * size
        # The device of the maps is asked once for all of them.
        counts = places.flatten().bincount(minlength=count * size).cpu().numpy()
    else:
        # One look at each run of equal labels, in 16 bits: a third of the time.
        labels = label_maps.flatten(1).numpy().astype(np.uint16)
        is_last = np.ones(labels.shape, bool)
        np.not_equal(labels[:, 1:], labels[:, :-1], out=is_last[:, :-1])
        last = np.flatnonzero(is_last)
        places = last // labels.shape[1] * size + labels.ravel()[last]
        counts = np.bincount(places, minlength=count * size)
    photos = counts.reshape(count, size)[:, 1:]
    return [(np.flatnonzero(photo) + 1).tolist() for photo in photos]
