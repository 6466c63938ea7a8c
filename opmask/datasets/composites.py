r"""Training and validation samples: composites, made when they are asked for.

Photos + perturber -> ``Sample``, which the default collate of a data loader stacks -> model.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from opmask.datasets.photos import (
    BrokenPhotoError,
    Photo,
    Photos,
    UnlabelledPhotoError,
    random_crop,
)
from opmask.perturb import Perturber, sample_seed

logger = logging.getLogger("opmask")

BROKEN_PERCENT = 1
"""How many percent of the photos may be broken; one may be in any case, where there are others."""

_USABLE, _BROKEN, _UNLABELLED = range(3)


class Sample(NamedTuple):
    r"""One composite, for training or validation.

    Attributes:
        composite: The inharmonious image, ``float32``, with shape :math:`(3, H, W)`, in
            :math:`[0, 1]` (with :data:`opmask.perturb.REFERENCE`, beyond it here and there).
        real: The image to restore, with the type, shape and range of `composite`.
        region: 1 where the image was changed and 0 elsewhere, with shape :math:`(1, H, W)`.
        photo: The place of its photo in the data set; stacked, a tensor.
        applied: What was done, see :meth:`opmask.perturb.PerturbationRecord.from_json`; stacked,
            a list.
    """

    composite: Tensor
    real: Tensor
    region: Tensor
    photo: int
    applied: str


class Source(NamedTuple):
    r"""What a composite is made of: a photo, as it was read and cropped, and a seed.

    Attributes:
        image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
        label_map: The class of each pixel, ``int64``, with shape :math:`(H, W)`; 0 is unlabelled.
        photo: The place of the photo in the data set; stacked, a tensor.
        seed: The integer that decides what is done to it; stacked, a tensor.
    """

    image: Tensor
    label_map: Tensor
    photo: int
    seed: int


class Composites(Dataset[Sample]):
    r"""Composites of photos, an endless sequence that depends on the seed only.

    With :math:`n` photos, position :math:`p` holds a composite of photo :math:`p \bmod n` as it is
    changed in epoch :math:`\lfloor p / n \rfloor`. The length is :math:`n`: reading only that far
    gives the same composites every time, which is what validation wants. Training reads on and
    on, and resumes anywhere::

        loader = DataLoader(composites, batch_size, sampler=range(first, last), num_workers=8)

    So there is no epoch to set, and nothing that a worker process could miss. (A data loader with
    `shuffle=True` would repeat the changes of epoch 0 for ever; use `shuffle` here.)

    The next photo takes the place of one that raises :class:`opmask.datasets.BrokenPhotoError`,
    with a warning, and of one that has no labelled pixel, with a line and a count in the log
    `opmask`. (To leave the latter out beforehand, see :func:`opmask.datasets.labelled`.)

    Args:
        photos: A data set, or a list, of :class:`opmask.datasets.Photo`.
        perturber: What makes composites of them.
        crop: The height and width of the square to cut out of each photo, and flip half of the
            time, before it is changed; another one in each epoch. Default: the whole photo.
        size: The height and width to which the perturber resizes samples, after they were
            changed. The aspect ratio is not kept, as in the paper. Default: they are not resized.
        shuffle: Whether each epoch has an order of its own.
        seed: The integer that decides everything.

    Raises:
        ValueError: If there are no photos.

    Example:
        >>> photo = Photo(torch.zeros(3, 8, 6, dtype=torch.uint8), torch.ones(8, 6).long(), "")
        >>> composites = Composites([photo], Perturber(), size=4)
        >>> len(composites), composites[1000].real.shape
        (1, torch.Size([3, 4, 4]))
    """

    def __init__(
        self,
        photos: Photos,
        perturber: Perturber,
        *,
        crop: int | None = None,
        size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        if len(photos) == 0:
            raise ValueError("'photos' must hold at least one photo, got none.")
        self.photos = photos
        self.perturber = perturber
        self.crop = crop
        self.size = size
        self.shuffle = shuffle
        self.seed = seed
        # Shared memory, so that the workers of a data loader count together.
        self._skipped = torch.zeros(len(photos), dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Sample]:
        """The samples of epoch 0."""
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, position: int) -> Sample:
        """The sample at `position`, which may be beyond the length.

        Raises:
            IndexError: If `position` is negative.
            RuntimeError: If more than :data:`BROKEN_PERCENT` percent of the photos are broken, or
                none is left.
        """
        image, label_map, photo, seed = self.source(position)
        made = self.perturber(image[None], label_map[None], [seed], size=self.size)
        return Sample(
            made.composite[0], made.real[0], made.region[0], photo, made.applied[0].to_json()
        )

    def source(self, position: int) -> Source:
        """What the sample at `position` is made of, which takes the reading but not the changing.

        Args:
            position: The place in the sequence, which may be beyond the length.

        Returns:
            The source.

        Raises:
            IndexError: If `position` is negative.
            RuntimeError: If more than :data:`BROKEN_PERCENT` percent of the photos are broken, or
                none is left.
        """
        if position < 0:
            raise IndexError(f"'position' must not be negative, got {position}.")
        epoch, index = divmod(position, len(self))
        if self.shuffle:
            index = _order(len(self), self.seed, epoch)[index]
        seed = sample_seed(self.seed, epoch, index)
        index, photo = self._usable_photo(index)
        if self.crop is not None:
            # The crop has a stream of its own: it must not share numbers with the perturbation.
            photo = random_crop(photo, self.crop, sample_seed(seed, 0, 0))
        return Source(photo.image, photo.label_map, index, seed)

    def compose(self, sources: Source) -> Sample:
        r"""Changes a batch of photos, on the device that they are on.

        So that workers read and a GPU changes::

            loader = DataLoader(Sources(composites), batch_size, num_workers=8)
            for sources in loader:
                samples = composites.compose(sources_on_gpu)

        gives the samples of ``DataLoader(composites, ...)``, if the photos are of one size.

        Args:
            sources: Sources, stacked: images :math:`(B, 3, H, W)`, label maps :math:`(B, H, W)`,
                and of places and seeds :math:`B` each.

        Returns:
            The samples, stacked as a data loader does it.
        """
        seeds = torch.as_tensor(sources.seed)
        made = self.perturber(sources.image, sources.label_map, seeds, size=self.size)
        records: Any = [applied.to_json() for applied in made.applied]
        return Sample(made.composite, made.real, made.region, sources.photo, records)

    def _usable_photo(self, index: int) -> tuple[int, Photo]:
        while True:
            if self._skipped[index] == _USABLE:
                try:
                    return index, _labelled(self.photos[index])
                except UnlabelledPhotoError as error:
                    self._skip_unlabelled(index, error)
                except BrokenPhotoError as error:
                    self._skip_broken(index, error)
            index = (index + 1) % len(self)

    def _skip_unlabelled(self, index: int, error: BrokenPhotoError) -> None:
        self._skipped[index] = _UNLABELLED
        count, total = int((self._skipped == _UNLABELLED).sum()), len(self)
        if (self._skipped != _USABLE).all():  # the search for the next one would not end
            raise RuntimeError(
                f"some of the photos must have a labelled pixel, got none in {total}. "
                f"The last one: {error}"
            ) from error
        text = "photo skipped, %d of %d so far have no labelled pixel: %s"
        logger.warning(text, count, total, error)

    def _skip_broken(self, index: int, error: BrokenPhotoError) -> None:
        self._skipped[index] = _BROKEN
        count, total = int((self._skipped == _BROKEN).sum()), len(self)
        # Not all may be skipped, or the search for the next one would not end.
        usable = bool((self._skipped == _USABLE).any())
        if count > max(1, total * BROKEN_PERCENT // 100) or not usable:
            raise RuntimeError(
                f"at most {BROKEN_PERCENT} % of the photos may be broken, got {count} of {total}. "
                f"The last one: {error}"
            ) from error
        warnings.warn(f"photo skipped: {error}", stacklevel=2)


class Sources(Dataset[Source]):
    r"""What composites are made of, position by position, see :meth:`Composites.compose`.

    Args:
        composites: The composites.

    Example:
        >>> photo = Photo(torch.zeros(3, 8, 6, dtype=torch.uint8), torch.ones(8, 6).long(), "")
        >>> composites = Composites([photo], Perturber())
        >>> loader = torch.utils.data.DataLoader(Sources(composites), 2, sampler=range(2))
        >>> composites.compose(next(iter(loader))).composite.shape
        torch.Size([2, 3, 8, 6])
    """

    def __init__(self, composites: Composites) -> None:
        self.composites = composites

    def __len__(self) -> int:
        return len(self.composites)

    def __getitem__(self, position: int) -> Source:
        """The source at `position`, which may be beyond the length."""
        return self.composites.source(position)


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(sorted(range(count), key=lambda index: sample_seed(seed, epoch, index)))


def _labelled(photo: Photo) -> Photo:
    # Also where files were fine: a small region may have been lost when the photo was resized.
    if not photo.label_map.any():
        raise UnlabelledPhotoError(f"{photo.name!r} must have a labelled pixel, got only label 0.")
    return photo
