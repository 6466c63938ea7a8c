r"""The command `opmask harmonize`: a photo in, a harmonized photo out.

What can be refused is refused before any work: the output's suffix and place first, then the files
to read, the model last. The output appears whole or not at all.

Photo, region, checkpoint -> `harmonize_file` -> photo, and a line about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from opmask.checkpoints import load
from opmask.files import check_outputs, replacing
from opmask.inference import harmonize
from opmask.pictures import upright
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

CHANGED = 4  # levels of 255; above it a pixel counts as changed, as in opmask.metrics

# Pillow reports damage with any of these, depending on the format and the place.
_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def harmonize_file(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help=f"The file to write: {', '.join(SAVING)}.")
    ],
    region: Annotated[
        Path | None,
        typer.Option(help="A grey picture, white where the photo was changed, black elsewhere."),
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
    """Harmonize a photo, with or without being told where it was changed."""
    saving = _saving(out)
    check_outputs({"--out": out}, inputs=[photo, region, model], overwrite=overwrite)
    amount, place = _strength(strength), _device(device)
    before = upright(_open(photo))
    if saving is _JPEG and before.has_transparency_data:
        raise ValueError(f"'--out' must be .png, .tif or .webp for a photo with alpha, got {out}.")
    area = None if region is None else _open(region)
    network = load(model)
    if not isinstance(network, OperatorMaskWrapper):
        raise ValueError(
            f"'--model' must be one that predicts masks, got {model}, which has none."
        )
    after = harmonize(network.to(place), before, region=area, strength=amount, work_size=work_size)
    kept = {name: after.info[name] for name in ("icc_profile", "exif") if name in after.info}
    with replacing(out) as temporary:
        after.save(temporary, **saving, **kept)
    found = f"; {_changed(before, after):.0%} of it was changed" if region is None else ""
    typer.echo(f"Written: {out} ({after.width}x{after.height}{found})")


def _saving(out: Path) -> dict[str, Any]:
    if out.suffix.lower() not in SAVING:
        raise ValueError(f"'--out' must end in one of {', '.join(SAVING)}, got {out}.")
    return SAVING[out.suffix.lower()]


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


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except _DAMAGE as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _changed(before: Image.Image, after: Image.Image) -> float:
    """The share of pixels of which a channel has changed by more than `CHANGED`."""
    old, new = (np.asarray(picture.convert("RGBA"), np.int16) for picture in (before, after))
    return float((abs(new - old).max(-1) > CHANGED).mean())
