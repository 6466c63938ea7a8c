r"""Colour profiles: from what a photo's numbers mean to sRGB, and back, in floating point.

A profile of three curves and a matrix (Display P3, Adobe RGB, ProPhoto, most screens and cameras),
or of one curve for grey, is applied as the ICC writes it, unclipped, so that colours beyond sRGB
become values below 0 or above 1 and come back as they were. Pillow's `ImageCms` has 8 bits a
channel and clips; Little CMS in floats takes about four times as long as this and returns 16-bit
values of Adobe RGB up to 26 levels off.

Data flow: `pixels in a profile -> to_srgb -> sRGB -> ... -> from_srgb -> pixels in the profile`.

References:
    | ICC.1:2022, Image technology colour management, https://www.color.org/icc_specs2.xalter
    | IEC 61966-2-1, sRGB
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

__all__ = ["check_profile", "from_srgb", "is_srgb", "to_srgb"]

# The colours of sRGB's three lights as D50 sees them, which is what profiles are written in.
_SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)

_STEEPEST = 32
"""A curve is at least as steep as a line of slope 1/32.

A pure power is flat at 0: there a number of single precision says nothing about the value that it
came from. The difference stays below 0.5 L*, and only in the deepest shadows.
"""

_BLOCK = 2**16  # pixels that are converted at a time, so that what is needed beside them is small

_LARGEST_POWER = 10

_GAP = 1e-4

_NAMES = {"RGB ": 3, "GRAY": 1}  # the colour spaces of profiles that are read, and their channels


@dataclass(frozen=True, eq=False)
class _Power:
    """The parametric curve: `(a x + b)^g + e` from `d` on, and `c x + f` below."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 0.0
    f: float = 0.0

    def curve(self, x: np.ndarray) -> np.ndarray:
        power = np.maximum(self.a * x + self.b, 0) ** self.g + self.e
        return power if self.d <= 0 else np.where(x >= self.d, power, self.c * x + self.f)

    def linear(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(self.curve(x), x / _STEEPEST)

    def encoded(self, y: np.ndarray) -> np.ndarray:
        root = (np.maximum(y - self.e, 0) ** (1 / self.g) - self.b) / self.a
        if self.d > 0:
            line = (y - self.f) / self.c if self.c > 0 else np.full_like(y, self.d)
            root = np.where(root >= self.d, root, np.minimum(line, self.d))
        return np.minimum(root, y * _STEEPEST)


@dataclass(frozen=True, eq=False)
class _Table:
    """A curve by its values at even steps."""

    values: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        return np.linspace(0, 1, len(self.values))

    def linear(self, x: np.ndarray) -> np.ndarray:
        return np.interp(x, self.steps, self.values)

    def encoded(self, y: np.ndarray) -> np.ndarray:
        return np.interp(y, self.values, self.steps)


@dataclass(frozen=True, eq=False)
class _Profile:
    """What a profile says: the curve of each channel, and linear sRGB of its linear colours."""

    curves: tuple[_Power | _Table, ...]
    matrix: np.ndarray

    def linear(self, encoded: np.ndarray) -> np.ndarray:
        curved = [curve.linear(x) for curve, x in zip(self.curves, encoded.T, strict=True)]
        return np.stack(curved, -1) @ self.matrix.T

    def encoded(self, linear: np.ndarray) -> np.ndarray:
        own = linear @ np.linalg.inv(self.matrix).T
        curves = zip(self.curves, own.T, strict=True)
        return np.stack([curve.encoded(y) for curve, y in curves], -1)


def to_srgb(pixels: np.ndarray, profile: bytes | None) -> np.ndarray:
    r"""Colours in a profile's own encoding as sRGB, unclipped.

    Args:
        pixels: The colours, ``float32``, in :math:`[0, 1]`, with shape :math:`(..., 3)`, or
            :math:`(..., 1)` for a profile of grey.
        profile: The ICC profile. None stands for sRGB.

    Returns:
        sRGB (or grey with the curve of sRGB), ``float32``, with the shape of `pixels`: below 0 or
        above 1 where sRGB has no such colour. `pixels` itself if the profile is that of sRGB.

    Raises:
        ValueError: If the profile is damaged, of another number of channels, or of tables.

    Example:
        >>> to_srgb(np.ones((1, 3), np.float32), None)
        array([[1., 1., 1.]], dtype=float32)
    """
    if is_srgb(profile):
        return pixels
    parsed = _parse(profile or b"")
    return _by_blocks(pixels, lambda x: _encode(parsed.linear(x)), len(parsed.curves))


def from_srgb(pixels: np.ndarray, profile: bytes | None) -> np.ndarray:
    r"""The inverse of :func:`to_srgb`.

    After both, 8-bit values are the same, and 16-bit values within 1 level of 65535.

    Args:
        pixels: The colours in sRGB, ``float32``, of any values.
        profile: As for :func:`to_srgb`.

    Returns:
        The colours in the profile's encoding, ``float32``, with the shape of `pixels`: outside
        :math:`[0, 1]`, or at its ends, where the profile has no such colour.

    Raises:
        ValueError: As for :func:`to_srgb`.

    Example:
        >>> from_srgb(np.ones((1, 3), np.float32), None)
        array([[1., 1., 1.]], dtype=float32)
    """
    if is_srgb(profile):
        return pixels
    parsed = _parse(profile or b"")
    return _by_blocks(pixels, lambda x: parsed.encoded(_decode(x)), len(parsed.curves))


def is_srgb(profile: bytes | None) -> bool:
    r"""Whether colours in a profile are sRGB as they are, so that there is nothing to convert.

    Args:
        profile: The ICC profile, or None.

    Returns:
        True for None, and for a profile whose colours differ from sRGB by less than 1 level of
        255.

    Raises:
        ValueError: As for :func:`to_srgb`.

    Example:
        >>> is_srgb(None)
        True
    """
    return profile is None or _near_srgb(profile)


def check_profile(profile: bytes, channels: int) -> None:
    r"""Raises unless a profile is one that :func:`to_srgb` reads.

    Args:
        profile: The ICC profile.
        channels: The number of channels of the picture's colours, 1 or 3.

    Raises:
        ValueError: If it is damaged, of another number of channels, or of tables.

    Example:
        >>> check_profile(b"rubbish", 3)
        Traceback (most recent call last):
        ...
        ValueError: the ICC profile is damaged.
    """
    if (own := len(_parse(profile).curves)) != channels:
        raise ValueError(f"the ICC profile has {own} channels, the picture {channels}.")


@lru_cache(maxsize=16)
def _near_srgb(profile: bytes) -> bool:
    parsed = _parse(profile)
    count = len(parsed.curves)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 18)] * count), -1).reshape(-1, count)
    return bool(np.abs(_encode(parsed.linear(grid)) - grid).max() < 1 / 255)


