r"""Building benchmarks: a manifest of all samples first, and then, on request, their pictures.

The manifest takes minutes, and what is drawn for it is kept in a half-made one; the pictures take
hours, are made from the manifest, and each is there as soon as it is written. So a build that is
killed loses next to nothing.

``PhotoFiles`` + ``BenchmarkConfig`` -> :func:`build_benchmark` -> manifest and pictures ->
``Benchmark``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from opmask._version import __version__
from opmask.datasets.benchmark.config import BenchmarkConfig
from opmask.datasets.benchmark.dataset import MANIFEST, Benchmark
from opmask.datasets.benchmark.entries import make_entries, relative_names
from opmask.datasets.benchmark.lines import Header
from opmask.datasets.benchmark.manifest import LARGEST, write_manifest
from opmask.datasets.benchmark.triptych import is_whole_png, write_triptych
from opmask.datasets.pairs import PhotoFiles
from opmask.datasets.workers import Engine, run
from opmask.files import check_regular, explaining, is_leftover, remove_leftovers
from opmask.files.locking import LOCK, locked
from opmask.perturb import PRESETS, Settings

IMAGES = "images"
"""The name of the folder of the pictures in that of a benchmark."""

_HALF = ".half-made.jsonl"  # the samples drawn so far


def build_benchmark(
    photos: PhotoFiles,
    root: str | Path,
    out: str | Path,
    config: BenchmarkConfig,
    *,
    images: bool = False,
    workers: int | Engine = 0,
    settings: Settings | None = None,
    perturbations: Sequence[Callable[..., Any]] = (),
) -> Benchmark:
    r"""Writes a benchmark: a manifest and, on request, a picture of each sample.

    Photos that have no labelled pixel are left out, and those that cannot be used, or that a
    policy spares altogether, too, with a warning in the log `opmask`. Sample :math:`i` is drawn
    from ``sample_seed(config.seed, 0, i)``, where :math:`i` is the place in `photos`, whatever is
    left out before it.

    The folder holds `manifest.jsonl` and, with `images`, `images/*.png`, of which
    :func:`opmask.datasets.benchmark.triptych.to_triptych` says how they look. Files appear whole
    or not at all. When it is called again, after it was killed or to add the pictures, what is
    there stays, and the rest is made; samples that were drawn for a manifest that was not
    completed stay, too (in `.half-made.jsonl`). No file depends on the number of workers.

    Args:
        photos: The photos of a folder, such as :class:`opmask.datasets.ADE20K`.
        root: The folder that they are in, to which the paths in the manifest will be relative.
        out: The folder to write: new, empty, or that of a build with the same arguments.
        config: What the benchmark is made of.
        images: Whether to write the pictures.
        workers: How many processes share the work; 0 is this one alone. Or what shares it
            otherwise, on many machines say: a function that gets a function and numbers, and gives
            the results in their order (``examples/build_benchmark_with_ray.py``).
        settings: Settings of your own, for instance with a policy. The manifest says in what they
            differ from those that `config` names. Default: those.
        perturbations: Those of your own that `settings` draw, each as the function or class
            itself, see :class:`opmask.perturb.Perturbation`.

    Returns:
        The benchmark.

    Raises:
        ValueError: If `out` holds something else or another build writes to it, no photo can be
            used, a file lies outside of `root` or has changed since the manifest was written, or
            `perturbations` lack one that is drawn.
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
        >>> config = BenchmarkConfig("LIP", "val", seed=1)
        >>> benchmark = build_benchmark(LIP(root, "val"), root, out, config, images=True)
        >>> len(benchmark), benchmark[0].composite.shape
        (1, torch.Size([3, 2, 3]))
        >>> print(benchmark.header.describe())
        1 of 2 photos kept: 1 without a labelled pixel, 0 that cannot be used. In the paper
        (Table 1) it is 9972 of 10000.
        >>> sorted(path.name for path in out.rglob("*.*"))
        ['000001-b.png', 'manifest.jsonl']
    """
    out, names = Path(out), relative_names(photos, Path(root))
    named = PRESETS[config.settings]
    header = Header(
        config,
        __version__,
        len(photos),
        kept=0,
        table_1=photos.published,
        own_settings=_difference(settings or named, named),
    )
    if not (out / MANIFEST).exists():
        _check_empty(out)
    with locked(out):
        if not (out / MANIFEST).exists():
            with _half_made(out) as half:
                made = make_entries(
                    half,
                    header,
                    photos,
                    names,
                    settings or named,
                    perturbations=perturbations,
                    workers=workers,
                )
            write_manifest(out / MANIFEST, *made)
        (out / _HALF).unlink(missing_ok=True)  # all of it stands in the manifest
        benchmark = Benchmark(out, root, perturbations)
        _check_same(benchmark.header, header, out)
        for folder in (out, out / IMAGES):  # which only this build writes to
            remove_leftovers(folder)
        if images:
            _write_images(benchmark, out / IMAGES, workers)
    return benchmark


def _difference(own: Settings, named: Settings) -> str:
    """In what settings of one's own differ from the named ones, functions by their names."""
    values = {field.name: getattr(own, field.name) for field in fields(own)}
    return ", ".join(
        f"{name}={getattr(value, '__name__', value)}"
        for name, value in values.items()
        if value != getattr(named, name)
    )


