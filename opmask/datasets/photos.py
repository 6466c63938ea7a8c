r"""Photographs with label maps: what every data set of this package is made of.

A data set yields :class:`Photo`; :class:`Resized` makes a small copy of each and keeps it in
memory; :func:`random_crop` cuts a training piece out of one. :class:`opmask.datasets.Composites`
turns them into training samples. A photo that cannot be used raises :class:`BrokenPhotoError`.

Files -> ``Photo`` (8-bit) -> ``Composites`` -> model.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from opmask.perturb.resize import resize_nearest
from opmask.perturb.rng import make_rng, pick

_CROP_TRIES = 10


class Photo(NamedTuple):
    r"""A photograph and what can be seen where.

    Attributes:
        image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.
        label_map: The class of each pixel, ``int64``, with shape :math:`(H, W)`, integers from 0
            on; 0 is unlabelled.
        name: A name for messages, such as the file name without its ending.
    """

    image: Tensor
    label_map: Tensor
    name: str

    def to(self, device: torch.device | str) -> Photo:
        """The photo, or photos that were stacked, with image and label map on a device."""
        return Photo(self.image.to(device), self.label_map.to(device), self.name)


class Photos(Protocol):
    """What holds photos: a data set or a list of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Photo: ...


class BrokenPhotoError(OSError):
    """A photograph or label map that cannot be used; the message names the file."""


class UnlabelledPhotoError(BrokenPhotoError):
    """A photo without a labelled pixel: sound, but with nothing to change in it."""


def resize_photo(photo: Photo, size: int) -> Photo:
    r"""Resizes a photo to a square, without keeping its aspect ratio, as the paper does.

    The image is resized bilinearly with antialiasing (the reference has none, and aliases); of
    the label map the nearest pixel is taken.

    Args:
        photo: The photo.
        size: The new height and width :math:`S`, in pixels.

    Returns:
        The photo with image :math:`(3, S, S)` and label map :math:`(S, S)`.

    Example:
        >>> photo = Photo(torch.zeros(3, 8, 6, dtype=torch.uint8), torch.ones(8, 6).long(), "")
        >>> resize_photo(photo, 4).label_map.shape
        torch.Size([4, 4])
    """
    image = F.interpolate(photo.image[None], (size, size), mode="bilinear", antialias=True)[0]
    return Photo(image, resize_nearest(photo.label_map, size), photo.name)


def random_crop(photo: Photo, size: int, seed: int) -> Photo:
    r"""Cuts a random square out of a photo and flips it sideways half of the time.

    The paper trains on whole photographs; this is for training on few. A square without a
    labelled pixel is drawn again; after ten of them one is put over a labelled pixel.

    Args:
        photo: The photo, with at least one labelled pixel.
        size: The height and width :math:`S` of the square, in pixels.
        seed: The integer that decides all of it.

    Returns:
        The piece, with image :math:`(3, S, S)` and label map :math:`(S, S)`.

    Raises:
        ValueError: If the photo is smaller than the square.

    Example:
        >>> photo = Photo(torch.zeros(3, 8, 6, dtype=torch.uint8), torch.ones(8, 6).long(), "")
        >>> random_crop(photo, 4, seed=0).image.shape
        torch.Size([3, 4, 4])
    """
    height, width = photo.label_map.shape
    if size > min(height, width):
        raise ValueError(
            f"'size' must be at most the size of the photo, got {size} for {photo.name!r} of "
            f"{height}x{width}. Enlarge the photos first: Resized(photos, {size})."
        )
    rng = make_rng(seed)
    flip = rng.random() < 0.5
    for _ in range(_CROP_TRIES):
        top, left = int(rng.random() * (height - size + 1)), int(rng.random() * (width - size + 1))
        if photo.label_map[top : top + size, left : left + size].any():
            break
    else:
        row, column = pick(photo.label_map.nonzero().tolist(), rng)
        top, left = min(row, height - size), min(column, width - size)
    image, labels = (
        part[..., top : top + size, left : left + size] for part in (photo.image, photo.label_map)
    )
    if flip:
        image, labels = image.flip(-1), labels.flip(-1)
    return Photo(image, labels, photo.name)


class Resized(Dataset[Photo]):
    r"""Photos resized to a square, each once: the small copies stay in memory.

    A copy takes four bytes a pixel. Each worker process of a data loader keeps its own, unless all
    photos were visited before the workers were forked. The images are shared with the cache, so do
    not write into them.

    Args:
        photos: A data set, or a list, of :class:`Photo`.
        size: The new height and width, in pixels.
        memory: How many bytes of copies to keep; photos beyond are read and resized each time.

    Example:
        >>> photo = Photo(torch.zeros(3, 8, 6, dtype=torch.uint8), torch.ones(8, 6).long(), "a")
        >>> Resized([photo], 4)[0].image.shape
        torch.Size([3, 4, 4])
    """

    def __init__(self, photos: Photos, size: int, *, memory: int = 2 * 10**9) -> None:
        self.photos = photos
        self.size = size
        self._room = memory // (4 * size**2)
        self._small: dict[int, Photo] = {}

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Photo:
        """The resized photo at `index`."""
        if index in self._small:
            photo = self._small[index]
        else:
            photo = resize_photo(self.photos[index], self.size)
            # Class numbers mostly fit one byte; eight would triple the memory.
            kind = torch.uint8 if int(photo.label_map.max()) < 256 else torch.int64
            photo = photo._replace(label_map=photo.label_map.to(kind))
            if len(self._small) < self._room:
                self._small[index] = photo
        return photo._replace(label_map=photo.label_map.long())
