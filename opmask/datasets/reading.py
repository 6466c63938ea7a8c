r"""Reading photographs and label maps as they come: of any colour mode, depth and orientation.

A file that cannot be used raises :class:`opmask.datasets.BrokenPhotoError`, which names it.

Photograph + label map -> :func:`read_photo` -> ``Photo`` (8-bit, of one size).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from opmask.color import to_levels
from opmask.datasets.photos import BrokenPhotoError, Photo, UnlabelledPhotoError
from opmask.files.exif import upright
from opmask.files.pictures import open_stored, to_rgb
from opmask.files.regions import to_region
from opmask.perturb.resize import resize_nearest

ASPECT_TOLERANCE = 0.01
"""By how much the aspect ratios of a photograph and its label map may differ, relatively."""

# Pillow spreads grey levels of 2 and 4 bits over 0-255.
_STEPS = {"L;2": 85, "L;4": 17}


def read_image(path: str | Path) -> Tensor:
    r"""Reads a photograph as 8-bit RGB, whatever its colour mode.

    See :func:`opmask.files.pictures.to_rgb`; an alpha channel is dropped. An EXIF orientation is
    not applied; :func:`read_photo` may.

    Args:
        path: The file to read.

    Returns:
        The image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.

    Raises:
        BrokenPhotoError: If the file is missing, damaged, or has 32 bits a channel.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "red.png")
        >>> Image.new("RGB", (3, 2), "red").save(path)
        >>> read_image(path).shape
        torch.Size([3, 2, 3])
    """
    return _pixels(path, _open(path)[0])


def read_region(path: str | Path) -> Tensor:
    r"""Reads a picture of a region, of any colour mode.

    See :func:`opmask.files.regions.to_region`. An EXIF orientation is not applied, as
    :func:`read_image` applies none.

    Args:
        path: The file to read.

    Returns:
        The region, ``uint8``, with shape :math:`(1, H, W)`: 255 inside, 0 outside, soft between.

    Raises:
        BrokenPhotoError: If the file is missing, damaged, or does not say where the region is.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "region.png")
        >>> Image.new("L", (3, 2), 1).save(path)
        >>> read_region(path)
        tensor([[[255, 255, 255],
                 [255, 255, 255]]], dtype=torch.uint8)
    """
    picture, _ = _open(path)
    try:
        region = to_region(picture, str(path))
    except ValueError as error:
        raise BrokenPhotoError(str(error)) from error
    return to_levels(torch.from_numpy(region))[None]


def read_label_map(path: str | Path) -> Tensor:
    r"""Reads a label map: the numbers in the file, of 1 to 16 bits, not the colours of a palette.

    An alpha channel is dropped. Three channels will do where they are equal.

    Args:
        path: The file to read.

    Returns:
        The labels, ``int64``, with shape :math:`(H, W)`, integers from 0 on.

    Raises:
        BrokenPhotoError: If the file is missing, damaged, has channels that differ or are of 16
            bits, or holds other than whole numbers from 0 on.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels.png")
        >>> Image.new("L", (3, 2), 7).save(path)
        >>> read_label_map(path)
        tensor([[7, 7, 7],
                [7, 7, 7]])
    """
    picture, stored = _open(path)
    labels = np.array(picture)
    if labels.ndim == 3:
        labels = _equal_channel(path, labels, picture.mode, stored)
    if labels.dtype.kind == "f" or labels.min() < 0:
        raise BrokenPhotoError(
            f"{path} must hold whole numbers from 0 on, got mode {picture.mode!r} "
            f"and a smallest value of {labels.min()}."
        )
    labels = labels.astype(np.int64)
    return torch.from_numpy(labels // _STEPS[stored] if stored in _STEPS else labels)


def read_photo(image_path: str | Path, label_path: str | Path) -> Photo:
    r"""Reads a photograph with its label map, and makes them fit.

    Pixels stay as they are stored where that fits the label map best. Where they fit better once
    the EXIF orientation is applied, the photograph is turned. (The paper's code never turns it.)
    A label map of another size is resized to that of the photograph, by nearest neighbour, where
    their aspect ratios agree to within :data:`ASPECT_TOLERANCE`.

    Args:
        image_path: The photograph; its name without the ending becomes the name of the photo.
        label_path: The label map.

    Returns:
        The photo.

    Raises:
        UnlabelledPhotoError: If no pixel is labelled.
        BrokenPhotoError: If a file cannot be read, or the aspect ratios differ.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (3, 2), "red").save(folder / "barn.jpg")
        >>> Image.new("L", (3, 2), 7).save(folder / "barn.png")
        >>> read_photo(folder / "barn.jpg", folder / "barn.png").name
        'barn'
    """
    label_map = read_label_map(label_path)
    height, width = label_map.shape
    picture = _turned_to_fit(_open(image_path)[0], (width, height))
    if _mismatch(picture.size, (width, height)) > ASPECT_TOLERANCE:
        raise BrokenPhotoError(
            f"{label_path} must have the aspect ratio of its photograph, "
            f"{picture.height}x{picture.width}, to within {ASPECT_TOLERANCE:.0%}, "
            f"got {height}x{width}."
        )
    label_map = resize_nearest(label_map, (picture.height, picture.width))
    if not label_map.count_nonzero():  # four times as fast as any()
        raise UnlabelledPhotoError(f"{label_path} must have a labelled pixel, got only label 0.")
    return Photo(_pixels(image_path, picture), label_map, Path(image_path).stem)


def _open(path: str | Path) -> tuple[Image.Image, str]:
    try:
        return open_stored(path)
    except ValueError as error:
        raise BrokenPhotoError(str(error)) from error


def _pixels(path: str | Path, picture: Image.Image) -> Tensor:
    try:
        levels = to_rgb(picture, str(path))
    except ValueError as error:
        raise BrokenPhotoError(str(error)) from error
    # NumPy rearranges channels four times as fast as PyTorch.
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))


def _equal_channel(path: str | Path, labels: np.ndarray, mode: str, stored: str) -> np.ndarray:
    # Pillow has kept only the upper byte of these: all labels below 256 would be 0.
    if ";16" in stored:
        raise BrokenPhotoError(f"{path} must have a single channel if it has 16 bits.")
    colours = labels[..., :-1] if mode.endswith("A") else labels
    if (colours != colours[..., :1]).any():
        raise BrokenPhotoError(
            f"{path} must have a single channel, or equal ones, got shape {labels.shape} with "
            f"channels that differ."
        )
    return colours[..., 0]


def _turned_to_fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    if _mismatch(picture.size, size) <= _mismatch(picture.size[::-1], size):
        return picture
    return upright(picture)


def _mismatch(size: tuple[int, int], other: tuple[int, int]) -> float:
    """By how much the aspect ratios differ, relatively."""
    small, large = sorted((size[0] * other[1], size[1] * other[0]))
    return (large - small) / small
