r"""The endings of photos, those that are read and those that are written; and of regions.

They are here alone, and nothing is imported, because the command checks names before all else.

`name of a file -> its ending -> photo or not`.
"""

from __future__ import annotations

__all__ = ["MASK", "READ", "WRITTEN"]

WRITTEN = (
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif", ".heic", ".heif", ".jxl",
)  # fmt: skip
"""The endings of photos that :func:`opmask.write_photo` writes."""

READ = (
    *WRITTEN, ".bmp", ".gif", ".hif", ".jfif", ".jp2", ".jpe", ".pgm", ".pnm", ".ppm", ".tga",
)  # fmt: skip
"""The endings of what is taken for a photo, or for a region, in a folder. A file that is named is
read whatever its ending."""

MASK = "_mask"
"""What the name of a region adds to that of its photo: `barn_mask.png` to `barn.jpg`."""