def finished_files(out: str | Path) -> set[Path]:
    r"""What of a benchmark is there already, and is not written again.

    Args:
        out: Its folder.

    Returns:
        The manifest and the whole pictures.

    Example:
        >>> finished_files("missing")
        set()
    """
    manifest, pictures = Path(out, MANIFEST), Path(out, IMAGES).glob("*.png")
    found = {path for path in pictures if is_whole_png(path)}
    return found | ({manifest} if manifest.exists() else set())


@contextmanager
def _half_made(out: Path) -> Iterator[BinaryIO]:
    """The samples drawn so far, for reading and adding; removed if there are none."""
    if os.path.lexists(out / _HALF):
        check_regular(out / _HALF, LARGEST)
    try:
        with explaining(out / _HALF), open(out / _HALF, "a+b") as half:
            yield half
    finally:
        if not (out / _HALF).stat().st_size:
            (out / _HALF).unlink()


def _check_empty(out: Path) -> None:
    found = sorted(out.iterdir()) if out.is_dir() else []
    names = [p.name for p in found if p.name not in (LOCK, _HALF) and not is_leftover(p)]
    if names:
        raise ValueError(
            f"'out' must be a new or an empty folder or that of the same benchmark, got {out}, "
            f"which has no {MANIFEST} but {names[0]!r}. Choose another folder."
        )


def _check_same(there: Header, wanted: Header, out: Path) -> None:
    for name, value in _identity(wanted).items():
        if (found := _identity(there)[name]) != value:
            raise ValueError(
                f"'out' must be the folder of the same benchmark or a new one, got {out}, which "
                f"has {name!r} {found!r}, not {value!r}. Choose another folder."
            )


def _identity(header: Header) -> dict[str, Any]:
    own = {"photos": header.photos, "own_settings": header.own_settings}
    return asdict(header.config) | own


def _write_images(benchmark: Benchmark, folder: Path, workers: int | Engine) -> None:
    missing = [
        number
        for number, entry in enumerate(benchmark.entries)
        if not is_whole_png(folder / entry.image_name)
    ]
    for error in run(partial(_write_image, benchmark, folder), missing, workers, "images"):
        if error is not None:
            raise error


def _write_image(benchmark: Benchmark, folder: Path, number: int) -> Exception | None:
    # An error that a worker process raises would come with a traceback in its message.
    try:
        write_triptych(folder / benchmark.entries[number].image_name, benchmark[number])
    except (OSError, ValueError) as error:
        return error
    return None
