r"""Training and validation samples: composites, made when they are asked for.

Photos + perturber -> ``Composites`` -> :func:`opmask.perturb.collate` -> batches -> model.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache

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
from opmask.perturb import Composite, CompositeBatch, Perturber, sample_seed

logger = logging.getLogger("opmask")

BROKEN_PERCENT = 1
"""How many percent of the photos may be broken; one may be in any case, where there are others."""

_USABLE, _BROKEN, _UNLABELLED = range(3)


class Composites(Dataset[Composite]):
    r"""Composites of photos, an endless sequence that depends on the seed only.

    With :math:`n` photos, position :math:`p` holds a composite of photo :math:`p \bmod n` as it is
    changed in epoch :math:`\lfloor p / n \rfloor`. The length is :math:`n`: reading only that far
    gives the same composites every time, which is what validation wants. Training reads on and
    on, and resumes anywhere::

        loader = DataLoader(
            composites, batch_size, sampler=range(first, last), collate_fn=collate, num_workers=8
        )

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

    def __iter__(self) -> Iterator[Composite]:
        """The samples of epoch 0."""
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, position: int) -> Composite:
        """The sample at `position`, which may be beyond the length.

        Raises:
            IndexError: If `position` is negative.
            RuntimeError: If more than :data:`BROKEN_PERCENT` percent of the photos are broken, or
                none is left.
        """
        photo, seed = self.source(position)
        made = self.perturber(photo.image[None], photo.label_map[None], [seed], size=self.size)
        composite, real, region, (applied,) = made
        return Composite(composite[0], real[0], region[0], applied)

    def source(self, position: int) -> tuple[Photo, int]:
        """What the sample at `position` is made of, which takes the reading but not the changing.

        Args:
            position: The place in the sequence, which may be beyond the length.

        Returns:
            The photo, as it was read and cropped, and the seed that decides what is done to it.

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
        photo = self._usable_photo(index)
        if self.crop is not None:
            # The crop has a stream of its own: it must not share numbers with the perturbation.
            photo = random_crop(photo, self.crop, sample_seed(seed, 0, 0))
        return photo, seed

    def compose(self, photos: Photo, seeds: Tensor | Sequence[int]) -> CompositeBatch:
        r"""Changes a batch of photos, on the device that they are on.

        So that workers read and a GPU changes::

            loader = DataLoader(Sources(composites), batch_size, num_workers=8)
            for photos, seeds in loader:
                batch = composites.compose(photos.to("cuda"), seeds)

        gives the batches of ``DataLoader(composites, ..., collate_fn=collate)``, if the photos
        are of one size.

        Args:
            photos: Photos, stacked: images :math:`(B, 3, H, W)`, ``uint8``, in 0-255, and label
                maps :math:`(B, H, W)`, ``int64``.
            seeds: The seed of each, ``int64`` with shape :math:`(B,)` or a sequence of integers.

        Returns:
            The samples.
        """
        return self.perturber(photos.image, photos.label_map, seeds, size=self.size)

    def _usable_photo(self, index: int) -> Photo:
        while True:
            if self._skipped[index] == _USABLE:
                try:
                    return _labelled(self.photos[index])
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


class Sources(Dataset[tuple[Photo, int]]):
    r"""What composites are made of, photos and seeds, see :meth:`Composites.compose`.

    The default collate of a data loader stacks them.

    Args:
        composites: The composites.

    Example:
        >>> photo = Photo(torch.zeros(3, 8, 6, dtype=torch.uint8), torch.ones(8, 6).long(), "")
        >>> composites = Composites([photo], Perturber())
        >>> loader = torch.utils.data.DataLoader(Sources(composites), 2, sampler=range(2))
        >>> photos, seeds = next(iter(loader))
        >>> composites.compose(photos, seeds).composite.shape
        torch.Size([2, 3, 8, 6])
    """

    def __init__(self, composites: Composites) -> None:
        self.composites = composites

    def __len__(self) -> int:
        return len(self.composites)

    def __getitem__(self, position: int) -> tuple[Photo, int]:
        """Photo and seed of the sample at `position`, which may be beyond the length."""
        return self.composites.source(position)


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(sorted(range(count), key=lambda index: sample_seed(seed, epoch, index)))


def _labelled(photo: Photo) -> Photo:
    # Also where files were fine: a small region may have been lost when the photo was resized.
    if not photo.label_map.count_nonzero():  # four times as fast as any()
        raise UnlabelledPhotoError(f"{photo.name!r} must have a labelled pixel, got only label 0.")
    return photo
