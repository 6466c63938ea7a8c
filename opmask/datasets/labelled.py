r"""Leaving out the photos that have nothing to change, and counting them, before training starts.

``PhotoFiles`` -> :func:`labelled` -> a subset without photos that have no labelled pixel.
"""

from __future__ import annotations

import logging
from functools import partial
from multiprocessing.pool import ThreadPool

from torch.utils.data import Subset
from tqdm import tqdm

from opmask.datasets.pairs import PhotoCounts, PhotoFiles
from opmask.datasets.photos import BrokenPhotoError, Photo

logger = logging.getLogger("opmask")


def labelled(photos: PhotoFiles, *, workers: int = 0) -> Subset[Photo]:
    r"""Leaves out the photos that have no labelled pixel, or no label map that can be read.

    Every label map is read once, and no photograph. How many are left out is logged (logger
    `opmask`, as a warning), and how the counts compare with the paper's Table 1 where `photos` are
    the full data set.

    Args:
        photos: The photos of a folder, such as :class:`opmask.datasets.ADE20K`.
        workers: How many threads to read with; 0 is one.

    Returns:
        The remaining photos, in the same order; its `indices` are their places in `photos`.

    Raises:
        ValueError: If none remains.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from opmask.datasets import LIP
        >>> root = Path(tempfile.mkdtemp())
        >>> for folder, ending in ("val_images", "jpg"), ("val_segmentations", "png"):
        ...     (root / folder).mkdir()
        ...     for name, label in ("a", 0), ("b", 7):
        ...         Image.new("L", (3, 2), label).save(root / folder / f"{name}.{ending}")
        >>> photos = labelled(LIP(root, "val"))
        >>> len(photos), photos[0].name
        (1, 'b')
    """
    total = len(photos)
    with ThreadPool(max(1, workers)) as pool:
        # In threads: nothing has to be copied between processes, and decoding runs in parallel.
        read = pool.imap(partial(_has_label, photos), range(total))
        found = list(tqdm(read, "label maps", total, disable=None))
    kept = [index for index, usable in enumerate(found) if usable is True]
    broken = [error for error in found if isinstance(error, BrokenPhotoError)]
    _log_left_out(total, total - len(kept) - len(broken), broken)
    if not kept:
        raise ValueError(f"'photos' must hold one with a labelled pixel, got none in {total}.")
    if photos.published is not None:
        _log_comparison(PhotoCounts(total, len(kept)), photos.published)
    return Subset(photos, kept)


def _has_label(photos: PhotoFiles, index: int) -> bool | BrokenPhotoError:
    """Whether a photo has a labelled pixel, or why that cannot be read."""
    try:
        return bool(photos.label_map(index).any())
    except BrokenPhotoError as error:
        return error


def _log_left_out(total: int, unlabelled: int, broken: list[BrokenPhotoError]) -> None:
    if unlabelled:
        text = "%d of %d photos have no labelled pixel and are left out"
        logger.warning(text, unlabelled, total)
    if broken:
        text = "%d of %d label maps cannot be used and are left out; the first: %s"
        logger.warning(text, len(broken), total, broken[0])


def _log_comparison(found: PhotoCounts, paper: PhotoCounts) -> None:
    remain = f"{found.labelled} of {found.photos} photos remain"
    if found.photos != paper.photos:
        logger.info("%s; the full data set has %d", remain, paper.photos)
    elif found != paper:
        logger.warning("%s; in the paper (Table 1) it is %d", remain, paper.labelled)
    else:
        logger.info("%s, as in the paper (Table 1)", remain)
