r"""Which formats a command writes, and whether one of them can hold a photo.

What an output cannot hold is refused before the work that it would be lost with.

`--out` -> :func:`saving_options` -> :func:`check_saving` -> `save` of Pillow.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

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


def saving_options(out: Path) -> dict[str, Any]:
    """The arguments of Pillow's `save` for the suffix of an output; others are refused."""
    if out.suffix.lower() not in SAVING:
        raise ValueError(f"'--out' must end in one of {', '.join(SAVING)}, got {out}.")
    return SAVING[out.suffix.lower()]


def check_saving(photo: Image.Image, out: Path, saving: dict[str, Any]) -> None:
    """Raises if the output's format cannot hold what the photo becomes."""
    from opmask.inference.images import kept_info, like, to_stored

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
        like(pixel, to_stored(pixel)).save(io.BytesIO(), **saving, **kept_info(pixel))
    except Exception as error:  # a codec that is missing, EXIF above 64 kB in a JPEG ...
        raise ValueError(
            f"'--out' must be of a format that takes the photo with its EXIF data, got {out}: "
            f"{error}. Try .png."
        ) from error
