r"""The command `opmask`: what the library does most often, from a terminal.

Each subcommand is a thin function that hands its arguments to the library and prints what came of
it. What the library refuses becomes one line on the standard error, and a status of 1.

Arguments -> :func:`main` -> subcommand -> library.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer

from opmask.cli.harmonize import harmonize_file
from opmask.cli.study import app as study
from opmask.datasets import ADE20K, LIP, BenchmarkConfig, build_benchmark
from opmask.datasets.benchmark.build import IMAGES, finished_files
from opmask.datasets.benchmark.recompression import RECOMPRESSION_QUALITY
from opmask.perturb import PRESETS

# For each data set its class, and the split that the paper tests on.
DATA: dict[str, tuple[type[ADE20K] | type[LIP], str]] = {
    "ade20k": (ADE20K, "validation"),
    "lip": (LIP, "val"),
}

app = typer.Typer(
    help="Operator masks: editable maps that say where and how much to change a photo.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.add_typer(study, name="study")
app.command("harmonize")(harmonize_file)


@app.command("build-benchmark")
def _build_benchmark(
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits.

    Args:
        arguments: Those of the command line, without the name of the program. Default: those that
            the program was started with.

    Raises:
        SystemExit: Always; with status 0 if all went well, 1 if the library refused or memory ran
            out, 2 if the arguments make no sense and 130 after Ctrl-C.
    """
    # What Pillow warns of, it also copes with or refuses.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        app(arguments, prog_name="opmask")
    except (OSError, ValueError, ImportError, MemoryError, RuntimeError) as error:
        print("opmask:", _line(error).strip(), file=sys.stderr)
        sys.exit(1)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    # Of the processor's memory torch says so in a RuntimeError, after the name of a file of its.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text:
        return f"there is not enough memory. Try a smaller photo or another --device. {text}"
    return text or type(error).__name__
