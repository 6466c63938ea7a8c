r"""Picture files: which ones a folder holds, opening them, and what their pixels say.

Every file that is read as a picture goes through :func:`open_picture`. What cannot be used raises
a `ValueError` that names it.

Data flow: `folder -> picture_files -> open_picture -> upright -> to_rgb -> array`.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, UnidentifiedImageError

from opmask.files.endings import READ
from opmask.files.reading import LONGEST_NAME, shorten, why_unreadable

__all__ = [
    "alpha_of",
    "check_opaque",
    "open_picture",
    "open_stored",
    "picture_files",
    "quiet",
    "register_plugins",
    "to_rgb",
]

PLUGGED = (".heic", ".heif", ".hif", ".jxl")
"""The endings of formats that Pillow reads with its plug-ins."""


def register_plugins() -> None:
    """Teaches Pillow HEIF and JPEG XL, where their plug-ins are installed."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    with suppress(ImportError):
        importlib.import_module("pillow_jxl")


def picture_files(folder: str | Path, endings: Sequence[str] = READ) -> list[Path]:
    r"""The picture files of a folder, by their names.

    Only files: no folders, pipes or broken links; and none whose name begins with a dot, such as
    those that macOS adds (`._barn.jpg`, `.DS_Store`) and those that a killed process has left.

    Args:
        folder: The folder, without those in it.
        endings: The endings to take, in lower case; names may have them in capitals.

    Returns:
        The paths, sorted; none if there is no such folder.

    Raises:
        OSError: If the folder cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in "barn.JPG", "._barn.JPG", "notes.txt":
        ...     (folder / name).touch()
        >>> [path.name for path in picture_files(folder)]
        ['barn.JPG']
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    paths = (Path(folder, name) for name in names if not name.startswith("."))
    return sorted(p for p in paths if p.suffix.lower() in endings and p.is_file())


def open_picture(path: str | Path) -> Image.Image:
    r"""Opens a picture file, and reads it; of an animation, the first picture.

    Args:
        path: The file.

    Returns:
        The picture as it is stored, of any mode and not turned.

    Raises:
        ValueError: If the file is missing, damaged, too large, no picture, or no regular file (a
            pipe would block, and a device may never end).

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "red.png")
        >>> Image.new("RGB", (3, 2), "red").save(path)
        >>> open_picture(path).size
        (3, 2)
    """
    return open_stored(path)[0]


def open_stored(path: str | Path) -> tuple[Image.Image, str]:
    r"""Opens a picture file, and says how it stores its pixels.

    Args:
        path: The file.

    Returns:
        The picture, and what Pillow calls the storage of its pixels, such as `"L;4"` for 4 bits;
        "" if a codec does not say.

    Raises:
        ValueError: As for :func:`open_picture`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "red.png")
        >>> Image.new("RGB", (3, 2), "red").save(path)
        >>> open_stored(path)[1]
        'RGB'
    """
    name = shorten(path, LONGEST_NAME)
    if why := why_unreadable(path):
        raise ValueError(f"{name} cannot be read: {why}.")
    if Path(path).suffix.lower() in PLUGGED:
        register_plugins()
    try:
        with quiet(), Image.open(path) as picture:
            if picture.format == "EPS":  # a program, which would be run, without end if it likes
                raise _RefusedError("PostScript is not read")
            arguments = picture.tile[0].args if picture.tile else ""
            stored = arguments if isinstance(arguments, str) else str((*(arguments or ()), "")[0])
            if stored == "I;12":  # which Pillow hands out as if it were 16
                raise _RefusedError("12 bits a channel are not read")
            picture.load()
            return picture, stored
    # Pillow's forty decoders raise whatever a damaged file makes them trip over.
    except Exception as error:
        raise ValueError(f"{name} cannot be read: {_why_broken(error)}.") from error


class _RefusedError(Exception):
    """A picture that is whole, but of a kind that is not read."""


def _why_broken(error: Exception) -> str:
    """What an exception of Pillow's says about the file that was opened."""
    if isinstance(error, _RefusedError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "it is no picture, or of a format that is not known"
    if isinstance(error, Image.DecompressionBombError):
        return "it has so many pixels that it may be a decompression bomb"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    if isinstance(error, OSError) and error.errno:
        return f"the system gives up on it ({error.strerror})"
    # What Pillow's decoders say on purpose; of the rest, Python says where they stumbled.
    if isinstance(error, OSError | SyntaxError) and str(error):
        return f"it is damaged ({shorten(error).rstrip('.')})"
    return "it is damaged"


_decoding = 0  # how many threads are
_decoding_lock = Lock()
_filters = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Pillow from warning of damage: it copes with that, or raises.

    The filters of warnings belong to all threads, so that the first to come sets them, and the
    last to go puts them back.
    """
    global _decoding
    with _decoding_lock:
        if not _decoding:
            _filters.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        _decoding += 1
    try:
        yield
    finally:
        with _decoding_lock:
            _decoding -= 1
            if not _decoding:
                _filters.close()


def to_rgb(picture: Image.Image, name: str = "'image'") -> np.ndarray:
    r"""A picture as 8-bit RGB.

    Grey is repeated, palettes are looked up, and CMYK is converted by Pillow's formula, without
    colour profiles. Alpha is left out, see :func:`check_opaque`. Of 16 bits the upper eight are
    kept, that is, values are rounded down.

    Args:
        picture: The picture, of any mode.
        name: What to call it in messages.

    Returns:
        The levels, ``uint8``, with shape :math:`(H, W, 3)`, in 0-255.

    Raises:
        ValueError: If it has 32 bits a channel.

    Example:
        >>> to_rgb(Image.new("I;16", (1, 1), 0x1234)).tolist()
        [[[18, 18, 18]]]
    """
    if picture.mode.startswith("I;16"):
        # The upper byte, as Pillow itself takes it of RGB of 16 bits.
        grey = (np.array(picture) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise ValueError(f"{name} must have 8 or 16 bits a channel, got mode {picture.mode!r}.")
    # By way of RGBA, because Pillow warns where it has to drop the transparency of a palette.
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    return np.array(picture.convert(mode))[..., :3]


def check_opaque(picture: Image.Image, name: str) -> None:
    """Raises if any pixel can be seen through, so that colours do not say how it looks."""
    if picture.has_transparency_data and (alpha_of(picture) < 255).any():
        raise ValueError(f"{name} must be opaque, got transparent pixels. Fill its background.")


def alpha_of(picture: Image.Image) -> np.ndarray:
    r"""How opaque each pixel is.

    Args:
        picture: The picture, of a mode or with a palette or a colour that has transparency.

    Returns:
        The levels, ``uint8``, with shape :math:`(H, W)`; 255 is opaque.

    Example:
        >>> alpha_of(Image.new("RGBA", (1, 1), (9, 9, 9, 7)))
        array([[7]], dtype=uint8)
    """
    return np.array(picture.convert("RGBA").getchannel("A"))
