r"""The command `opmask harmonize`: photos in, harmonized photos out.

What can be refused is refused before any work: names and places first, then the photo, the model
last. Each output appears whole or not at all.

Photos, regions, checkpoint -> `harmonize_files` -> photos, and a line about each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opmask.cli import options
from opmask.cli.photos import Job, find_jobs, is_clip
from opmask.cli.reporting import Report
from opmask.files.endings import WRITTEN


def harmonize_files(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO", help="Photos, folders of photos, or patterns; or one clip."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help=f"The file to write: {', '.join(WRITTEN)}. Or a folder; for several photos, "
            "a folder, where what is there already stays.",
        ),
    ],
    region: options.Region = None,
    label: options.Label = None,
    strokes: options.Strokes = False,
    alpha: options.Alpha = False,
    box: options.Box = None,
    invert: options.Invert = False,
    refine: options.Refine = None,
    grabcut: options.Grabcut = False,
    strength: options.Strength = "auto",
    save_edits: Annotated[
        Path | None,
        typer.Option(help="The file for the edit, .opmask; for several photos, a folder."),
    ] = None,
    panel: Annotated[
        Path | None,
        typer.Option(help="A picture of what was changed and why; for several photos, a folder."),
    ] = None,
    model: options.Model = None,
    work_size: options.WorkSize = 256,
    device: options.Device = None,
    compile: options.Compile = False,
    max_pixels: options.MaxPixels = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="PHOTO is a folder with the frames of a clip.")
    ] = False,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Harmonize photos, with or without the regions that were changed."""
    told = options.region_options(region, label, strokes, alpha, box, invert, refine, grabcut)
    amount = options.parse_strength(strength)
    if frames or any(map(is_clip, photos)):
        if len(photos) > 1:
            raise ValueError("'PHOTO' must be one clip, or photos alone.")
        of_photos = told, save_edits, panel, compile, max_pixels, as_json
        if of_photos != (options.RegionOptions(), None, None, False, None, False):
            raise ValueError(
                "'PHOTO' must be a photo for these options; a clip has --region, --strength, "
                "--model, --work-size, --device and --overwrite."
            )
        from opmask.cli.clips import harmonize_clip
        from opmask.cli.harmonizing import find_device, load_model

        place, guided = find_device(device), region is not None
        line = harmonize_clip(
            photos[0],
            out,
            lambda: load_model(model, guided=guided).to(place),
            region=region,
            strength=amount,
            work_size=work_size,
            overwrite=overwrite,
        )
        typer.echo(line)
        return
    report = Report(len(photos), as_json)
    with report.refusing([Job(photo, region, out) for photo in photos]):
        jobs, finished = find_jobs(
            photos,
            out,
            region=region,
            model=model,
            edits=save_edits,
            panels=panel,
            overwrite=overwrite,
        )
    report.total = len(jobs) + len(finished)
    report.finished(finished)
    if jobs:
        from opmask.cli.harmonizing import Settings, harmonize_jobs

        settings = Settings(model, amount, work_size, device, told, max_pixels, compile)
        with report.refusing(jobs):
            harmonize_jobs(jobs, settings, report)
    report.end()
