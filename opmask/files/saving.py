r"""Photos into files, whole or not at all, with all that the format can hold.

What a format cannot hold is refused where the picture would be another one (real alpha in a JPEG,
too many pixels a side), and said where it would only be poorer (16 bits in a JPEG, IPTC in a PNG).

Data flow: `Photo -> check_writable -> write_photo -> file`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, features

from opmask.files.containers import add_to_tiff, jpeg_segments, png_chunks
from opmask.files.decoding import import_vips
from opmask.files.endings import WRITTEN
from opmask.files.photo import Photo
from opmask.files.pictures import register_plugins
from opmask.files.writing import replacing

__all__ = ["SUFFIXES", "check_suffix", "check_writable", "with_type", "write_photo"]


@dataclass(frozen=True)
class _Format:
    """What a format holds: types, the longest side, and metadata."""

    name: str
    types: tuple[str, ...] = ("uint8",)
    longest: int = 2**31 - 1
    holds: tuple[str, ...] = ("EXIF", "XMP")
    alpha: bool = True
    profile: bool = True


_JPEG = _Format(
    "JPEG", longest=65500, holds=("EXIF", "XMP", "IPTC", "dpi", "comment"), alpha=False
)
_TIFF = _Format("TIFF", ("uint8", "uint16", "float32"), holds=("EXIF", "XMP", "IPTC", "dpi"))
_HEIF = _Format("HEIF", longest=16384)

_FORMATS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": _Format("PNG", ("uint8", "uint16"), holds=("EXIF", "XMP", "dpi", "comment", "text")),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": _Format("WEBP", longest=16383),
    ".avif": _Format("AVIF", longest=65536),
    ".heic": _HEIF,
    ".heif": _HEIF,
    ".jxl": _Format("JXL", longest=2**30 - 1, holds=("EXIF",), profile=False),
}

SUFFIXES = WRITTEN
"""The endings of files that are written."""

# As good as it gets: what was not changed should stay. libvips packs JPEG, PNG and TIFF.
_PILLOW: dict[str, dict[str, Any]] = {
    "WEBP": {"quality": 95, "method": 2},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIF": {"quality": 95, "chroma": 444},
    "JXL": {"quality": 95, "use_container": True},
}

_BIG = 3_900_000_000  # bytes of pixels from which a TIFF file needs 64-bit offsets


def check_suffix(path: str | Path) -> None:
    r"""Raises unless a file's ending is one that can be written here.

    Args:
        path: The file.

    Raises:
        ValueError: If the ending is another one.
        ImportError: If the package that writes it is not installed.

    Example:
        >>> check_suffix("photo.gif")
        Traceback (most recent call last):
        ...
        ValueError: 'path' must end in one of .jpg, .jpeg, .png, .tif, .tiff, .webp, .avif, .heic,
        .heif, .jxl, got photo.gif.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"'path' must end in one of {', '.join(SUFFIXES)}, got {path}.")
    name = _FORMATS[suffix].name
    package = {"HEIF": "pillow_heif", "JXL": "pillow_jxl"}.get(name)
    if package and importlib.util.find_spec(package) is None:
        raise ImportError(f"{path} cannot be written. Run: pip install 'opmask[formats]'")
    if name in ("WEBP", "AVIF") and not features.check(name.lower()):
        raise ImportError(f"{path} cannot be written: this build of Pillow has no {name}.")
    if name in ("JPEG", "PNG", "TIFF"):
        import_vips()


