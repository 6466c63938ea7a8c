r"""Making the entries of a manifest, so that a build that was killed goes on where it was.

Each entry is written to a half-made manifest at once. Its first line is that of the manifest, but
without the counts of what was kept, so that it says to which benchmark it belongs.

``PhotoFiles`` + ``Settings`` -> :func:`make_entries` -> manifest, by way of a half-made one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from opmask.datasets.benchmark.config import BenchmarkConfig
from opmask.datasets.benchmark.lines import Entry, Header
from opmask.datasets.benchmark.manifest import read_line, sha256
from opmask.datasets.benchmark.recompression import draw_recompression
from opmask.datasets.pairs import PhotoFiles
from opmask.datasets.photos import BrokenPhotoError, UnlabelledPhotoError
from opmask.datasets.workers import Engine, run
from opmask.files.reading import whole_lines
from opmask.perturb import Settings, draw, sample_seed

logger = logging.getLogger("opmask")

Names = list[tuple[str, str]]
"""For each photo the photograph and the label map, relative to the root of the data set."""


def relative_names(photos: PhotoFiles, root: Path) -> Names:
    r"""The names by which a manifest knows the files of photos.

    Args:
        photos: The photos.
        root: The folder that they are in.

    Returns:
        The names, with forward slashes.

    Raises:
        ValueError: If a file lies outside of `root`.
    """
    try:
        return [
            (image.relative_to(root).as_posix(), label_map.relative_to(root).as_posix())
            for image, label_map in photos.pairs
        ]
    except ValueError as error:
        raise ValueError(f"'root' must be a folder of all photos, got {root}: {error}.") from error


def make_entries(
    half: BinaryIO,
    header: Header,
    photos: PhotoFiles,
    names: Names,
    settings: Settings,
    *,
    perturbations: Sequence[Callable[..., Any]],
    workers: int | Engine,
) -> tuple[Header, list[Entry]]:
    r"""Makes an entry for each photo that can be used, but for those made before.

    Args:
        half: The half-made manifest, open for reading and appending.
        header: The first line of the manifest; nothing is counted yet.
        photos: The photos.
        names: Their files, see :func:`relative_names`.
        settings: How samples are drawn.
        perturbations: Those that `settings` may draw besides opmask's.
        workers: As for :func:`opmask.datasets.build_benchmark`.

    Returns:
        What :func:`opmask.datasets.benchmark.manifest.write_manifest` takes.

    Raises:
        ValueError: If no photo can be used, or `perturbations` lack one that was drawn.
    """
    entries = _made_before(half, header, names, perturbations)
    missing = [index for index in range(len(names)) if index not in entries]
    make = partial(_make_entry, photos, names, header.config, settings)
    unlabelled, broken = [], []
    for index, made in zip(missing, run(make, missing, workers, "photos"), strict=True):
        if isinstance(made, Entry):
            line = made.to_json().encode()
            entries[index] = Entry.from_json(line, perturbations)  # refused now, not at the end
            half.write(line + b"\n")
            half.flush()
        elif isinstance(made, UnlabelledPhotoError):
            unlabelled.append(names[index][0])
        else:
            broken.append(names[index][0])
            logger.warning("photo left out: %s", made)
    if not entries:
        half.truncate(0)
        raise ValueError(f"'photos' must hold one that can be used, got none in {len(names)}.")
    header = replace(header, kept=len(entries), unlabelled=tuple(unlabelled), broken=tuple(broken))
    return header, [entries[index] for index in sorted(entries)]


def _made_before(
    half: BinaryIO, header: Header, names: Names, perturbations: Sequence[Callable[..., Any]]
) -> dict[int, Entry]:
    """The entries of a half-made manifest by their places; of another benchmark's, none."""
    first = header.to_json().encode() + b"\n"
    lines = whole_lines(half)
    if lines[:1] != [first]:
        half.truncate(0)
        half.write(first)
        half.flush()
        return {}
    read = partial(Entry.from_json, perturbations=perturbations)
    entries = [read_line(read, half.name, n, line) for n, line in enumerate(lines[1:], 2)]
    return {e.index: e for e in entries if (e.photo, e.label_map) in names[e.index : e.index + 1]}


def _make_entry(
    photos: PhotoFiles, names: Names, config: BenchmarkConfig, settings: Settings, index: int
) -> Entry | BrokenPhotoError:
    (image, label_map), (image_path, label_path) = names[index], photos.pairs[index]
    seed = sample_seed(config.seed, 0, index)
    try:
        applied = draw(photos[index].label_map, seed, settings)
    except BrokenPhotoError as error:
        return error
    except ValueError as error:  # the policy allows nothing
        return BrokenPhotoError(f"{image_path} cannot be changed: {error}")
    quality = config.recompression
    recompression = None if quality is None else draw_recompression(seed, quality)
    checksums = sha256(image_path), sha256(label_path)
    return Entry(index, image, label_map, *checksums, applied, recompression)
