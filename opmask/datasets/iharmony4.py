r"""iHarmony4, the benchmark of networks that are given the region: composites with real images.

Works for anything in that folder layout. Nothing is downloaded.

Folder -> ``IHarmony4``, which resizes as published code does -> ``Composite`` -> evaluation.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from opmask.datasets.photos import BrokenPhotoError
from opmask.datasets.reading import ASPECT_TOLERANCE, read_image, read_region
from opmask.files.pictures import picture_files
from opmask.perturb import Composite
from opmask.perturb.compositing import Planes
from opmask.perturb.resize import resize_bilinear_opencv, resize_nearest

SPLITS = ("train", "test")

SUBSETS = {"c": "HCOCO", "a": "HAdobe5k", "f": "HFlickr", "d": "Hday2night"}
"""The four parts, by the letter with which the names of their files begin."""

COMPOSITES, MASKS, REALS = "composite_images", "masks", "real_images"
"""The folders of a part."""

ENDINGS = (".jpg", ".png")
"""The endings of composites and real images; iHarmony4 has the first."""

INVERTED_LEVELS, INVERTED_RATIO = 4, 3
"""A mask is inverted if composite and real image differ on average by more than so many levels of
255 outside of it, and there so many times as much as inside. JPEG changes 2 levels at most."""

_NAMES_SHOWN = 3

logger = logging.getLogger("opmask")


class IHarmony4(Dataset[Composite]):
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

    Images are in :math:`[0, 1]`, multiples of 1/255 also where they were resized. The region is 1
    inside and 0 outside, in between where the file of the mask is soft, or resizing made it so.
    There are no records of what was done. A mask that is black where the composite was changed is
    found and named.

    :func:`opmask.datasets.make_iharmony4` makes such a folder of other photos, where
    composites and real images may also be PNG, and the parts have other names.

    Args:
        root: The folder of the parts.
        split: `"train"` or `"test"`.
        subset: The part, `"HCOCO"`, `"HAdobe5k"`, `"HFlickr"`, `"Hday2night"` or another folder
            of that layout. Default: all that the list of the root names, else all four, or as many
            as there are.
        size: The height and width to which all is resized, without keeping the aspect ratio; the
            tables of iHarmony4 are made at 256. Default: nothing is resized.
        interpolation: How it is resized. `"bicubic"` is Pillow's, with antialiasing, the region
            cut at one half and resized by nearest neighbour, as DoveNet's evaluation does it;
            `"bilinear"` is OpenCV's, without antialiasing, also for the region, which becomes
            soft, as iDIH and its kin do it. See :class:`opmask.metrics.Protocol`.
        inverted: Whether masks are black where the composite was changed.

    Attributes:
        paths: The composites' files; the stem of each is the name of the sample.
        subsets: The part that each of them belongs to.

    Raises:
        ValueError: If there is no such split or interpolation, `size` is below 1, or a name is not
            of that form.
        FileNotFoundError: If there is no such part, there are no composites, or files are missing;
            some are named.

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
        >>> samples = IHarmony4(root, "test", "HCOCO", size=256)
        >>> samples.paths[0].stem, samples[0].composite.shape
        ('c1_2_3', torch.Size([3, 256, 256]))
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        subset: str | None = None,
        *,
        size: int | None = None,
        interpolation: str = "bicubic",
        inverted: bool = False,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"'split' must be one of {SPLITS}, got {split!r}.")
        if size is not None and size < 1:
            raise ValueError(f"'size' must be at least 1, got {size}.")
        if interpolation not in RESIZES:
            raise ValueError(
                f"'interpolation' must be 'bicubic' or 'bilinear', got {interpolation!r}."
            )
        self.root = Path(root)
        self.size = size
        self.interpolation = interpolation
        self.inverted = inverted
        self.paths = _listed(self.root, split, subset) or _found(self.root, split, subset)
        _check_complete(self.root, self.paths)
        self.subsets = [_subset(self.root, path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Composite:
        """The composite at `index`.

        Raises:
            BrokenPhotoError: If a file cannot be read, the sizes do not fit, or the mask is white
                where nothing was changed, and black where something was.
        """
        path = self.paths[index]
        mask_path, real_path = _companions(path)
        composite, real, mask = read_image(path), read_image(real_path), read_region(mask_path)
        if real.shape != composite.shape:
            raise BrokenPhotoError(
                f"{real_path} must have the size of its composite, "
                f"{composite.shape[1]}x{composite.shape[2]}, got {real.shape[1]}x{real.shape[2]}."
            )
        mask = 255 - mask if self.inverted else mask
        planes = composite, real, _fit(mask, composite, mask_path)
        if self.size is not None:
            planes = RESIZES[self.interpolation](*planes, self.size)
        composite, real, region = (plane.float() / 255 for plane in planes)
        self._check_polarity(composite, real, region, mask_path)
        return Composite(composite, real, region, None)

    def _check_polarity(self, composite: Tensor, real: Tensor, region: Tensor, path: Path) -> None:
        inside = region[0] > 0.5
        if inside.all() or not inside.any():
            return
        error = 255 * (composite - real).abs().mean(0)
        own, other = error[inside].mean().item(), error[~inside].mean().item()
        if other > max(INVERTED_LEVELS, INVERTED_RATIO * own):
            raise BrokenPhotoError(
                f"{path} must be white where the composite was changed, and seems inverted: the "
                f"two images differ by {own:.1f} levels inside, {other:.1f} outside. Pass "
                f"inverted={not self.inverted} if all masks are."
            )


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


def _subset(root: Path, path: Path) -> str:
    """The part of a composite; where all parts lie in one folder, its first letter says."""
    folder = path.parents[1]
    return SUBSETS.get(path.name[0], folder.name) if folder == root else folder.name


def _located(folder: Path, line: str) -> Path:
    if "/" in line:
        return folder / line
    flat = folder / COMPOSITES
    return (flat if flat.is_dir() else folder / SUBSETS.get(line[0], "") / flat.name) / line


def _found(root: Path, split: str, subset: str | None) -> list[Path]:
    """The composites that there are."""
    names = SUBSETS.values() if subset is None else (subset,)
    folders = [root / name / COMPOSITES for name in names]
    paths = [path for folder in folders for path in picture_files(folder, ENDINGS)]
    if not paths:
        raise FileNotFoundError(
            f"'root' must hold composites, as in\n    {folders[0]}/*.jpg\n"
            f"got none, and no list IHD_{split}.txt that names some. {_there(root)}"
        )
    text = "no list of the split %r below %s: all %d composites are taken"
    logger.warning(text, split, root, len(paths))
    return paths


def _there(root: Path) -> str:
    """What 'subset' may be, as a sentence."""
    names = sorted(path.parent.name for path in root.glob(f"*/{COMPOSITES}"))
    return f"'subset' may be {', '.join(names)}." if names else "There is no other subset."


def _companions(path: Path) -> tuple[Path, Path]:
    """The files of the mask and of the real image that belong to a composite."""
    parts = path.stem.rsplit("_", 2)
    if len(parts) != 3:
        raise ValueError(
            f"{path} must be named <image>_<mask>_<variant>.jpg, got {path.name!r}. "
            "It says which mask and real image belong to it."
        )
    mask = f"{parts[0]}_{parts[1]}"
    return folders_of(path.parents[1], path.stem, mask, parts[0], path.suffix)[1:]


def folders_of(
    folder: Path, composite: str, mask: str, real: str, ending: str
) -> tuple[Path, Path, Path]:
    """The files of a composite, of its mask and of its real image, by names without endings."""
    return (
        folder / COMPOSITES / f"{composite}{ending}",
        folder / MASKS / f"{mask}.png",
        folder / REALS / f"{real}{ending}",
    )


def _check_complete(root: Path, paths: list[Path]) -> None:
    parts = dict.fromkeys(path.parents[1] for path in paths)
    if gone := [part.name for part in parts if not part.is_dir()]:
        count = sum(path.parents[1].name in gone for path in paths)
        raise FileNotFoundError(
            f"'root' must hold every part that its list names, got {root}, which lacks "
            f"{', '.join(gone)} with {count} of {len(paths)} composites. Pass subset= for one of "
            "the others, or the lists of the parts instead of that of the root."
        )
    wanted = dict.fromkeys(file for path in paths for file in (path, *_companions(path)))
    missing = [os.path.relpath(file, root) for file in wanted if not file.is_file()]
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


def _bicubic(composite: Tensor, real: Tensor, region: Tensor, size: int) -> Planes:
    binary = 255 * (region >= 128).to(torch.uint8)
    return _pillow(composite, size), _pillow(real, size), resize_nearest(binary, size)


def _pillow(image: Tensor, size: int) -> Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    resized = picture.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def _bilinear(composite: Tensor, real: Tensor, region: Tensor, size: int) -> Planes:
    resize = resize_bilinear_opencv
    return resize(composite, size), resize(real, size), resize(region, size)


RESIZES: dict[str, Callable[[Tensor, Tensor, Tensor, int], Planes]] = {
    "bicubic": _bicubic,
    "bilinear": _bilinear,
}
"""The ways to resize composite, real and region, 8-bit, by name."""
