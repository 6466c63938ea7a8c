r"""Which regions of a photo become masks, and what is done to each.

Label map + ``MakingConfig`` + seed -> classes of each mask -> ``PerturbationRecord``, for
:func:`opmask.datasets.make_iharmony4`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from opmask.datasets.making.config import MakingConfig
from opmask.perturb import PRESETS, PerturbationRecord, sample_seed
from opmask.perturb.resize import resize_nearest
from opmask.perturb.rng import make_rng
from opmask.perturb.settings import draw_for_classes


def choose_masks(label_map: Tensor, config: MakingConfig, seed: int) -> list[tuple[int, ...]]:
    r"""Chooses the classes of a photo that are changed.

    Args:
        label_map: The class of each pixel, integers from 0 on, with shape :math:`(H, W)`; 0 is
            unlabelled.
        config: How many masks there are, and which share of the photo each may take.
        seed: The integer that decides.

    Returns:
        The classes of each mask, in rising order; no class is in two masks.

    Example:
        >>> label_map = torch.tensor([[1, 1, 2, 3]])
        >>> choose_masks(label_map, MakingConfig(masks=2, share=(0.2, 0.4)), seed=0)
        [(3,), (2,)]
    """
    low, high = config.share
    # As the mask will be, in which a small class may be lost.
    seen = label_map if config.size is None else resize_nearest(label_map, config.size)
    shares = (torch.bincount(seen.flatten()).double() / seen.numel()).tolist()
    rng = make_rng(seed)
    fitting = [label for label, share in enumerate(shares) if label and low <= share <= high]
    order = sorted(fitting, key=lambda _: rng.random())
    masks: list[tuple[int, ...]] = []
    while order and len(masks) < config.masks:
        chosen = [order.pop(0)]
        for label in order:
            fits = sum(shares[one] for one in (*chosen, label)) <= high
            if fits and len(chosen) < config.regions:
                chosen.append(label)
        order = [label for label in order if label not in chosen]
        masks.append(tuple(sorted(chosen)))
    return masks


def draw_changes(labels: tuple[int, ...], seed: int, config: MakingConfig) -> PerturbationRecord:
    r"""Draws what is done to the classes of a mask: each as if it were alone in the photo.

    Args:
        labels: The classes.
        seed: The integer that decides, not negative.
        config: The settings to draw with, without degradation: all composites of a photo share its
            real image.

    Returns:
        The record.

    Example:
        >>> [change.label for change in draw_changes((2, 7), 0, MakingConfig()).regions]
        [2, 7]
    """
    settings = replace(PRESETS[config.settings], degradation_rate=0.0)
    drawn = [draw_for_classes([label], sample_seed(seed, label, 0), settings) for label in labels]
    regions = tuple(region for record in drawn for region in record.regions)
    return replace(drawn[0], seed=seed, regions=regions)