def check_writable(photo: Photo, path: str | Path) -> tuple[str, ...]:
    r"""Refuses, before any work, a file that could not hold a photo; says what it cannot hold.

    Args:
        photo: The photo, or one of the same size, type, channels and metadata.
        path: The file to write. Whether it may be written there,
            `opmask.files.check_outputs` says.

    Returns:
        A sentence for each thing that will be left out.

    Raises:
        TypeError: If `photo` is no :class:`~opmask.files.photo.Photo`.
        ValueError: If its ending is none of :data:`SUFFIXES`, pixels that can be seen through
            would go into a JPEG, a side is longer than the format can say, or colours would be
            others, because the format takes no colour profile.
        ImportError: If the package that writes the format is not installed.

    Example:
        >>> photo = Photo(np.zeros((2, 3, 3), np.uint16))
        >>> check_writable(photo, "a.png"), check_writable(photo, "a.jpg")
        ((), ('16 bits a channel become 8, as JPEG holds no more.',))
    """
    if not isinstance(photo, Photo):
        raise TypeError(
            f"'photo' must be a Photo, got {type(photo).__name__}. See Photo and Photo.from_image."
        )
    check_suffix(path)
    kind = _FORMATS[Path(path).suffix.lower()]
    height, width = photo.size
    if not kind.alpha and photo.alpha is not None and bool((photo.alpha < photo.levels).any()):
        raise ValueError(
            f"'path' must be .png, .tif or .webp for a photo with alpha, got {path}. {kind.name} "
            "has none."
        )
    if max(height, width) > kind.longest:
        raise ValueError(
            f"'path' must be .png or .tif for a photo of {width}x{height}, as {kind.name} ends at "
            f"{kind.longest} pixels a side, got {path}."
        )
    if photo.profile and not kind.profile:
        raise ValueError(
            f"'path' must be of a format that takes a colour profile, got {path}. Try .png."
        )
    return tuple(_lost(photo, kind))


def write_photo(photo: Photo, path: str | Path) -> tuple[str, ...]:
    r"""Writes a photo, whole or not at all, and replaces what is there.

    JPEG, WebP, AVIF, HEIF and JPEG XL have a quality of 95, without subsampling of colours where
    that can be chosen; PNG and TIFF lose nothing.

    Args:
        photo: The photo.
        path: The file, whose ending says the format. Its folder is made if need be.

    Returns:
        A sentence for each thing that the format could not hold, as of
        :func:`opmask.files.saving.check_writable`.

    Raises:
        TypeError, ValueError, ImportError: As for
            :func:`opmask.files.saving.check_writable`; ValueError also
            if the format's library refuses the photo.
        OSError: If the file cannot be written; the message says what to do.

    Example:
        >>> import tempfile
        >>> from opmask.files.photo import read_photo
        >>> path = Path(tempfile.mkdtemp(), "a.png")
        >>> write_photo(Photo(np.full((2, 3, 3), 1000, np.uint16)), path)
        ()
        >>> read_photo(path).pixels[0, 0]
        array([1000, 1000, 1000], dtype=uint16)
    """
    said = check_writable(photo, path)
    kind = _FORMATS[Path(path).suffix.lower()]
    photo = _fitting(photo, kind)
    with replacing(path) as temporary:
        try:
            _WRITERS.get(kind.name, _by_pillow)(photo, temporary, kind)
        except (import_vips().Error, NotImplementedError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path} cannot be written: {reason}.") from error
    return said


def with_type(pixels: np.ndarray, kind: str) -> np.ndarray:
    r"""Pixels in another type, rounded.

    Args:
        pixels: The pixels, ``uint8``, ``uint16`` or ``float32`` in :math:`[0, 1]`, with
            shape :math:`(H, W, C)`.
        kind: `"uint8"`, `"uint16"` or `"float32"`.

    Returns:
        The pixels, `pixels` itself if they are of that type.

    Example:
        >>> with_type(np.array([[[0, 128, 65535]]], np.uint16), "uint8")
        array([[[  0,   0, 255]]], dtype=uint8)
    """
    if pixels.dtype.name == kind:
        return pixels
    top = {"uint8": 255, "uint16": 65535, "float32": 1}
    result = np.empty(pixels.shape, kind)
    scale = np.float32(top[kind] / top[pixels.dtype.name])
    for row, new in zip(pixels, result, strict=True):
        scaled = row * scale
        new[...] = scaled if kind == "float32" else np.rint(scaled)
    return result


def _fitting(photo: Photo, kind: _Format) -> Photo:
    """The photo with pixels of a type that the format has, and no alpha if it has none."""
    pixels = photo.pixels
    if not kind.alpha and photo.alpha is not None:
        pixels = pixels[..., :-1]
    if pixels.dtype.name not in kind.types:
        pixels = with_type(pixels, kind.types[-1])
    return replace(photo, pixels=np.ascontiguousarray(pixels))


