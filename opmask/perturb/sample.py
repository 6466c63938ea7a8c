r"""A sample, and a batch of them: what training, evaluation and pictures have in common.

:func:`opmask.perturb.composite.composite`, or a data set of :mod:`opmask.datasets` ->
``Composite`` -> :func:`collate` -> ``CompositeBatch`` -> model.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from opmask.perturb.records import PerturbationRecord


class Composite(NamedTuple):
    r"""A composite and what it was made from.

    Attributes:
        composite: The changed image, ``float32``, with shape :math:`(3, H, W)`, in
            :math:`[0, 1]`: multiples of 1/255 unless it was resized. That of
            :data:`opmask.perturb.REFERENCE` is 8-bit LAB, of which some colours lie outside.
        real: The image to restore, untouched but for a degradation, with the type, shape and
            range of `composite`.
        region: 1 where the image was changed and 0 elsewhere, ``float32``, with shape
            :math:`(1, H, W)`. Soft at its edges if the reference's settings resized it.
        applied: The record of what was done; None where nobody knows, as in photographs that
            were edited by hand.
    """

    composite: Tensor
    real: Tensor
    region: Tensor
    applied: PerturbationRecord | None


class CompositeBatch(NamedTuple):
    r"""Composites of equal size, stacked.

    Attributes:
        composite: The changed images, ``float32``, with shape :math:`(B, 3, H, W)`, in the
            range of those of :class:`Composite`.
        real: The images to restore, with the type, shape and range of `composite`.
        region: 1 where an image was changed and 0 elsewhere, ``float32``, with shape
            :math:`(B, 1, H, W)`.
        applied: The records of what was done, one for each image, or None in its place.
    """

    composite: Tensor
    real: Tensor
    region: Tensor
    applied: tuple[PerturbationRecord | None, ...]

    def to(self, device: torch.device | str) -> CompositeBatch:
        """The batch with its images and regions on a device; the records stay as they are."""
        composite, real, region = (plane.to(device) for plane in self[:3])
        return CompositeBatch(composite, real, region, self.applied)


def collate(samples: Sequence[Composite]) -> CompositeBatch:
    r"""Stacks samples, for a data loader: ``DataLoader(samples, 16, collate_fn=collate)``.

    Args:
        samples: At least one sample, with shapes :math:`(3, H, W)` and :math:`(1, H, W)`, all of
            one size.

    Returns:
        The batch, with shapes :math:`(B, 3, H, W)` and :math:`(B, 1, H, W)`.

    Raises:
        ValueError: If there are no samples, or their sizes differ.
        TypeError: If a record cannot leave the worker process of a data loader.

    Example:
        >>> black, region = torch.zeros(3, 4, 6), torch.ones(1, 4, 6)
        >>> batch = collate([Composite(black, black, region, None)] * 2)
        >>> batch.composite.shape, batch.applied
        (torch.Size([2, 3, 4, 6]), (None, None))
    """
    sizes = sorted({tuple(sample.composite.shape[1:]) for sample in samples})
    if len(sizes) != 1:
        raise ValueError(
            f"'samples' must hold samples of one size, got sizes {sizes}. "
            "Resize them with the argument 'size' of their data set."
        )
    records = tuple(sample.applied for sample in samples)
    if get_worker_info() is not None:
        _check_picklable(records)
    # In a worker process it stacks into shared memory.
    composite, real, region = default_collate([sample[:3] for sample in samples])
    return CompositeBatch(composite, real, region, records)


def join(batches: Sequence[CompositeBatch]) -> CompositeBatch:
    r"""One batch of several, in order.

    Args:
        batches: At least one batch, all of images of one size.

    Returns:
        The batch of all of them.

    Example:
        >>> black, region = torch.zeros(1, 3, 4, 6), torch.ones(1, 1, 4, 6)
        >>> join([CompositeBatch(black, black, region, (None,))] * 2).composite.shape
        torch.Size([2, 3, 4, 6])
    """
    made, real, region, applied = zip(*batches, strict=True)
    records = tuple(record for some in applied for record in some)
    return CompositeBatch(torch.cat(made), torch.cat(real), torch.cat(region), records)


def _check_picklable(records: tuple[PerturbationRecord | None, ...]) -> None:
    """A data loader would wait for ever for what cannot be pickled."""
    try:
        pickle.dumps(records)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise TypeError(
            f"'applied' must be picklable to leave a worker process, got: {error}. Define "
            "perturbations of your own at module level."
        ) from error
