r"""The photos of a folder by split, whichever of the known layouts it has.

Folder, or `scenes:N` -> :func:`photos_by_split` -> :func:`opmask.datasets.make_iharmony4`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from opmask.datasets.ade20k import ADE20K
from opmask.datasets.iharmony4 import SPLITS
from opmask.datasets.lip import LIP
from opmask.datasets.pairs import PhotoFiles, pair_files
from opmask.datasets.photos import Photos
from opmask.datasets.scenes import SyntheticScenes
from opmask.files.endings import READ
from opmask.perturb.rng import make_rng

LABEL_FOLDERS = ("annotations", "labels", "label_maps", "masks", "segmentations")
"""The names under which the label maps of a plain folder are looked for."""


class _Pairs(PhotoFiles):
    """Pairs of files, from wherever."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        self.pairs = list(pairs)


def photos_by_split(
    source: str | Path,
    *,
    labels: str | Path | None = None,
    test_share: float = 0.1,
    seed: int = 0,
    size: int = 256,
) -> dict[str, Photos]:
    r"""Finds photos with label maps, and which are to train and which to test on.

    ========================================= ============================================
    layout                                    splits
    ========================================= ============================================
    ADE20K's, `images/training` and so on     its own; validation is to test on
    LIP's, `train_images` and so on           its own; `val` is to test on
    `images/*.jpg` with `labels/*.png`        a share of the photos, drawn by the seed, is
                                              to test on. The second folder may have any
                                              name of :data:`LABEL_FOLDERS`, and photos may
                                              be of any kind: PNG, TIFF, ...
    `*.jpg`, and `labels` names a folder      likewise
    `scenes:1000`, no folder                  synthetic scenes, likewise
    ========================================= ============================================

    Args:
        source: The folder, or `"scenes:N"` for N synthetic scenes.
        labels: The folder of the label maps of the photos in `source`.
        test_share: The share of the photos to test on, where the layout has no splits.
        seed: The integer that decides which, and draws scenes.
        size: The height and width of synthetic scenes, in pixels.

    Returns:
        The photos by split, those of `"train"`, of `"test"`, or both.

    Raises:
        ValueError: If `test_share` is not in [0, 1], or scenes are too few or too small.
        FileNotFoundError: If the folder has none of these layouts, or files are missing.

    Example:
        >>> {split: len(photos) for split, photos in photos_by_split("scenes:20").items()}
        {'train': 18, 'test': 2}
    """
    if not 0 <= test_share <= 1:
        raise ValueError(f"'test_share' must lie in [0, 1], got {test_share}.")
    if scenes := re.fullmatch(r"scenes:(\d+)", str(source)):
        return _scenes(int(scenes[1]), test_share, seed, size)
    root = Path(source)
    if labels is None:
        if found := _layout_splits(root):
            return found
        folder = root / "images"
        names = [name for name in LABEL_FOLDERS if (root / name).is_dir()]
        if not folder.is_dir() or not names:
            raise FileNotFoundError(_explain(root))
        root, labels = folder, root / names[0]
    # Where both lie in one folder, PNG files are label maps.
    endings = READ if root != Path(labels) else [end for end in READ if end != ".png"]
    pairs = pair_files(root, Path(labels), endings=endings)
    tested = set(make_rng(seed).sample(range(len(pairs)), round(test_share * len(pairs))))
    parts = [[pair for i, pair in enumerate(pairs) if (i in tested) == test] for test in (0, 1)]
    return {split: _Pairs(part) for split, part in zip(SPLITS, parts, strict=True) if part}


def place_of(photos: Photos) -> str:
    r"""Where photos lie, as the end of a sentence; scenes lie nowhere.

    Args:
        photos: What :func:`photos_by_split` found of a split.

    Returns:
        The words, beginning with a blank, or none.

    Example:
        >>> place_of(SyntheticScenes(1))
        ''
    """
    return f" in {photos.pairs[0][0].parent}" if isinstance(photos, PhotoFiles) else ""


def _scenes(count: int, test_share: float, seed: int, size: int) -> dict[str, Photos]:
    tested = round(test_share * count)
    counts = {"train": count - tested, "test": tested}
    if not count:
        raise ValueError("'source' must be scenes:N with N from 1 on, got scenes:0.")
    # Other scenes, and not the same with other numbers: see validation in the examples.
    seeds = {"train": seed, "test": seed + 2**31}
    return {
        split: SyntheticScenes(number, size=size, seed=seeds[split])
        for split, number in counts.items()
        if number
    }


def _layout_splits(root: Path) -> dict[str, Photos]:
    """The splits of a folder in ADE20K's or LIP's layout; none if it has another."""
    if any((root / "images" / name).is_dir() for name in ("training", "validation")):
        there = {"train": "training", "test": "validation"}
        return {
            split: ADE20K(root, name)
            for split, name in there.items()
            if (root / "images" / name).is_dir()
        }
    # As LIP itself looks for them.
    patterns = ("{}_images", "*/{}_images", "*/*/{}_images")
    return {
        split: LIP(root, name)
        for split, name in {"train": "train", "test": "val"}.items()
        if any(any(root.glob(pattern.format(name))) for pattern in patterns)
    }


def _explain(root: Path) -> str:
    there = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    got = f"{root} with {', '.join(there[:5])}" if there else f"{root}, which is empty or missing"
    return (
        "'source' must be a folder in the layout of ADE20K (images/training), of LIP "
        f"(train_images), or images/*.jpg with one of {', '.join(LABEL_FOLDERS)} beside; or "
        f"scenes:N; got {got}. Name the folder of the label maps with labels=."
    )
