r"""ADE20K scene parsing, from which the paper's HScene benchmark is made.

Works for anything in that folder layout. Nothing is downloaded. Folder -> ``Photo``.
"""

from __future__ import annotations

from pathlib import Path

from opmask.datasets.pairs import TABLE_1, PhotoFiles, pair_files

SPLITS = ("training", "validation")


class ADE20K(PhotoFiles):
    r"""The photos and label maps of a folder in the layout of ADEChallengeData2016.

    That is::

        root/
            images/training/*.jpg         photographs
            images/validation/*.jpg
            annotations/training/*.png    named as the photographs
            annotations/validation/*.png  0 is unlabelled, the classes are 1 to 150

    Photos come in the order of their names. Files are read when asked for; one that cannot be used
    then raises :class:`opmask.datasets.BrokenPhotoError`. :func:`opmask.datasets.labelled` leaves
    out the photos that have no labelled pixel, as the paper does: 14 for training.

    Args:
        root: The folder that holds `images` and `annotations`.
        split: `"training"` or `"validation"`.

    Raises:
        ValueError: If there is no such split.
        FileNotFoundError: If the folder has another layout, no photographs, or some of them have
            no label map or the reverse.

    References:
        | Scene Parsing through ADE20K Dataset (Zhou et al., 2017)

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for folder, ending in ("images", "jpg"), ("annotations", "png"):
        ...     (root / folder / "training").mkdir(parents=True)
        ...     Image.new("L", (3, 2), 7).save(root / folder / "training" / f"barn.{ending}")
        >>> ADE20K(root, "training")[0].label_map
        tensor([[7, 7, 7],
                [7, 7, 7]])
    """

    def __init__(self, root: str | Path, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"'split' must be one of {SPLITS}, got {split!r}.")
        self.root = Path(root)
        self.split = split
        self.pairs = pair_files(self.root / "images" / split, self.root / "annotations" / split)
        self.published = TABLE_1["ADE20K", split]
