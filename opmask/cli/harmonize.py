r"""The command `opmask harmonize`: a photo in, a harmonized photo out.

What can be refused is refused before any work: the output's suffix and place first, then the files
to read, the model last. The output appears whole or not at all.

Photo, region, checkpoint -> `harmonize_file` -> photo, and a line about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from opmask.checkpoints import load
from opmask.cli.saving import SAVING, check_saving, saving_options
from opmask.files import check_outputs, replacing
from opmask.files.exif import upright
from opmask.files.pictures import open_picture
from opmask.inference.images import changed_share, check_mode, kept_info
from opmask.inference.plan import check_options, check_size, harmonize
from opmask.inference.regions import to_plane
from opmask.wrapper import OperatorMaskWrapper


def harmonize_file(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help=f"The file to write: {', '.join(SAVING)}.")
    ],
    region: Annotated[
        Path | None,
        typer.Option(
            help="A picture that is white where the photo was changed and black elsewhere, or a "
            "cut-out of what was changed."
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
        bool, typer.Option("--overwrite", help="Replace the output if it is there.")
    ] = False,
) -> None:
    """Harmonize a photo, with or without the region that was changed."""
    saving = saving_options(out)
    check_outputs({"--out": out}, inputs=[photo, region, model], overwrite=overwrite)
    amount, place = _strength(strength), _device(device)
    check_options(amount, work_size)
    before = upright(open_picture(photo))
    check_mode(before)
    check_size((before.height, before.width))
    check_saving(before, out, saving)
    area = None
    if region is not None:
        area = to_plane(open_picture(region), (before.height, before.width))
    network = load(model)
    if not isinstance(network, OperatorMaskWrapper):
        raise ValueError(
            f"'--model' must be one that predicts masks, got {model}, which has none."
        )
    after = harmonize(network.to(place), before, region=area, strength=amount, work_size=work_size)
    with replacing(out) as temporary:
        after.save(temporary, **saving, **kept_info(after))
    remark = f"{changed_share(before, after):.0%} of it visibly changed"
    if area is not None and not area.any():
        remark = "nothing is selected, so it stays as it is"
    elif area is not None and bool((area == 1).all()):
        remark += "; all of it is selected, so there is nothing to match it with"
    typer.echo(f"Written: {out} ({after.width}x{after.height}; {remark})")


def _strength(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"'--strength' must be auto or a number, got {text!r}.") from None


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without it
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"'--device' must be one that works, got {name!r}: {reason}. Try cpu."
        ) from error
    return torch.device(name)
