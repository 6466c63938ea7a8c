r"""EXIF: turning pictures upright, and what else their tags say that may be handed on.

Data flow: `open_picture -> upright -> to_rgb -> array`.
"""

from __future__ import annotations

from contextlib import suppress

from PIL import ExifTags, Image

from opmask.files.pictures import quiet

__all__ = ["TURNS", "descriptive", "upright"]

# (ImageOps.exif_transpose does so, too, but it also writes all EXIF tags anew, and fails where one
# of them is damaged.)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns or mirrors each EXIF orientation upright."""

# The TIFF tags that say how one file stores its pixels (sizes, types, strips, tiles, inks, tables)
# or that hold its profile, its XMP or other pictures. EXIF data are TIFF, so they occur in any
# format; with those of another file no TIFF that is written can be read.
_STRUCTURAL = frozenset(
    [
        *(*range(254, 260), 262, *range(263, 267), 273, 274, *range(277, 282), 284),
        *(*range(288, 294), 297, 301, 317, *range(320, 348), 351, *range(512, 522)),
        *(*range(529, 533), 700, 33421, 33422, 34377, 34675, 37724),
    ]
)

# Where the size of the picture stands: the directory, the tags of width and height.
_SIZES = (
    (ExifTags.IFD.Exif, ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight),
    (ExifTags.IFD.Interop, 0x1001, 0x1002),
)

# Where Pillow finds an orientation if EXIF has none.
_OTHER_METADATA = ("xmp", "XML:com.adobe.xmp", "Raw profile type exif")


def upright(picture: Image.Image) -> Image.Image:
    r"""Applies the EXIF orientation, and removes it.

    The other EXIF tags stay in `info["exif"]`, but for those that describe the file rather than
    the photo (how its pixels are stored) and for a thumbnail; sizes are those of the new picture.
    EXIF data that cannot be written are dropped, XMP is, too, as it may hold an orientation.

    Args:
        picture: The picture, of any mode.

    Returns:
        A new picture, of the same mode.

    Example:
        >>> picture = Image.new("RGB", (30, 20))
        >>> picture.getexif()[ExifTags.Base.Orientation] = 6
        >>> upright(picture).size
        (20, 30)
    """
    with quiet():
        picture.load()  # which turns a TIFF file already
        turn = TURNS.get(_orientation(picture))
    result = picture.copy() if turn is None else picture.transpose(turn)
    for name in _OTHER_METADATA:
        result.info.pop(name, None)
    exif = Image.Exif()
    with suppress(Exception):  # as of the orientation
        exif.load(result.info.pop("exif", b""))
    if data := descriptive(exif, result.size):
        result.info["exif"] = data
    return result


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow raises on damaged tags, the picture itself is whole
        return 1


def descriptive(exif: Image.Exif, size: tuple[int, int]) -> bytes:
    r"""What EXIF tags say of a photo itself, without what they say of its file.

    Args:
        exif: The tags. They are changed.
        size: Width and height of the picture that the tags shall describe.

    Returns:
        The tags as the data of EXIF, from `Exif` and two zeros on; none if no tag is left, or if
        they cannot be written.

    Example:
        >>> exif = Image.Exif()
        >>> exif[ExifTags.Base.Orientation] = 6
        >>> descriptive(exif, (30, 20))
        b''
    """
    try:
        for tag in _STRUCTURAL & set(exif):
            del exif[tag]
        main = exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.IFD.Exif in exif else {}
        for ifd, *tags in (sizes for sizes in _SIZES if sizes[0] in {*exif, *main}):
            directory = exif.get_ifd(ifd)
            directory.update({t: s for t, s in zip(tags, size, strict=True) if t in directory})
        return exif.tobytes() if exif else b""  # which leaves out the thumbnail
    except Exception:  # whatever Pillow raises on damaged tags
        return b""