def _lost(photo: Photo, kind: _Format) -> list[str]:
    metadata, said = photo.metadata, []
    if photo.pixels.dtype.name not in kind.types:
        bits = {"uint8": 8, "uint16": 16}[kind.types[-1]]
        own = "Floats" if photo.levels == 1 else "16 bits a channel"
        said.append(f"{own} become {bits}{' bits' if photo.levels == 1 else ''}, as {kind.name} "
                    "holds no more.")  # fmt: skip
    fits = jpeg_segments(metadata, photo.profile) if kind is _JPEG else None
    for name, value in (("EXIF", metadata.exif), ("XMP", metadata.xmp), ("IPTC", metadata.iptc)):
        if value and name not in kind.holds:
            said.append(f"{name} data are left out, as {kind.name} has no place for them.")
        elif value and fits is not None and name not in fits:
            said.append(f"{name} data are left out: {len(value)} bytes are too many for JPEG.")
    if fits is not None and photo.profile and "ICC" not in fits:
        said.append(f"The colour profile is left out: it is too large for {kind.name}.")
    if metadata.dpi and "dpi" not in kind.holds:
        said.append(f"The resolution (dpi) is left out, as {kind.name} has no place for it.")
    texts = set(metadata.text)
    if "text" not in kind.holds:
        texts -= {"Comment"} if fits is not None and "comment" in fits else set()
        if texts:
            named = ", ".join(sorted(texts)[:5]) + (" ..." if len(texts) > 5 else "")
            said.append(f"Text is left out, as {kind.name} has no place for it: {named}.")
    return said


def _vips_image(photo: Photo) -> Any:  # noqa: ANN401
    """The pixels as libvips has them; the memory is shared."""
    image = import_vips().Image.new_from_array(photo.pixels)
    name = {
        "uint8": ("b-w", "srgb"),
        "uint16": ("grey16", "rgb16"),
        "float32": ("b-w", "scrgb"),
    }[photo.pixels.dtype.name][photo.channels > 2]
    return image.copy(interpretation=name)


class _Sink:
    """A file that libvips writes to; of what comes first, a stretch is replaced."""

    def __init__(self, file: IO[bytes], start: int, end: int, inserted: bytes) -> None:
        self.file, self.start, self.end, self.inserted = file, start, end, inserted
        self.head: bytes | None = b""
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        size = len(data)
        try:
            if self.head is not None:
                self.head += bytes(data)
                if len(self.head) < self.end:
                    return size
                data = self.head[: self.start] + self.inserted + self.head[self.end :]
                self.head = None
            self.file.write(data)
        except OSError as error:
            self.failure = error
            return -1
        return size


def _packed(save: Callable[..., None], sink: _Sink, **how: object) -> None:
    target = import_vips().TargetCustom()
    target.on_write(sink.write)
    try:
        save(target, keep="none", **how)
    except import_vips().Error:
        if sink.failure:  # a full disk, say, of which libvips only knows that something failed
            raise sink.failure from None
        raise


def _jpeg(photo: Photo, path: Path, kind: _Format) -> None:
    segments = b"".join(jpeg_segments(photo.metadata, photo.profile).values())
    with open(path, "wb") as file:
        save = _vips_image(photo).jpegsave_target
        _packed(save, _Sink(file, 2, 2, segments), Q=95, subsample_mode="off")


def _png(photo: Photo, path: Path, kind: _Format) -> None:
    chunks = png_chunks(photo.metadata, photo.profile)
    with open(path, "wb") as file:
        save = _vips_image(photo).pngsave_target
        # After the header libvips puts a resolution, also where none is known.
        _packed(save, _Sink(file, 33, 54, chunks), compression=3, filter="up")


def _tiff(photo: Photo, path: Path, kind: _Format) -> None:
    across, down = photo.metadata.dpi or (25.4, 25.4)
    predictor = "float" if photo.levels == 1 else "horizontal"
    _vips_image(photo).copy(xres=across / 25.4, yres=down / 25.4).tiffsave(
        str(path), compression="deflate", predictor=predictor, keep="none", resunit="inch",
        premultiply=photo.premultiplied, bigtiff=photo.pixels.nbytes > _BIG,
    )  # fmt: skip
    add_to_tiff(path, photo.metadata, photo.profile)


def _by_pillow(photo: Photo, path: Path, kind: _Format) -> None:
    register_plugins()
    picture = photo.to_image()
    if kind.name == "JXL" and picture.mode == "I;16":
        picture = Image.fromarray(photo.pixels[..., 0])
    how = {
        name: picture.info[name] for name in ("icc_profile", "exif", "xmp") if name in picture.info
    }
    picture.info.clear()
    picture.save(path, kind.name, **how, **_PILLOW[kind.name])


_WRITERS = {"JPEG": _jpeg, "PNG": _png, "TIFF": _tiff}