@lru_cache(maxsize=16)
def _parse(profile: bytes) -> _Profile:
    try:
        return _parsed(profile)
    except (struct.error, IndexError, KeyError, OverflowError) as error:
        raise ValueError("the ICC profile is damaged.") from error


def _parsed(profile: bytes) -> _Profile:
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ValueError("the ICC profile is damaged.")
    space, connection = profile[16:20].decode("latin-1"), profile[20:24].decode("latin-1")
    tags = _tags(profile)
    names = {3: ("rTRC", "gTRC", "bTRC"), 1: ("kTRC",)}.get(_NAMES.get(space, 0), ())
    if not names or not tags.keys() >= set(names) or (len(names) == 3 and connection != "XYZ "):
        raise ValueError(f"the ICC profile has no curves for RGB or grey (it is of {space!r}).")
    curves = tuple(_curve(tags[name]) for name in names)
    if len(names) == 1:
        return _Profile(curves, np.eye(1))
    lights = np.array([struct.unpack(">3i", tags[n][8:20]) for n in ("rXYZ", "gXYZ", "bXYZ")]).T
    matrix = np.linalg.inv(_SRGB) @ (lights / 65536)
    white = matrix.sum(1, keepdims=True)  # is 1, but for rounding: grey shall stay grey
    if np.abs(white - 1).max() > 0.05 or abs(np.linalg.det(matrix)) < 1e-3:
        raise ValueError("the ICC profile is damaged.")
    return _Profile(curves, matrix / white)


