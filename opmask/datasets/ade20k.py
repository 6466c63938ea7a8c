r"""ADE20K scene parsing, from which the paper's HScene benchmark is made.

Works for anything in that folder layout. Nothing is downloaded. Folder -> ``Photo``.
"""

from __future__ import annotations

from pathlib import Path

from torch.utils.data import Dataset

from opmask.datasets.photos import Photo, read_photo

SPLITS = ("training", "validation")

_NAMES_SHOWN = 3


class ADE20K(Dataset[Photo]):
    r"""The photos and label maps of a folder in the layout of ADEChallengeData2016.

    That is::

        root/
            images/training/*.jpg         RGB photographs
            images/validation/*.jpg
            annotations/training/*.png    single-channel, named as the photographs
            annotations/validation/*.png  0 is unlabelled, the classes are 1 to 150

    Photos come in the order of their names. Files are read when asked for; one that is broken, or
    has no labelled pixel, then raises :class:`opmask.datasets.BrokenPhotoError`. (The paper leaves
    out the 14 training photos that have none.)

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
        images = self._find("images", ".jpg")
        labels = self._find("annotations", ".png")
        for alone, what in (
            (images.keys() - labels.keys(), "photographs without a label map"),
            (labels.keys() - images.keys(), "label maps without a photograph"),
        ):
            if alone:
                raise self._error(f"{len(alone)} {what}: {_shorten(sorted(alone))}")
        self.pairs = [(images[name], labels[name]) for name in images]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Photo:
        """The photo at `index`, in the order of the names."""
        return read_photo(*self.pairs[index])

    def _find(self, folder: str, ending: str) -> dict[str, Path]:
        path = self.root / folder / self.split
        if not path.is_dir():
            raise self._error(f"no folder {path}")
        files = sorted(path.iterdir())
        found = {file.stem: file for file in files if file.suffix.lower() == ending}
        if not found:
            if not files:
                raise self._error(f"an empty folder {path}")
            names = [file.name for file in files]
            raise self._error(f"no {ending} file among {len(names)} in {path}: {_shorten(names)}")
        return found

    def _error(self, found: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"'root' must hold photographs and label maps of the same names, as in\n"
            f"    {self.root}/images/{self.split}/*.jpg\n"
            f"    {self.root}/annotations/{self.split}/*.png\n"
            f"got {found}."
        )


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
