r"""The command `opmask harmonize`: a photo in, a harmonized photo out.

What can be refused is refused before any work: the output's suffix and place first, then the files
to read, the model last. The output appears whole or not at all.

Photo, region, checkpoint -> `harmonize_file` -> photo, and a line about it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from opmask.checkpoints import load
from opmask.files import check_outputs, replacing
from opmask.files.pictures import open_picture, upright
from opmask.inference.harmonize import check_options, check_size, harmonize
from opmask.inference.images import check_mode, kept_info, like, to_pixels
from opmask.inference.regions import to_plane
from opmask.wrapper import OperatorMaskWrapper

# How to save for each suffix: as good as it gets, since what was not changed should stay.
_JPEG: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"}
SAVING: dict[str, dict[str, Any]] = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": {"format": "PNG"},
    ".tif": {"format": "TIFF"},
    ".tiff": {"format": "TIFF"},
    ".webp": {"format": "WEBP", "quality": 95},
}

# The longest side that a format, or its library, can hold, in pixels.
LONGEST = {"JPEG": 65500, "WEBP": 16383}

CHANGED = 4  # levels of 255; above it a pixel counts as changed, as in opmask.metrics


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
    saving = _saving(out)
    check_outputs({"--out": out}, inputs=[photo, region, model], overwrite=overwrite)
    amount, place = _strength(strength), _device(device)
    check_options(amount, work_size)
    before = upright(open_picture(photo))
    check_mode(before)
    check_size((before.height, before.width))
    _check_saving(before, out, saving)
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
    found = f"; {_changed(before, after):.0%} of it was changed" if region is None else ""
    typer.echo(f"Written: {out} ({after.width}x{after.height}{found})")


def _saving(out: Path) -> dict[str, Any]:
    if out.suffix.lower() not in SAVING:
        raise ValueError(f"'--out' must end in one of {', '.join(SAVING)}, got {out}.")
    return SAVING[out.suffix.lower()]


def _check_saving(photo: Image.Image, out: Path, saving: dict[str, Any]) -> None:
    """Raises if the output's format cannot hold what the photo becomes."""
    kind = saving["format"]
    if kind == "JPEG" and photo.has_transparency_data:
        raise ValueError(f"'--out' must be .png, .tif or .webp for a photo with alpha, got {out}.")
    if max(photo.size) > LONGEST.get(kind, max(photo.size)):
        raise ValueError(
            f"'--out' must be .png or .tif for a photo of {photo.width}x{photo.height}, as {kind} "
            f"ends at {LONGEST[kind]} pixels a side, got {out}."
        )
    pixel = photo.crop((0, 0, 1, 1))
    try:  # with one pixel of it, and all that comes with them
        like(pixel, to_pixels(pixel)).save(io.BytesIO(), **saving, **kept_info(pixel))
    except Exception as error:  # a codec that is missing, EXIF above 64 kB in a JPEG ...
        raise ValueError(
            f"'--out' must be of a format that takes the photo with its EXIF data, got {out}: "
            f"{error}. Try .png."
        ) from error


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
        reason = str(error).splitlines()[0]
        raise ValueError(f"'--device' must be one that works, got {name!r}: {reason}") from error
    return torch.device(name)


def _changed(before: Image.Image, after: Image.Image) -> float:
    """The share of pixels of which a channel has changed by more than `CHANGED`."""
    old, new = (np.asarray(picture.convert("RGBA"), np.int16) for picture in (before, after))
    return float((abs(new - old).max(-1) > CHANGED).mean())
