r"""The command `opmask harmonize`: photos in, harmonized photos out.

What can be refused is refused before any work: names and places first, then the photo, the model
last. Each output appears whole or not at all.

Photos, regions, checkpoint -> `harmonize_files` -> photos, and a line about each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opmask.cli.photos import find_jobs
from opmask.cli.reporting import Report
from opmask.cli.saving import SAVING


def harmonize_files(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO", help="Photos, folders of photos, or patterns."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help=f"The file to write: {', '.join(SAVING)}. Or a folder; for several photos, "
            "a folder, where those that are there already are finished.",
        ),
    ],
    region: Annotated[
        Path | None,
        typer.Option(
            help="A picture that is white where the photo was changed and black elsewhere, or a "
            "cut-out of what was changed. Or a folder of them: barn_mask.png, or else barn.png, "
            "belongs to barn.jpg."
        ),
    ] = None,
    strength: Annotated[
        str, typer.Option(help="How much of the change to apply: auto, or a number from 0 on.")
    ] = "auto",
    model: Annotated[
        Path | None, typer.Option(help="A checkpoint. Default: the one that comes with opmask.")
    ] = None,
    work_size: Annotated[
        int, typer.Option(help="The longer side at which masks are predicted, in pixels.")
    ] = 256,
    device: Annotated[
        str | None, typer.Option(help="Such as cpu or cuda. Default: what there is.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that are there.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each photo.")
    ] = False,
) -> None:
    """Harmonize photos, with or without the regions that were changed."""
    jobs, finished = find_jobs(photos, out, region=region, model=model, overwrite=overwrite)
    amount = _strength(strength)
    report = Report(len(jobs) + len(finished), as_json)
    report.finished(finished)
    if jobs:
        from opmask.cli.harmonizing import Settings, harmonize_jobs

        harmonize_jobs(jobs, Settings(model, amount, work_size, device), report)
    report.end()


def _strength(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"'--strength' must be auto or a number, got {text!r}.") from None
