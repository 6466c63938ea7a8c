r"""Photos in files: pairs of a photograph and a label map, whatever the layout of the folders.

A layout, such as :class:`opmask.datasets.ADE20K`, finds the pairs with :func:`pair_files` and
inherits the reading from :class:`PhotoFiles`.

Folder -> pairs of files -> ``Photo`` (8-bit).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from opmask.datasets.photos import Photo
from opmask.datasets.reading import read_label_map, read_photo
from opmask.files.pictures import picture_files

_NAMES_SHOWN = 3


class PhotoCounts(NamedTuple):
    r"""How many photos a data set has.

    Attributes:
        photos: All of them.
        labelled: Those with a labelled pixel.
    """

    photos: int
    labelled: int


TABLE_1 = {
    ("ADE20K", "training"): PhotoCounts(20210, 20196),
    ("ADE20K", "validation"): PhotoCounts(2000, 2000),
    ("LIP", "train"): PhotoCounts(30462, 30385),
    ("LIP", "val"): PhotoCounts(10000, 9972),
}
"""The paper's Table 1, by class and split, that is, what HScene and HLIP are made of."""


class PhotoFiles(Dataset[Photo]):
    r"""The photos of some pairs of files; what the classes for a folder layout share.

    Files are read when asked for; see :func:`opmask.datasets.read_photo` for what is done with odd
    ones. A subclass sets the attributes in its constructor.

    Attributes:
        pairs: For each photo the paths of the photograph and of the label map.
        published: The paper's counts, for :func:`opmask.datasets.labelled` to compare with.

    Example:
        >>> class Barns(PhotoFiles):
        ...     def __init__(self, root):
        ...         self.pairs = [(path, path.with_suffix(".png")) for path in root.glob("*.jpg")]
        >>> len(Barns(Path("empty")))
        0
    """

    pairs: list[tuple[Path, Path]]
    published: PhotoCounts | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Photo:
        """The photo at `index`.

        Raises:
            UnlabelledPhotoError: If it has no labelled pixel.
            BrokenPhotoError: If it cannot be used for another reason.
        """
        return read_photo(*self.pairs[index])

    def label_map(self, index: int) -> Tensor:
        r"""The label map at `index`, without its photograph.

        Args:
            index: The place of the photo.

        Returns:
            The labels as the file has them, ``int64``, with shape :math:`(H, W)`, integers from 0
            on.

        Raises:
            BrokenPhotoError: If the file cannot be used.
        """
        return read_label_map(self.pairs[index][1])


def pair_files(
    images: Path,
    label_maps: Path,
    listed: Sequence[str] | None = None,
    *,
    endings: Sequence[str] = (".jpg",),
) -> list[tuple[Path, Path]]:
    r"""Finds the photographs of one folder and the label maps of the same names in another.

    Args:
        images: The folder of the photographs.
        label_maps: The folder of the label maps, `*.png`.
        listed: The names to take, without endings, in this order. Default: all, sorted.
        endings: Those of the photographs, in lower case.

    Returns:
        The pairs of paths.

    Raises:
        FileNotFoundError: If a folder is missing or has no such file, a name has only one of the
            two, or there is no name.
        ValueError: If two photographs have one name.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in "barn.jpg", "barn.png":
        ...     (root / name).touch()
        >>> [(image, label_map)] = pair_files(root, root)
        >>> image.name, label_map.name
        ('barn.jpg', 'barn.png')
    """
    photographs, maps = _files(images, endings), _files(label_maps, [".png"])
    names = list(photographs) if listed is None else listed
    found = (
        _lacking(images, photographs, endings)
        or _lacking(label_maps, maps, [".png"])
        or _unpaired(set(names), photographs, maps, strict=listed is None)
    )
    if found:
        raise FileNotFoundError(
            f"'root' must hold photographs and label maps of the same names, as in\n"
            f"    {images}/*{endings[0]}\n"
            f"    {label_maps}/*.png\n"
            f"got {found}."
        )
    return [(photographs[name], maps[name]) for name in names]


def _files(folder: Path, endings: Sequence[str]) -> dict[str, Path]:
    """The files of a folder by their names without endings."""
    files: dict[str, Path] = {}
    for file in picture_files(folder, endings):
        if file.stem in files:
            raise ValueError(
                f"'root' must hold one photograph of each name, got {files[file.stem].name} and "
                f"{file.name} in {folder}."
            )
        files[file.stem] = file
    return files


def _lacking(folder: Path, files: dict[str, Path], endings: Sequence[str]) -> str:
    if files:
        return ""
    if not folder.is_dir():
        return f"no folder {folder}"
    names = sorted(file.name for file in folder.iterdir())
    if not names:
        return f"an empty folder {folder}"
    kind = endings[0] if len(endings) == 1 else "picture"
    return f"no {kind} file among {len(names)} in {folder}: {_shorten(names)}"


def _unpaired(
    names: set[str], photographs: dict[str, Path], maps: dict[str, Path], *, strict: bool
) -> str:
    for alone, what in (
        (names - photographs.keys(), "listed names without a photograph"),
        (names - maps.keys(), "photographs without a label map"),
        # A list may leave out what it likes.
        (maps.keys() - names if strict else set(), "label maps without a photograph"),
    ):
        if alone:
            return f"{len(alone)} {what}: {_shorten(sorted(alone))}"
    return ""


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
