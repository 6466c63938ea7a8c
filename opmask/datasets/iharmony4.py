r"""iHarmony4, the benchmark of networks that are given the region: composites with real images.

Works for anything in that folder layout. Nothing is downloaded. Folder -> ``HarmonyTriple``
(8-bit, native size) -> :func:`resize_triple` -> :func:`to_sample` -> evaluation.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from opmask.datasets.composites import Sample
from opmask.datasets.photos import BrokenPhotoError
from opmask.datasets.reading import ASPECT_TOLERANCE, read_image, read_region
from opmask.files.pictures import picture_files
from opmask.perturb.resize import resize_bilinear_opencv, resize_nearest

SPLITS = ("train", "test")

SUBSETS = {"c": "HCOCO", "a": "HAdobe5k", "f": "HFlickr", "d": "Hday2night"}
"""The four parts, by the letter with which the names of their files begin."""

_NAMES_SHOWN = 3

logger = logging.getLogger("opmask")


class HarmonyTriple(NamedTuple):
    r"""One composite, as it is in the files.

    Attributes:
        composite: The RGB image with the changed region, ``uint8``, with shape
            :math:`(3, H, W)`, in 0-255.
        real: The image that it was made from, with the type and shape of `composite`.
        region: 255 where it was changed and 0 elsewhere, ``uint8``, with shape
            :math:`(1, H, W)`; in between where the file is soft.
        name: The file name of the composite without the ending.
    """

    composite: Tensor
    real: Tensor
    region: Tensor
    name: str


class IHarmony4(Dataset[HarmonyTriple]):
    r"""The composites of a folder in the layout of iHarmony4.

    That is::

        root/
            IHD_train.txt  IHD_test.txt         HCOCO/composite_images/c1_2_3.jpg, one a line
            HCOCO/                              likewise HAdobe5k, HFlickr, Hday2night
                HCOCO_train.txt  HCOCO_test.txt c1_2_3.jpg, one a line
                composite_images/c1_2_3.jpg     image 1, mask 2, variant 3
                masks/c1_2.png
                real_images/c1.jpg

    Names are split at their underscores from the right, as the images' own contain hyphens and may
    contain more. Lists decide what there is, and the order: that of the root, or else those of the
    parts. Lists of bare names are fine in the root too, also where all parts lie in one folder
    (`root/composite_images`). Some downloads have no lists; then it is all files, in the order of
    their names, whichever the split, and a warning in the log `opmask` says so.

    Masks may be files of any kind that says where the region is, see
    :func:`opmask.files.regions.to_region`. One of another size than its composite is resized to
    it, by nearest neighbour, where their aspect ratios agree to within 1 %.

    Args:
        root: The folder of the parts.
        split: `"train"` or `"test"`.
        subset: The part, `"HCOCO"`, `"HAdobe5k"`, `"HFlickr"`, `"Hday2night"` or another folder
            of that layout. Default: all four, or as many as there are.

    Attributes:
        paths: The composites' files.

    Raises:
        ValueError: If there is no such split, or a name is not of that form.
        FileNotFoundError: If there are no composites, or files are missing; some are named.

    References:
        | DoveNet: Deep Image Harmonization via Domain Verification (Cong et al., 2020)
        | https://arxiv.org/abs/1911.13239

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> files = "composite_images/c1_2_3.jpg", "masks/c1_2.png", "real_images/c1.jpg"
        >>> for name in files:
        ...     (root / "HCOCO" / name).parent.mkdir(parents=True)
        ...     Image.new("RGB", (3, 2), "white").save(root / "HCOCO" / name)
        >>> triples = IHarmony4(root, "test", "HCOCO")
        >>> triples[0].name, triples[0].region.shape
        ('c1_2_3', torch.Size([1, 2, 3]))
    """

    def __init__(self, root: str | Path, split: str, subset: str | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"'split' must be one of {SPLITS}, got {split!r}.")
        self.root = Path(root)
        self.paths = _listed(self.root, split, subset) or _found(self.root, split, subset)
        _check_complete(self.root, self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> HarmonyTriple:
        """The composite at `index`.

        Raises:
            BrokenPhotoError: If a file cannot be read, or the sizes do not fit.
        """
        path = self.paths[index]
        mask_path, real_path = _companions(path)
        composite, real, mask = read_image(path), read_image(real_path), read_region(mask_path)
        if real.shape != composite.shape:
            raise BrokenPhotoError(
                f"{real_path} must have the size of its composite, "
                f"{composite.shape[1]}x{composite.shape[2]}, got {real.shape[1]}x{real.shape[2]}."
            )
        return HarmonyTriple(composite, real, _fit(mask, composite, mask_path), path.stem)


def resize_triple(
    triple: HarmonyTriple, size: int, interpolation: str = "bicubic"
) -> HarmonyTriple:
    r"""Resizes all of a triple to a square, as published evaluation code does.

    Args:
        triple: The triple.
        size: The new height and width; the tables of iHarmony4 are made at 256.
        interpolation: `"bicubic"` is Pillow's, with antialiasing, the region cut at one half and
            resized by nearest neighbour, as DoveNet's evaluation does it; `"bilinear"` is
            OpenCV's, without antialiasing, also for the region, which becomes soft, as iDIH and
            its kin do it. See :class:`opmask.metrics.Protocol`.

    Returns:
        The triple, 8-bit.

    Raises:
        ValueError: If `size` is below 1, or there is no such interpolation.

    Example:
        >>> black = torch.zeros(3, 4, 6, dtype=torch.uint8)
        >>> resize_triple(HarmonyTriple(black, black, black[:1], "a"), 2).region.shape
        torch.Size([1, 2, 2])
    """
    if size < 1:
        raise ValueError(f"'size' must be at least 1, got {size}.")
    if interpolation == "bicubic":
        region = resize_nearest(255 * (triple.region >= 128).to(torch.uint8), size)
        composite, real = (_bicubic(image, size) for image in triple[:2])
        return HarmonyTriple(composite, real, region, triple.name)
    if interpolation != "bilinear":
        raise ValueError(
            f"'interpolation' must be 'bicubic' or 'bilinear', got {interpolation!r}."
        )
    composite, real, region = (resize_bilinear_opencv(plane, size) for plane in triple[:3])
    return HarmonyTriple(composite, real, region, triple.name)


def to_sample(triple: HarmonyTriple, photo: int) -> Sample:
    r"""A triple as what models and :func:`opmask.metrics.evaluate` take.

    Args:
        triple: The triple.
        photo: Its place in the data set.

    Returns:
        The sample, in :math:`[0, 1]`, without a record of what was done.

    Example:
        >>> white = torch.full((3, 2, 2), 255, dtype=torch.uint8)
        >>> to_sample(HarmonyTriple(white, white, white[:1], "a"), 0).region.max()
        tensor(1.)
    """
    composite, real, region = (plane.float() / 255 for plane in triple[:3])
    return Sample(composite, real, region, photo, "")


def _listed(root: Path, split: str, subset: str | None) -> list[Path]:
    """The composites that lists name; those of the parts if the root has none."""
    lists = [(root, root / f"IHD_{split}.txt")]
    if subset is not None or not lists[0][1].is_file():
        names = SUBSETS.values() if subset is None else (subset,)
        parts = [(root / name, root / name / f"{name}_{split}.txt") for name in names]
        lists = [entry for entry in parts if entry[1].is_file()] or lists
    paths = [
        _located(folder, line.strip())
        for folder, file in lists
        if file.is_file()
        for line in file.read_text(encoding="utf-8-sig").splitlines()
        if line.strip()
    ]
    paths = list(dict.fromkeys(paths))  # each once, in this order
    return paths if subset is None else [p for p in paths if p.parents[1] == root / subset]


def _located(folder: Path, line: str) -> Path:
    if "/" in line:
        return folder / line
    flat = folder / "composite_images"
    return (flat if flat.is_dir() else folder / SUBSETS.get(line[0], "") / flat.name) / line


def _found(root: Path, split: str, subset: str | None) -> list[Path]:
    """The composites that there are."""
    names = SUBSETS.values() if subset is None else (subset,)
    folders = [root / name / "composite_images" for name in names]
    paths = [path for folder in folders for path in picture_files(folder, (".jpg",))]
    if not paths:
        raise FileNotFoundError(
            f"'root' must hold composites, as in\n    {folders[0]}/*.jpg\n"
            f"got none, and no list IHD_{split}.txt that names some."
        )
    text = "no list of the split %r below %s: all %d composites are taken"
    logger.warning(text, split, root, len(paths))
    return paths


def _companions(path: Path) -> tuple[Path, Path]:
    """The files of the mask and of the real image that belong to a composite."""
    parts = path.stem.rsplit("_", 2)
    if len(parts) != 3:
        raise ValueError(
            f"{path} must be named <image>_<mask>_<variant>.jpg, got {path.name!r}. "
            "It says which mask and real image belong to it."
        )
    folder = path.parents[1]
    mask = folder / "masks" / f"{parts[0]}_{parts[1]}.png"
    return mask, folder / "real_images" / f"{parts[0]}.jpg"


def _check_complete(root: Path, paths: list[Path]) -> None:
    wanted = dict.fromkeys(file for path in paths for file in (path, *_companions(path)))
    missing = [str(file.relative_to(root)) for file in wanted if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"'root' must hold each composite with its mask and its real image, got {root}, in "
            f"which {len(missing)} of {len(wanted)} files are missing, such as "
            f"{', '.join(missing[:_NAMES_SHOWN])}."
        )


def _fit(mask: Tensor, composite: Tensor, path: Path) -> Tensor:
    (height, width), (rows, columns) = composite.shape[1:], mask.shape[1:]
    if abs(rows * width - columns * height) > ASPECT_TOLERANCE * min(
        rows * width, columns * height
    ):
        raise BrokenPhotoError(
            f"{path} must have the aspect ratio of its composite, {height}x{width}, to within "
            f"{ASPECT_TOLERANCE:.0%}, got {rows}x{columns}."
        )
    return resize_nearest(mask, (height, width))


def _bicubic(image: Tensor, size: int) -> Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    resized = picture.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()
