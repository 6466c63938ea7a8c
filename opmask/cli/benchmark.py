r"""The command `opmask build-benchmark`: photos in, a benchmark out.

Arguments -> :func:`opmask.datasets.build_benchmark` -> files, and what is worth knowing on the
standard output.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

SPLITS = {"ade20k": "validation", "lip": "val"}
"""For each data set the split that the paper tests on."""

SETTINGS = ("default", "reference", "reference-rgb")
"""The names of :data:`opmask.perturb.PRESETS`, which help is to show without torch."""


def build(
    data: Annotated[str, typer.Argument(help=f"The data set: {' or '.join(SPLITS)}.")],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    out: Annotated[Path, typer.Argument(help="The folder to write: new, or to be completed.")],
    split: Annotated[
        str, typer.Option(help="Its split. Default: the one that the paper tests on.")
    ] = "",
    seed: Annotated[int, typer.Option(help="The integer that decides all samples.")] = 0,
    settings: Annotated[str, typer.Option(help=f"One of {', '.join(SETTINGS)}.")] = "default",
    size: Annotated[
        int | None, typer.Option(help="Resize samples to a square of so many pixels.")
    ] = None,
    recompress: Annotated[
        bool, typer.Option("--recompress", help="Resample and compress, as real composites were.")
    ] = False,
    quality: Annotated[int, typer.Option(help="The JPEG quality for --recompress.")] = 90,
    images: Annotated[
        bool, typer.Option("--images", help="Write a picture of each sample, too.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="How many processes. Default: one for each processor.")
    ] = None,
) -> None:
    """Build a benchmark from the photos of a data set."""
    if data not in SPLITS:
        raise ValueError(f"'data' must be {' or '.join(SPLITS)}, got {data!r}.")
    from opmask.datasets import ADE20K, LIP
    from opmask.datasets.benchmark import IMAGES, BenchmarkConfig, build_benchmark, finished_files

    kind: type[ADE20K] | type[LIP] = ADE20K if data == "ade20k" else LIP
    split = split or SPLITS[data]
    before = finished_files(out)
    benchmark = build_benchmark(
        kind(root, split),
        root,
        out,
        BenchmarkConfig(
            kind.__name__, split, seed, settings, size, quality if recompress else None
        ),
        images=images,
        workers=(os.cpu_count() or 1) if workers is None else workers,
    )
    typer.echo(benchmark.header.describe())
    written = finished_files(out) - before
    typer.echo(f"Written: {benchmark.manifest}{f' and {out / IMAGES}' if images else ''}")
    if before:
        typer.echo(f"{len(before)} of {len(before | written)} files were there already and stay.")
