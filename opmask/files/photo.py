r"""A photo with all that its file says, from one file to another.

Data flow: `file -> read_photo -> Photo -> ... -> Photo -> saving.write_photo -> file`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from opmask.files.decoding import LARGEST, Decoded, decode, from_pillow, upright_of
from opmask.files.metadata import Metadata, described, from_picture
from opmask.files.reading import LONGEST_NAME, shorten, why_unreadable

__all__ = ["Photo", "read_photo"]

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@final
@dataclass(frozen=True, eq=False)
class Photo:
    r"""A photo: its pixels, and what its file says of them.

    Args:
        pixels: The pixels, ``uint8``, ``uint16`` or ``float32`` in :math:`[0, 1]`, with shape
            :math:`(H, W, C)`: grey, grey and alpha, RGB, or RGBA. Upright; alpha is straight, that
            is, colours are not multiplied by it.
        profile: The ICC profile that says what the colours mean. None stands for sRGB.
        metadata: What else came with it.
        premultiplied: Whether the file had its colours multiplied by alpha, as TIFF may. TIFF
            files are written so again.
        remarks: What reading had to decide, a sentence each.

    Raises:
        TypeError: If `pixels` is no array of these types.
        ValueError: If its shape is another one, or floats are outside :math:`[0, 1]`.

    Example:
        >>> photo = Photo(np.zeros((2, 3, 4), np.uint16))
        >>> photo.size, photo.channels, photo.levels
        ((2, 3), 4, 65535)
    """

    pixels: np.ndarray
    profile: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)
    premultiplied: bool = False
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, np.ndarray) or self.pixels.dtype.name not in _LEVELS:
            kind = getattr(self.pixels, "dtype", type(self.pixels).__name__)
            raise TypeError(f"'pixels' must be uint8, uint16 or float32, got {kind}.")
        native = self.pixels.astype(self.pixels.dtype.newbyteorder("="), copy=False)
        object.__setattr__(self, "pixels", native)
        if self.pixels.ndim != 3 or self.pixels.shape[2] not in _MODES or not self.pixels.size:
            raise ValueError(
                "'pixels' must have shape (H, W, C) with 1 to 4 channels and at least 1 pixel, "
                f"got {self.pixels.shape}."
            )
        if self.pixels.dtype == np.float32:
            # Both are NaN if any pixel is.
            low, high = float(self.pixels.min()), float(self.pixels.max())
            if not (low >= 0 and high <= 1):
                raise ValueError(
                    f"'pixels' must lie in [0, 1], got values from {low:.6g} to {high:.6g}. Scale "
                    "or clip them first."
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """How many channels the pixels have, alpha included."""
        return self.pixels.shape[2]

    @property
    def levels(self) -> int:
        """The value of white, which is 255, 65535, or 1 of floats."""
        return _LEVELS[self.pixels.dtype.name]

    @property
    def alpha(self) -> np.ndarray | None:
        """How opaque each pixel is, with shape (H, W), as a view; None without alpha."""
        return self.pixels[..., -1] if self.channels in (2, 4) else None

    @classmethod
    def from_image(cls, picture: Image.Image) -> Photo:
        r"""A Pillow picture as a photo, upright.

        Args:
            picture: The picture, of 8 bits a channel or of a mode `I;16`. Palettes become RGB or
                RGBA, as does a transparent colour; CMYK is converted by Pillow's formula.

        Returns:
            The photo. XMP and IPTC of a TIFF file do not come along, unlike by :func:`read_photo`.

        Raises:
            ValueError: If it has 32 bits a channel.

        Example:
            >>> Photo.from_image(Image.new("L", (3, 2), 7)).pixels.shape
            (2, 3, 1)
        """
        picture.load()
        metadata, profile = from_picture(picture)
        cmyk = picture.mode == "CMYK"
        remarks = ["CMYK was converted to sRGB, without its profile"] if cmyk else []
        try:
            pixels = from_pillow(picture)
        except ValueError as error:
            raise ValueError(f"'picture' cannot be used: {error}.") from None
        return _photo(upright_of(pixels, metadata, None if cmyk else profile, remarks))

    def to_image(self) -> Image.Image:
        r"""The photo as a Pillow picture, with profile, EXIF and XMP in its `info`.

        Returns:
            The picture, of mode `L`, `LA`, `RGB`, `RGBA`, or `I;16`; it may share its memory.

        Raises:
            ValueError: If it has more than 8 bits a channel, and is not grey of 16.

        Example:
            >>> Photo(np.zeros((2, 3, 3), np.uint8)).to_image().size
            (3, 2)
        """
        if self.pixels.dtype == np.uint16 and self.channels == 1:
            picture = Image.fromarray(np.ascontiguousarray(self.pixels[..., 0]))
        elif self.pixels.dtype != np.uint8:
            raise ValueError(
                f"'pixels' must be uint8, or grey of 16 bits, got {self.pixels.dtype} with "
                f"{self.channels} channels. Pillow has no such pictures: see with_type."
            )
        else:
            flat = self.pixels[..., 0] if self.channels == 1 else self.pixels
            picture = Image.fromarray(np.ascontiguousarray(flat))
        entries = {
            "icc_profile": self.profile,
            "exif": self.metadata.exif,
            "xmp": self.metadata.xmp,
            "dpi": self.metadata.dpi,
        }
        picture.info.update({name: value for name, value in entries.items() if value})
        return picture

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        r"""The same photo with other pixels, of any type and number of channels.

        Args:
            pixels: The pixels, as the photo itself has them.

        Returns:
            The new photo, without remarks.

        Raises:
            TypeError, ValueError: As for the photo itself.

        Example:
            >>> grey = Photo(np.zeros((2, 3, 1), np.uint8))
            >>> grey.with_pixels(np.ones((2, 3, 1), np.float32)).levels
            1
        """
        return replace(self, pixels=pixels, remarks=())


_LEVELS = {"uint8": 255, "uint16": 65535, "float32": 1}


def read_photo(path: str | Path, *, max_pixels: int = LARGEST) -> Photo:
    r"""Reads a photo as it is: all its bits and channels, its profile and its metadata.

    JPEG, PNG, TIFF and WebP are read with little memory beside the pixels; what else Pillow reads
    (AVIF, BMP, GIF ...), and HEIF and JPEG XL with `pip install opmask[formats]`, with twice as
    much. Of several pictures it is the first. The picture is turned upright as EXIF (or XMP) says,
    and its metadata then say so.

    Args:
        path: The file.
        max_pixels: The largest number of pixels; a small file may claim very many.

    Returns:
        The photo. Its remarks say what could not be kept. CMYK, LAB, and profiles that have tables
        alone become sRGB; a damaged profile is dropped.

    Raises:
        ValueError: If the file is missing, no picture, damaged, cut off, too large, or of numbers
            that are not read (12 bits, 32-bit integers, floats outside [0, 1]).
        ImportError: If it is of a format whose package is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "red.png")
        >>> Image.new("RGB", (3, 2), "red").save(path)
        >>> read_photo(path).pixels[0, 0]
        array([255,   0,   0], dtype=uint8)
    """
    name = shorten(path, LONGEST_NAME)
    if why := why_unreadable(path):
        raise ValueError(f"{name} cannot be read: {why}.")
    try:
        return _photo(decode(Path(path), max_pixels))
    except ImportError as error:
        raise ImportError(f"{name} cannot be read: {error}") from error
    except MemoryError as error:
        raise ValueError(f"{name} cannot be read: there is not enough memory for it.") from error
    except ValueError as error:
        if str(error).startswith(name):  # Pillow's, which names it already
            raise
        raise ValueError(f"{name} cannot be read: {str(error).rstrip('.')}.") from error


def _photo(found: Decoded) -> Photo:
    height, width = found.pixels.shape[:2]
    remarks = tuple(f"{text[0].upper()}{text[1:]}." for text in found.remarks)
    metadata = described(found.metadata, (width, height))
    return Photo(found.pixels, found.profile, metadata, found.premultiplied, remarks)
