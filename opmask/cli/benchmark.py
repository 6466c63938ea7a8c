r"""The commands `opmask build-benchmark` and `make-iharmony4`: photos in, a data set out.

Arguments -> :func:`opmask.datasets.build_benchmark` or :func:`opmask.datasets.make_iharmony4` ->
files, and what is worth knowing on the standard output.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

SPLITS = {"ade20k": "validation", "lip": "val"}
"""For each data set the split that the paper tests on."""

SETTINGS = ("default", "lifelike", "reference", "reference-rgb")
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


def make_iharmony4(
    photos: Annotated[
        str,
        typer.Argument(
            help="Their folder, as ADE20K's or LIP's, or with images and labels in it; or "
            "scenes:1000 for so many synthetic scenes."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="The folder to write: new, or to be completed.")],
    labels: Annotated[
        Path | None, typer.Option(help="The folder of the label maps, where it lies elsewhere.")
    ] = None,
    test_share: Annotated[
        float, typer.Option(help="How many of the photos to test on, where there are no splits.")
    ] = 0.1,
    subset: Annotated[str, typer.Option(help="The name of the set, and of its folder.")] = "HOwn",
    seed: Annotated[int, typer.Option(help="The integer that decides all of it.")] = 0,
    settings: Annotated[str, typer.Option(help=f"One of {', '.join(SETTINGS)}.")] = "default",
    size: Annotated[
        int | None, typer.Option(help="Resize all to a square of so many pixels.")
    ] = None,
    masks: Annotated[int, typer.Option(help="Masks of a photo, if it has so many.")] = 1,
    variants: Annotated[int, typer.Option(help="Composites of a mask.")] = 1,
    regions: Annotated[int, typer.Option(help="Classes of a mask; iHarmony4 has one.")] = 1,
    format: Annotated[
        str, typer.Option(help="jpg, as iHarmony4, or png, which loses nothing.")
    ] = "jpg",
    quality: Annotated[int, typer.Option(help="The quality of JPEG files.")] = 95,
    workers: Annotated[
        int | None, typer.Option(help="How many processes. Default: one for each processor.")
    ] = None,
) -> None:
    """Make a set in iHarmony4's format from any photos with label maps."""
    from opmask.datasets import making

    config = making.MakingConfig(
        subset, seed, settings, size, masks, variants, regions, format=format, quality=quality
    )
    found = making.photos_by_split(
        photos, labels=labels, test_share=test_share, seed=seed, size=size or 256
    )
    for split, some in found.items():
        typer.echo(f"{split}: {len(some)} photos{making.place_of(some)}")
    count = (os.cpu_count() or 1) if workers is None else workers
    made = making.make_iharmony4(found, out, config, workers=count)
    how = f"JPEG of quality {quality}, colours not subsampled" if format == "jpg" else "PNG"
    for split, number in made.items():
        typer.echo(f"{split}: {number} composites, {out / f'IHD_{split}.txt'}")
    typer.echo(
        f"Written: {out / subset}, {how}; masks are PNG, white where the photo was changed."
    )
