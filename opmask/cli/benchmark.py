r"""The command `opmask build-benchmark`: photos in, a benchmark out.

Arguments -> :func:`opmask.datasets.build_benchmark` -> files, and what is worth knowing on the
standard output.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from opmask.datasets import ADE20K, LIP
from opmask.datasets.benchmark import (
    IMAGES,
    RECOMPRESSION_QUALITY,
    BenchmarkConfig,
    build_benchmark,
    finished_files,
)
from opmask.perturb import PRESETS

# For each data set its class, and the split that the paper tests on.
DATA: dict[str, tuple[type[ADE20K] | type[LIP], str]] = {
    "ade20k": (ADE20K, "validation"),
    "lip": (LIP, "val"),
}


def build(
    data: Annotated[str, typer.Argument(help=f"The data set: {' or '.join(DATA)}.")],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    out: Annotated[Path, typer.Argument(help="The folder to write: new, or to be completed.")],
    split: Annotated[
        str, typer.Option(help="Its split. Default: the one that the paper tests on.")
    ] = "",
    seed: Annotated[int, typer.Option(help="The integer that decides all samples.")] = 0,
    settings: Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = "default",
    size: Annotated[
        int | None, typer.Option(help="Resize samples to a square of so many pixels.")
    ] = None,
    recompress: Annotated[
        bool, typer.Option("--recompress", help="Resample and compress, as real composites were.")
    ] = False,
    quality: Annotated[
        int, typer.Option(help="The JPEG quality for --recompress.")
    ] = RECOMPRESSION_QUALITY,
    images: Annotated[
        bool, typer.Option("--images", help="Write a picture of each sample, too.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="How many processes. Default: one for each processor.")
    ] = None,
) -> None:
    """Build a benchmark from the photos of a data set."""
    if data not in DATA:
        raise ValueError(f"'data' must be {' or '.join(DATA)}, got {data!r}.")
    kind, test_split = DATA[data]
    split = split or test_split
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