def _tags(profile: bytes) -> dict[str, bytes]:
    (count,) = struct.unpack(">I", profile[128:132])
    entries = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * min(count, 200)])
    return {name.decode("latin-1"): profile[at : at + size] for name, at, size in entries}


def _curve(data: bytes) -> _Power | _Table:
    kind, (count,) = data[:4], struct.unpack(">I", data[8:12])
    if kind == b"para":
        return _parametric(count >> 16, data[12:])
    if kind != b"curv":
        raise ValueError("the ICC profile is damaged.")
    if count == 0:
        return _Power(1.0)
    numbers = np.array(struct.unpack(f">{count}H", data[12 : 12 + 2 * count]))
    if count == 1:
        return _checked(_Power(float(numbers[0]) / 256))
    # Where the table is flat, or turns back, it is made to rise a little, for it needs an inverse.
    steps = np.maximum(np.diff(numbers / 65535), 1 / _STEEPEST / (count - 1))
    values = np.concatenate([[0.0], np.cumsum(steps)])
    return _Table(values / values[-1])


def _parametric(kind: int, data: bytes) -> _Power:
    names = ("g", "gab", "gabc", "gabcd", "gabcdef")[kind]
    numbers = struct.unpack(f">{len(names)}i", data[: 4 * len(names)])
    n = {name: number / 65536 for name, number in zip(names, numbers, strict=True)}
    if kind in (1, 2):  # nothing below -b/a, or a constant
        offset = n.pop("c", 0.0)
        n |= {"d": -n["b"] / n["a"] if n["a"] else 0.0, "e": offset, "f": offset}
    return _checked(_Power(**n))


def _checked(curve: _Power) -> _Power:
    """The curve, without a gap where its parts meet; raises unless it rises, and ends at 1."""
    if not (0 < curve.g <= _LARGEST_POWER and curve.a > 0):
        raise ValueError("the ICC profile is damaged.")
    with np.errstate(all="ignore"):
        values = curve.curve(np.linspace(0, 1, 1025))
    # Numbers of 16 bits leave a gap between line and power, which may be a step down.
    if not (np.diff(values) > -_GAP).all() or abs(values[-1] - 1) > 0.05:
        raise ValueError("the ICC profile is damaged.")
    if curve.c > 0 and curve.d > 0:
        return replace(curve, c=(float(curve.curve(np.array(curve.d))) - curve.f) / curve.d)
    return curve


def _by_blocks(
    pixels: np.ndarray, convert: Callable[[np.ndarray], np.ndarray], channels: int
) -> np.ndarray:
    if pixels.shape[-1] != channels:
        raise ValueError(
            f"'pixels' must have the {channels} channels of the ICC profile, got shape "
            f"{pixels.shape}."
        )
    flat = pixels.reshape(-1, channels)
    result = np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK].astype(np.float64)
        result[start : start + _BLOCK] = convert(block)
    return result.reshape(pixels.shape)


# Both go on as a straight line below 0, as the colour spaces of opmask take it.
def _encode(linear: np.ndarray) -> np.ndarray:
    power = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear > 0.0031308, power, linear * 12.92)


def _decode(encoded: np.ndarray) -> np.ndarray:
    power = ((np.maximum(encoded, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(encoded > 0.04045, power, encoded / 12.92)
