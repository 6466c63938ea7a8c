r"""Regions in files: pictures that say where a photo was changed, however they say it.

Data sets, :func:`opmask.harmonize` and the command read them all alike.

The alpha of a photo itself is a region by :func:`soft`: `soft(photo.alpha)`.

Data flow: `picture -> to_region -> array, 1 inside and 0 outside`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from opmask.files.endings import MASK
from opmask.files.pictures import alpha_of, picture_files, to_rgb

__all__ = [
    "GREY",
    "LABELS",
    "boxes_region",
    "inverted",
    "label_region",
    "region_files",
    "soft",
    "strokes_region",
    "to_region",
]

LABELS = 0.05
"""Grey levels that stay below this share of white are taken for labels, not for a soft region."""

COLORED = 32
"""Levels of 255 between the channels of a stroke above which it has a colour."""

GREY = 2
"""By how many levels of 255 the channels of grey may differ, because WebP with losses rounds."""


def region_files(
    photos: Sequence[Path], folder: str | Path, name: str = "'regions'"
) -> list[Path]:
    r"""Pairs photos with the regions in a folder, by their names.

    To `barn.jpg` belongs `barn_mask.png`; or else, in another folder than the photo, `barn.png`,
    or, as in iHarmony4, `barn_1.png` to `barn_1_2.jpg`. The endings may be those of any pictures.

    Args:
        photos: The photos.
        folder: The folder of regions; it may hold more.
        name: What to call the folder in messages.

    Returns:
        The region of each photo, in order.

    Raises:
        ValueError: If a photo has no region, or two.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "barn_mask.png").touch()
        >>> [path.name for path in region_files([Path("barn.jpg")], folder)]
        ['barn_mask.png']
    """
    named = defaultdict(list)
    for path in picture_files(folder):
        named[path.stem].append(path)
    return [_region_file(photo, Path(folder), named, name) for photo in photos]


def _region_file(
    photo: Path, folder: Path, named: Mapping[str, Sequence[Path]], name: str
) -> Path:
    # Beside the photo itself, its name in another format is another photo.
    beside = os.path.realpath(photo.parent) == os.path.realpath(folder)
    stems = [photo.stem + MASK] if beside else [photo.stem + MASK, photo.stem]
    parent = photo.stem.rpartition("_")[0]  # of several composites with one mask
    for stem in stems if beside else [*stems, parent]:
        if len(found := named.get(stem, [])) > 1:
            raise ValueError(
                f"{name} must hold one region for {photo}, got {found[0]} and {found[1]}."
            )
        if found:
            return found[0]
    wanted = " or ".join(f"{stem}.png" for stem in stems)
    raise ValueError(
        f"{name} must hold a region for each photo, got {folder} without one for {photo}: "
        f"{wanted}, or with another ending of pictures."
    )


def to_region(picture: Image.Image, name: str = "'region'") -> np.ndarray:
    r"""A picture of a region, as numbers.

    What counts is the grey that is shown. Where that says nothing (colours, or a single grey), it
    is the numbers of a palette, if they are 0 and one other; else the alpha of a cut-out. What
    these levels mean, :func:`soft` says.

    Args:
        picture: The picture, of any mode, upright.
        name: What to call it in messages.

    Returns:
        The region, ``float32``, with shape :math:`(H, W)`: 1 inside, 0 outside, soft between.

    Raises:
        ValueError: If it has colours and no alpha, more than 16 bits, or looks like labels.

    Example:
        >>> to_region(Image.new("1", (2, 1), 1))
        array([[1., 1.]], dtype=float32)
    """
    return soft(_levels(picture, name), name)


def soft(levels: np.ndarray, name: str = "'region'") -> np.ndarray:
    r"""What grey levels say about a region.

    * 0 and one other value, whichever: that value is inside.
    * One value that is not 0: everything is inside.
    * More values: soft, as shares of the largest that the type can hold, which is 255 or 65535.

    Args:
        levels: The levels, ``uint8`` or ``uint16``, with shape :math:`(H, W)`.
        name: What to call them in messages.

    Returns:
        The region, ``float32``, with shape :math:`(H, W)`, in :math:`[0, 1]`.

    Raises:
        ValueError: If there are more values, all below 5 % of the largest possible, so that hardly
            anything would be inside.

    Example:
        >>> soft(np.array([[0, 1]], np.uint8)), soft(np.array([[0, 51, 255]], np.uint8))
        (array([[0., 1.]], dtype=float32), array([[0. , 0.2, 1. ]], dtype=float32))
    """
    largest, top = int(levels.max()), np.iinfo(levels.dtype).max
    if ((levels == 0) | (levels == largest)).all():
        return (levels > 0).astype(np.float32)
    if largest < LABELS * top:
        raise ValueError(
            f"{name} must be 0 and one other value, or soft with {top} for inside, got several "
            f"values of at most {largest}. They look like labels: make the one that is meant "
            f"{top}, and the others 0."
        )
    return levels.astype(np.float32) / np.float32(top)


def label_region(picture: Image.Image, label: int, name: str = "'region'") -> np.ndarray:
    r"""The region that a label map gives one number.

    Args:
        picture: The label map, grey of 8, 16 or 32 bits, or with a palette, whose numbers count
            and not its colours; upright.
        label: The number.
        name: What to call the picture in messages.

    Returns:
        The region, ``float32``, with shape :math:`(H, W)`: 1 inside, 0 outside.

    Raises:
        ValueError: If the picture has colours, or the number does not occur; the message then
            says which do.

    Example:
        >>> label_region(Image.new("L", (2, 1), 7), 7)
        array([[1., 1.]], dtype=float32)
    """
    if picture.mode not in ("1", "L", "P", "I") and not picture.mode.startswith("I;16"):
        raise ValueError(
            f"{name} must be grey or have a palette to be a label map, got mode {picture.mode!r}."
        )
    numbers = np.array(picture.convert("L") if picture.mode == "1" else picture)
    inside = numbers == label
    if not inside.any():
        there = np.unique(numbers).tolist()
        shown = ", ".join(map(str, there[:20])) + (" ..." if len(there) > 20 else "")
        raise ValueError(f"'label' must be one of those in {name}, {shown}, got {label}.")
    return inside.astype(np.float32)


def boxes_region(boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int]) -> np.ndarray:
    r"""The region of all pixels in any of some boxes.

    Args:
        boxes: For each the left, upper, right and lower edge, in pixels from the upper left corner
            of the upright photo. The last two are just outside.
        size: Height and width of the photo.

    Returns:
        The region, ``float32``, with shape :math:`(H, W)`: 1 inside, 0 outside.

    Raises:
        ValueError: If there is none, or one is empty or not all in the photo.

    Example:
        >>> boxes_region([(0, 0, 1, 2)], (2, 3)).tolist()
        [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    if not boxes:
        raise ValueError("'boxes' must be at least one box, got none.")
    height, width = size
    region = np.zeros(size, np.float32)
    for left, upper, right, lower in boxes:
        if not (0 <= left < right <= width and 0 <= upper < lower <= height):
            raise ValueError(
                f"'boxes' must be x0,y0,x1,y1 with x0 < x1 and y0 < y1 in the photo of "
                f"{width}x{height}, got {left},{upper},{right},{lower}."
            )
        region[upper:lower, left:right] = 1
    return region


def strokes_region(picture: Image.Image, name: str = "'region'") -> np.ndarray:
    r"""What strokes on a transparent ground say: inside where white, outside where black.

    Args:
        picture: The strokes, with alpha, upright. What is half transparent or darker than mid-grey
            counts as what it is nearer to.
        name: What to call the picture in messages.

    Returns:
        The region, ``float32``, with shape :math:`(H, W)`: 1 under white, 0 under black, and -1,
        unknown, where nothing is painted: the model finds out what the strokes belong to.

    Raises:
        ValueError: If it has no alpha, nothing is painted, or strokes have a colour.

    Example:
        >>> strokes_region(Image.new("LA", (1, 1), (255, 255))).tolist()
        [[1.0]]
    """
    if not picture.has_transparency_data:
        raise ValueError(
            f"{name} must have a transparent ground to be strokes, got mode {picture.mode!r}."
        )
    painted = alpha_of(picture) >= 128
    if not painted.any():
        raise ValueError(f"{name} must have strokes, got a picture in which nothing is painted.")
    levels = to_rgb(picture, name)
    strong = np.ptp(levels, axis=-1) > COLORED
    if (strong & painted).any():
        color = ",".join(map(str, levels[strong & painted][0]))
        raise ValueError(
            f"{name} must have white strokes where the photo was changed, and black ones where it "
            f"was not, got strokes of another colour, {color}."
        )
    white = levels.mean(-1) >= 128
    return np.where(painted, white, -1).astype(np.float32)


def inverted(region: np.ndarray) -> np.ndarray:
    r"""The inverse of a region: outside where it is inside; unknown stays unknown.

    Args:
        region: The region, ``float32``, in :math:`[0, 1]` or -1, of any shape.

    Returns:
        The inverse, with the same shape.

    Example:
        >>> inverted(np.array([0, 0.25, 1, -1], np.float32))
        array([ 1. ,  0.75,  0. , -1. ], dtype=float32)
    """
    return np.where(region < 0, region, 1 - region)


def _levels(picture: Image.Image, name: str) -> np.ndarray:
    """The levels that say where the region is, (H, W), 8 or 16 bits."""
    if picture.mode.startswith("I;16"):
        return np.array(picture).astype(np.uint16)
    colours = to_rgb(picture, name)
    grey = colours[..., 0]
    agree = bool((colours.max(-1) - colours.min(-1) <= GREY).all())
    if agree and _varies(grey):
        return grey
    if picture.mode in ("P", "PA"):
        numbers = np.array(picture).reshape(*grey.shape, -1)[..., 0]
        two = bool(((numbers == 0) | (numbers == numbers.max())).all())
        if two and (_varies(numbers) or not agree):
            return numbers
    if picture.has_transparency_data and _varies(alpha := alpha_of(picture)):
        return alpha
    if not agree:
        raise ValueError(
            f"{name} must be grey, white inside and black outside, or a cut-out with alpha, got "
            f"several colours (mode {picture.mode!r}). Save it as white and black."
        )
    return grey


def _varies(levels: np.ndarray) -> bool:
    return bool(levels.min() < levels.max())
