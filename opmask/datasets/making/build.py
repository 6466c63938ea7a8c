r"""Sets in iHarmony4's format, made of any photos with label maps by the perturbation engine.

One composite is made at a time, and each file is there whole or not at all, so that a build that
is killed goes on where it was. Which composites there are stands in `made.jsonl`, with what was
done to each; the lists are written when all of them are there.

``Photos`` of each split + ``MakingConfig`` -> :func:`make_iharmony4` -> folder -> ``IHarmony4``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from PIL import Image

from opmask.color import to_levels
from opmask.datasets.iharmony4 import COMPOSITES, MASKS, REALS, SPLITS, folders_of
from opmask.datasets.making.config import MakingConfig
from opmask.datasets.making.journal import JOURNAL, Journal, Made
from opmask.datasets.making.masks import choose_masks, draw_changes
from opmask.datasets.pairs import PhotoFiles
from opmask.datasets.photos import BrokenPhotoError, Photos, UnlabelledPhotoError
from opmask.datasets.workers import run
from opmask.files import is_leftover, remove_leftovers, replacing
from opmask.files.locking import LOCK, locked
from opmask.perturb import Composite, composite, sample_seed

Names = tuple[str, str, str]
"""The names of a composite, its mask and its real image, without endings."""

logger = logging.getLogger("opmask")


def make_iharmony4(
    photos: Mapping[str, Photos],
    out: str | Path,
    config: MakingConfig | None = None,
    *,
    workers: int = 0,
) -> dict[str, int]:
    r"""Makes a set in iHarmony4's format: composites, masks, real images and lists.

    In each photo some classes are chosen, among those that take a fitting share of it, and each
    becomes a mask; the pixels of a mask are changed by the perturbation engine, in as many ways as
    there are variants. As in iHarmony4 one region is changed in a composite, and the real image is
    never degraded. Photos without such a class are left out, and those that cannot be used, too,
    with a line in the log `opmask`. The folder is::

        out/
            IHD_train.txt  IHD_test.txt         HOwn/composite_images/barn_7_1.jpg, one a line
            HOwn/
                HOwn_train.txt  HOwn_test.txt   barn_7_1.jpg, one a line
                composite_images/barn_7_1.jpg   photo barn, class 7, variant 1
                masks/barn_7.png                8 bits, 255 inside
                real_images/barn.jpg
                made.jsonl                      what was done, one photo a line

    A later call with the same arguments makes what is missing, and one with another subset adds it
    and its lines to the lists of the root. No file that is there is replaced but those lists. No
    file depends on the number of workers.

    Args:
        photos: For each split, `"train"`, `"test"` or both, a data set or a list of
            :class:`opmask.datasets.Photo`. Their names must differ, and become those of the files.
        out: The folder to write: new, empty, or one that this function wrote.
        config: What the set is made of.
        workers: How many processes share the work; 0 is this one alone.

    Returns:
        For each split the number of composites.

    Raises:
        ValueError: If there is no such split, `out` holds something else or a set of that name
            made with other arguments, another build writes to it, two photos have one name, or a
            split has no photo that can be used.
        OSError: If `out` cannot be written to.

    Example:
        >>> import tempfile
        >>> from opmask.datasets import IHarmony4, SyntheticScenes
        >>> out = Path(tempfile.mkdtemp())
        >>> make_iharmony4({"test": SyntheticScenes(2)}, out, MakingConfig("HScenes"))
        {'test': 2}
        >>> sorted(path.name for path in out.iterdir())
        ['HScenes', 'IHD_test.txt']
        >>> IHarmony4(out, "test")[0].composite.shape
        torch.Size([3, 64, 64])
    """
    out, config = Path(out), config or MakingConfig()
    if not photos or (strange := [name for name in photos if name not in SPLITS]):
        raise ValueError(f"'photos' must be by split, one or both of {SPLITS}, got {strange}.")
    _check_names(photos)
    _check_place(out, config.subset)
    folder = out / config.subset
    with locked(out):
        header = config.header({split: _identity(some) for split, some in photos.items()})
        with Journal(folder / JOURNAL, header) as journal:
            for split, some in photos.items():
                _make_split(split, some, folder, config, journal, workers)
            made = {split: journal.composites(split) for split in photos}
        for part in (folder, *(folder / name for name in (COMPOSITES, MASKS, REALS))):
            remove_leftovers(part)  # to which only this build writes
        for split, names in made.items():
            files = [f"{name}{config.ending}" for name in names]
            _write_list(folder / f"{config.subset}_{split}.txt", files)
            _write_list(out / f"IHD_{split}.txt", _all_listed(out, split))
    return {split: len(names) for split, names in made.items()}


def _make_split(
    split: str, photos: Photos, folder: Path, config: MakingConfig, journal: Journal, workers: int
) -> None:
    """Makes what is missing of a split, and notes each photo as soon as it is done."""
    there = {made.index for made in journal.made(split) if _is_whole(folder, made, config)}
    missing = [index for index in range(len(photos)) if index not in there]
    make = partial(_make_photo, photos, folder, config, split)
    left_out, made = 0, None
    for made in run(make, missing, workers, split):
        if isinstance(made, Made):
            journal.add(made)
        elif isinstance(made, BrokenPhotoError):
            left_out += 1
            logger.warning("photo left out: %s", made)
        else:
            raise made
    if left_out == len(photos):
        last = f" The last one: {made}" if left_out else ""
        raise ValueError(
            f"'photos' must hold one that can be used for the split {split!r}, got none in "
            f"{len(photos)}.{last}"
        )


def _make_photo(
    photos: Photos, folder: Path, config: MakingConfig, split: str, index: int
) -> Made | Exception:
    """Writes what is made of a photo; an error is returned, as workers lose half of it."""
    try:
        photo = photos[index]
        seed = sample_seed(config.seed, SPLITS.index(split), index)
        masks = choose_masks(photo.label_map, config, seed)
        if not masks:
            low, high = config.share
            raise UnlabelledPhotoError(
                f"{photo.name!r} must have a class on {low:.0%} to {high:.0%} of its pixels."
            )
        name, applied = "-".join(photo.name.split()), {}
        for labels in masks:
            mask = f"{name}_{'-'.join(map(str, labels))}"
            for variant in range(1, config.variants + 1):
                record = draw_changes(labels, sample_seed(seed, labels[0], variant), config)
                made = composite(photo.image, photo.label_map, record, size=config.size)
                _write(folder, config, (f"{mask}_{variant}", mask, name), made)
                applied[f"{mask}_{variant}"] = record.to_json()
    except (OSError, ValueError) as error:
        return error
    return Made(split, index, name, applied)


def _write(folder: Path, config: MakingConfig, names: Names, made: Composite) -> None:
    """Writes composite, mask and real image, but for those that are there."""
    files = folders_of(folder, *names, config.ending)
    planes = made.composite, made.region, made.real
    for file, plane in zip(files, planes, strict=True):
        if file.exists():
            continue
        levels = to_levels(plane)
        pixels = levels[0] if len(levels) == 1 else levels.permute(1, 2, 0).contiguous()
        picture = Image.fromarray(pixels.numpy())
        with replacing(file) as temporary:
            if file.suffix == ".jpg":
                picture.save(temporary, quality=config.quality, subsampling=0)
            else:
                picture.save(temporary)


def _is_whole(folder: Path, made: Made, config: MakingConfig) -> bool:
    return all(
        file.is_file()
        for name in made.applied
        for file in folders_of(folder, name, name.rsplit("_", 1)[0], made.photo, config.ending)
    )


def _names(photos: Photos) -> list[str]:
    """The names that are known before photos are read."""
    return [path.stem for path, _ in photos.pairs] if isinstance(photos, PhotoFiles) else []


def _identity(photos: Photos) -> tuple[int, str]:
    """How many photos there are, and a checksum of their names, where these are known."""
    names = "\n".join(_names(photos))
    return len(photos), hashlib.sha256(names.encode()).hexdigest()[:16] if names else ""


def _check_names(photos: Mapping[str, Photos]) -> None:
    seen: dict[str, str] = {}
    for split, some in photos.items():
        for name in _names(some):
            # Without regard to case, because some file systems have none.
            if name.casefold() in seen:
                raise ValueError(
                    f"'photos' must have names that differ, got {name!r} twice, in "
                    f"{seen[name.casefold()]!r} and {split!r}. Rename one."
                )
            seen[name.casefold()] = split


def _check_place(out: Path, subset: str) -> None:
    """Refuses a folder in which something lies that was not made here."""
    for path in sorted(out.iterdir()) if out.is_dir() else []:
        known = path.name in {LOCK, *(f"IHD_{split}.txt" for split in SPLITS)}
        if not known and not is_leftover(path) and not (path / JOURNAL).is_file():
            raise ValueError(
                f"'out' must be a new or an empty folder or one of sets that were made here, got "
                f"{out}, which has {path.name!r} without a {JOURNAL}. Choose another folder."
            )


def _all_listed(out: Path, split: str) -> list[str]:
    """The lines of the list in the root: the composites of every set, by way of its own list."""
    return [
        f"{journal.parent.name}/{COMPOSITES}/{line}"
        for journal in sorted(out.glob(f"*/{JOURNAL}"))
        for line in _lines(journal.parent / f"{journal.parent.name}_{split}.txt")
    ]


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        yield from path.read_text(encoding="utf-8").splitlines()


def _write_list(path: Path, lines: list[str]) -> None:
    if list(_lines(path)) != lines:
        with replacing(path) as temporary:
            temporary.write_bytes("".join(f"{line}\n" for line in lines).encode())
