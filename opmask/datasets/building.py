r"""Building benchmarks: a manifest of all samples first, and then, on request, their pictures.

The manifest takes minutes and is written at its end; the pictures take hours, are made from the
manifest, and each is there as soon as it is written. So a build that is killed loses little.

``PhotoFiles`` + ``Recipe`` -> :func:`build_benchmark` -> manifest and pictures -> ``Benchmark``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

import opmask
from opmask.datasets.benchmark import MANIFEST, Benchmark
from opmask.datasets.clean import draw_cleaning
from opmask.datasets.manifest import Entry, Header, sha256, write_manifest
from opmask.datasets.pairs import Counts, PhotoFiles
from opmask.datasets.photos import BrokenPhotoError, UnlabelledPhotoError
from opmask.datasets.recipe import SETTINGS, Recipe
from opmask.datasets.triptych import is_whole_png, write_triptych
from opmask.files import replacing
from opmask.perturb import draw, sample_seed

logger = logging.getLogger("opmask")

IMAGES = "images"
"""The name of the folder of the pictures in that of a benchmark."""

_HALF_MANIFEST = ".manifest.*.jsonl"  # as `replacing` names it while it is written

T = TypeVar("T")


@dataclass(frozen=True)
class _Tasks(Dataset[T], Generic[T]):
    """The results of a function for some numbers, for a data loader to compute."""

    function: Callable[[int], T]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> T:
        return self.function(self.numbers[place])


def build_benchmark(
    photos: PhotoFiles,
    root: str | Path,
    out: str | Path,
    recipe: Recipe,
    *,
    images: bool = False,
    workers: int = 0,
) -> Benchmark:
    r"""Writes a benchmark: a manifest and, on request, a picture of each sample.

    Photos that have no labelled pixel are left out, and those that cannot be used too, with a
    warning in the log `opmask`. Sample :math:`i` is drawn from
    ``sample_seed(recipe.seed, 0, i)``, where :math:`i` is the place in `photos`, whatever is left
    out before it.

    The folder holds `manifest.jsonl` and, with `images`, `images/*.png`, of which
    :func:`opmask.datasets.triptych.to_triptych` says how they look. Files appear whole or not at
    all. When it is called again, after it was killed or to add the pictures, what is there stays,
    and the rest is made. No file depends on the number of workers.

    Args:
        photos: The photos of a folder, such as :class:`opmask.datasets.ADE20K`.
        root: The folder that they are in, to which the paths in the manifest will be relative.
        out: The folder to write: new, empty, or that of a build with the same arguments.
        recipe: What the benchmark is made of.
        images: Whether to write the pictures.
        workers: How many processes share the work; 0 is this one alone.

    Returns:
        The benchmark.

    Raises:
        ValueError: If `out` holds something else, no photo can be used, a file lies outside of
            `root`, or one has changed since the manifest was written.
        OSError: If `out` cannot be written to.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from opmask.datasets import LIP
        >>> root, out = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
        >>> for folder, ending in ("val_images", "jpg"), ("val_segmentations", "png"):
        ...     (root / folder).mkdir()
        ...     for name, label in ("a", 0), ("b", 7):
        ...         Image.new("L", (3, 2), label).save(root / folder / f"{name}.{ending}")
        >>> recipe = Recipe("LIP", "val", seed=1)
        >>> benchmark = build_benchmark(LIP(root, "val"), root, out, recipe, images=True)
        >>> len(benchmark), benchmark[0].composite.shape
        (1, torch.Size([3, 2, 3]))
        >>> print(benchmark.header.describe())
        1 of 2 photos kept: 1 without a labelled pixel, 0 that cannot be used. In the paper
        (Table 1) it is 9972 of 10000.
        >>> sorted(path.name for path in out.rglob("*.*"))
        ['000001-b.png', 'manifest.jsonl']
    """
    out = Path(out)
    if not (out / MANIFEST).exists():
        _check_empty(out)
        _build_manifest(out / MANIFEST, photos, Path(root), recipe, workers)
    benchmark = Benchmark(out, root)
    _check_same(benchmark.header, out, recipe, len(photos))
    for leftover in [*out.glob(_HALF_MANIFEST), *out.glob(f"{IMAGES}/.*.png")]:
        leftover.unlink()  # of a build that was killed
    if images:
        _write_images(benchmark, out / IMAGES, workers)
    return benchmark


def _check_empty(out: Path) -> None:
    found = sorted(out.iterdir()) if out.is_dir() else []
    names = [path.name for path in found if not path.match(_HALF_MANIFEST)]
    if names:
        raise ValueError(
            f"'out' must be a new or an empty folder or that of the same benchmark, got {out}, "
            f"which has no {MANIFEST} but {names[0]!r}. Choose another folder."
        )


def _check_same(header: Header, out: Path, recipe: Recipe, photos: int) -> None:
    there = {**asdict(header.recipe), "photos": header.photos}
    wanted = {**asdict(recipe), "photos": photos}
    for name, value in there.items():
        if value != wanted[name]:
            raise ValueError(
                f"'out' must be the folder of the same benchmark or a new one, got {out}, which "
                f"has {name!r} {value!r}, not {wanted[name]!r}. Choose another folder."
            )


def _build_manifest(
    path: Path, photos: PhotoFiles, root: Path, recipe: Recipe, workers: int
) -> None:
    names = _relative_names(photos, root)
    with replacing(path) as temporary:
        temporary.touch()  # so that a folder that cannot be written to shows at once
        make = partial(_make_entry, photos, names, recipe)
        made = list(_run(make, range(len(photos)), workers, "photos"))
        entries = [entry for entry in made if isinstance(entry, Entry)]
        if not entries:
            raise ValueError(
                f"'photos' must hold one that can be used, got none in {len(photos)}."
            )
        write_manifest(temporary, _header(recipe, names, made, photos.published), entries)


def _relative_names(photos: PhotoFiles, root: Path) -> list[tuple[str, str]]:
    try:
        return [
            (image.relative_to(root).as_posix(), label_map.relative_to(root).as_posix())
            for image, label_map in photos.pairs
        ]
    except ValueError as error:
        raise ValueError(f"'root' must be a folder of all photos, got {root}: {error}.") from error


def _make_entry(
    photos: PhotoFiles, names: list[tuple[str, str]], recipe: Recipe, index: int
) -> Entry | BrokenPhotoError:
    try:
        photo = photos[index]
    except BrokenPhotoError as error:
        return error
    seed = sample_seed(recipe.seed, 0, index)
    applied = draw(photo.label_map, seed, SETTINGS[recipe.settings])
    clean = None if recipe.clean is None else draw_cleaning(seed, recipe.clean)
    (image, label_map), (image_path, label_path) = names[index], photos.pairs[index]
    checksums = sha256(image_path), sha256(label_path)
    return Entry(index, image, label_map, *checksums, applied, clean)


def _header(
    recipe: Recipe,
    names: list[tuple[str, str]],
    made: list[Entry | BrokenPhotoError],
    table_1: Counts | None,
) -> Header:
    unlabelled, broken = [], []
    for (name, _), state in zip(names, made, strict=True):
        if isinstance(state, UnlabelledPhotoError):
            unlabelled.append(name)
        elif isinstance(state, BrokenPhotoError):
            broken.append(name)
            logger.warning("photo left out: %s", state)
    kept = len(made) - len(unlabelled) - len(broken)
    left_out = tuple(unlabelled), tuple(broken)
    return Header(recipe, opmask.__version__, len(made), kept, *left_out, table_1)


def _write_images(benchmark: Benchmark, folder: Path, workers: int) -> None:
    missing = [
        number
        for number, entry in enumerate(benchmark.entries)
        if not is_whole_png(folder / entry.image_name)
    ]
    for error in _run(partial(_write_image, benchmark, folder), missing, workers, "images"):
        if error is not None:
            raise error


def _write_image(benchmark: Benchmark, folder: Path, number: int) -> Exception | None:
    # An error that a worker process raises would come with a traceback in its message.
    try:
        with replacing(folder / benchmark.entries[number].image_name) as temporary:
            write_triptych(temporary, benchmark[number])
    except (OSError, ValueError) as error:
        return error
    return None


def _run(
    function: Callable[[int], T], numbers: Sequence[int], workers: int, title: str
) -> Iterable[T]:
    """The results in the order of the numbers, with a progress bar where there is a terminal."""
    # A generator of its own, or the global one would be drawn from.
    loader = DataLoader(
        _Tasks(function, numbers),
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),
    )
    return tqdm(loader, title, disable=None)
