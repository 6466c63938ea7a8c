r"""The pictures of a study: those in folders, paired by their names, and how they are read.

Data flow: `folders -> match_files -> {image: {method: file}}`, and
`composites, regions -> pair_composites -> {image: Composite}`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from opmask.files.endings import MASK
from opmask.files.exif import upright
from opmask.files.pictures import check_opaque, open_picture, picture_files, to_rgb
from opmask.files.regions import region_files
from opmask.inference.plan import check_size
from opmask.inference.regions import to_plane

__all__ = [
    "Composite",
    "check_inputs",
    "find_inputs",
    "match_files",
    "pair_composites",
    "read_picture",
]

ENDINGS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Composite:
    """A composite to harmonize, and its region if it is known."""

    path: Path
    region: Path | None = None

    def read(self) -> tuple[np.ndarray, Tensor | None]:
        """Its pixels, and the region as models take it.

        Raises:
            ValueError: If one cannot be used, or their aspect ratios differ.
        """
        pixels = read_picture(self.path)
        try:
            check_size(pixels.shape[:2])
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        if self.region is None:
            return pixels, None
        try:
            return pixels, to_plane(open_picture(self.region), pixels.shape[:2])
        except ValueError as error:
            raise ValueError(f"{self.region}: {error}") from error


def read_picture(path: Path) -> np.ndarray:
    """A picture as pages show it: upright, opaque, 8-bit RGB, and without its colour profile."""
    picture = upright(open_picture(path))
    check_opaque(picture, str(path))
    return to_rgb(picture, str(path))


def match_files(methods: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """By name of image, then of method, the file."""
    found = {method: find_images(folder) for method, folder in methods.items()}
    names = sorted({name for images in found.values() for name in images})
    for method, images in found.items():
        if missing := [name for name in names if name not in images]:
            raise ValueError(
                f"the folders of 'methods' must hold the same images, but {methods[method]} of "
                f"{method!r} lacks {missing}."
            )
    if not names:
        raise ValueError(
            f"the folders of 'methods' must hold PNG or JPEG images, got none in "
            f"{[str(folder) for folder in methods.values()]}."
        )
    return {name: {method: images[name] for method, images in found.items()} for name in names}


def find_images(folder: Path) -> dict[str, Path]:
    """By name the images of a folder, one file each."""
    images: dict[str, Path] = {}
    for path in picture_files(folder, ENDINGS):
        if other := images.get(path.stem):
            raise ValueError(
                f"{folder} must hold one file for each image, got {other.name} and {path.name}."
            )
        images[path.stem] = path
    return images


def find_inputs(folder: Path, regions: str | Path | None) -> dict[str, Path]:
    """By name the composites of a folder, in which there may be their regions, too."""
    images = find_images(folder)
    if regions is not None and os.path.realpath(folder) == os.path.realpath(regions):
        images = {name: path for name, path in images.items() if not name.endswith(MASK)}
    if not images:
        raise ValueError(f"'inputs' must hold PNG or JPEG images, got none in {folder}.")
    return images


def check_inputs(images: Mapping[str, Path], folder: Path, names: Iterable[str]) -> None:
    """Raises unless there is a composite of each name."""
    if missing := [name for name in names if name not in images]:
        raise ValueError(
            f"'inputs' must hold the composite of each image, but {folder} lacks {missing}."
        )


def pair_composites(
    inputs: Mapping[str, Path], regions: str | Path | None
) -> dict[str, Composite]:
    """By name the composites, with their regions if there are some."""
    if regions is None:
        return {name: Composite(path) for name, path in inputs.items()}
    found = region_files([*inputs.values()], regions)
    pairs = zip(inputs.items(), found, strict=True)
    return {name: Composite(path, region) for (name, path), region in pairs}
