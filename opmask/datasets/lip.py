r"""LIP (Look into Person), from which the paper's HLIP benchmark is made.

Works for anything in that folder layout. Nothing is downloaded. Folder -> ``Photo``.
"""

from __future__ import annotations

from pathlib import Path

from opmask.datasets.pairs import TABLE_1, PhotoFiles, pair_files

SPLITS = ("train", "val")

_MACOS = "__MACOSX"


class LIP(PhotoFiles):
    r"""The photos and label maps of a folder in the layout of LIP, single person.

    That is::

        root/
            train_images/*.jpg            photographs
            train_segmentations/*.png     named as the photographs; 0 is background
            train_id.txt                  names without ending, one a line
            val_images/*.jpg
            val_segmentations/*.png
            val_id.txt

    Folders and lists may lie up to two folders deeper, as the official archives unpack
    (`TrainVal_images/train_images`, `TrainVal_parsing_annotations/train_segmentations`).

    The list decides which photos there are, and their order. Without one it is all photos in the
    order of their names. Files are read when asked for; one that cannot be used then raises
    :class:`opmask.datasets.BrokenPhotoError`. :func:`opmask.datasets.labelled` leaves out the
    photos that have no labelled pixel, as the paper does: 77 for training and 28 of `val`.

    Args:
        root: The folder that holds `train_images` and the rest.
        split: `"train"` or `"val"`.

    Raises:
        ValueError: If there is no such split, or the list is empty.
        FileNotFoundError: If the folder has another layout, no photographs, or some of them have
            no label map; without a list also if some label maps have no photograph.

    References:
        | Look into Person: Joint Body Parsing & Pose Estimation Network and a New Benchmark
          (Liang et al., 2019)

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for folder, ending in ("val_images", "jpg"), ("val_segmentations", "png"):
        ...     (root / folder).mkdir()
        ...     Image.new("L", (3, 2), 7).save(root / folder / f"36_453991.{ending}")
        >>> LIP(root, "val")[0].name
        '36_453991'
    """

    def __init__(self, root: str | Path, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"'split' must be one of {SPLITS}, got {split!r}.")
        self.root = Path(root)
        self.split = split
        self.pairs = pair_files(
            _locate(self.root, f"{split}_images"),
            _locate(self.root, f"{split}_segmentations"),
            _names(_locate(self.root, f"{split}_id.txt")),
        )
        self.published = TABLE_1["LIP", split]


def _locate(root: Path, name: str) -> Path:
    """Where `name` is: as far up as possible, at most two folders below the root."""
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        found = sorted(root.glob(pattern))
        # An archive of macOS has a second tree of that name, of files about the files.
        if kept := [path for path in found if _MACOS not in path.relative_to(root).parts]:
            return kept[0]
    return root / name


def _names(path: Path) -> list[str] | None:
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    # As the keys of a dict each name is there once, and the order stays.
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise ValueError(f"{path} must name photographs, one a line, got an empty list.")
    return names
