r"""Colour tables from ``.cube`` files, the 3-D tables that photo and film editors write.

8-bit image -> ``Cube`` -> 8-bit image, for :func:`opmask.perturb.composite.composite`.

References:
    | Cube LUT Specification, version 1.0 (Adobe, 2013)
    | Color Space Conversion by Tetrahedral Interpolation (Sakamoto and Itooka, 1981)
"""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from opmask.color import to_levels
from opmask.files import check_regular
from opmask.perturb.filters.filter import check_eight_bit

SIZES = (2, 256)
"""The smallest and largest number of points along an axis (specification)."""

LARGEST = 2**30
"""The largest file, in bytes: the largest table with 60 characters a row."""

LONGEST_LINE = 10_000
"""The longest line of a file, in characters."""


@dataclass(frozen=True)
class Cube:
    r"""A colour table from a ``.cube`` file, as a perturbation.

    Between the points of the table it interpolates in tetrahedra: of the eight points around a
    colour it uses the four along the way from the darkest to the brightest, one channel after the
    other, that with the largest fraction first. Greys depend on the table's greys only. The result
    is clipped to RGB and rounded to 8 bits.

    Args:
        path: The file, with a 3-D table of 2 to 256 points along each axis, red fastest, in RGB.
            ``DOMAIN_MIN`` and ``DOMAIN_MAX``, or ``LUT_3D_INPUT_RANGE``, are heeded; colours
            beyond them are clipped to them.
        sha256: The checksum that the file must have, as records hold it, in hexadecimal digits.
            Default: any; the file's own is filled in.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no such table, or not the one with that checksum; or if it is a
            pipe or a device.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "negative.cube")
        >>> corners = [f"{1 - r} {1 - g} {1 - b}" for b in (0, 1) for g in (0, 1) for r in (0, 1)]
        >>> _ = path.write_text("\n".join(["LUT_3D_SIZE 2", *corners]))
        >>> Cube(path)(torch.full((3, 1, 1), 55, dtype=torch.uint8)).flatten()
        tensor([200, 200, 200], dtype=torch.uint8)
    """

    path: str | PathLike[str]
    sha256: str = ""
    _table: _Table = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        path = fspath(self.path)
        check_regular(Path(path), LARGEST)
        found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        if self.sha256 not in ("", found):
            raise ValueError(
                f"'path' must be the file with the checksum {self.sha256}, got {path} with "
                f"{found}. It was changed since it was recorded."
            )
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "sha256", found)
        object.__setattr__(self, "_table", _parse(path, found))

    def __call__(self, image: Tensor) -> Tensor:
        r"""Looks up the colours of an image.

        Args:
            image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.

        Returns:
            The changed image, with the type, shape and range of `image`.

        Raises:
            ValueError: If the shape is wrong.
            TypeError: If the image is not 8-bit.
        """
        check_eight_bit(image, "image", "(3, H, W)")
        colors, cells, fractions, steps = (part.to(image.device) for part in self._table)
        codes = image.flatten(1).long()
        fraction = fractions.gather(1, codes)
        (largest, first), (smallest, last) = fraction.max(0), fraction.min(0)
        r, g, b = fraction
        middle = torch.maximum(torch.minimum(r, g), torch.minimum(torch.maximum(r, g), b))
        lowest = cells.gather(1, codes).sum(0)
        highest = lowest + steps.sum()
        corners = (
            (lowest, 1 - largest),
            (lowest + steps[first], largest - middle),
            (highest - steps[last], middle - smallest),
            (highest, smallest),
        )
        shares = (colors[corner] * weight[:, None] for corner, weight in corners)
        color = sum(shares, torch.zeros((), dtype=colors.dtype))
        return to_levels(color).T.reshape(image.shape)

    def __reduce__(self) -> tuple[type[Cube], tuple[str, str]]:
        # The table stays in its file: a pickle of a thousand records would repeat it.
        return Cube, (fspath(self.path), self.sha256)

    def to_dict(self) -> dict[str, Any]:
        """The file and its checksum, for JSON."""
        return {"cube": self.path, "sha256": self.sha256}


class _Table(NamedTuple):
    """A table, ready to be looked up; all of float64 or int64."""

    colors: Tensor  # (N^3, 3), the rows of the file
    cells: Tensor  # (3, 256), what each level of each channel adds to the row of its cell
    fractions: Tensor  # (3, 256), where in its cell a level is, in [0, 1]
    steps: Tensor  # (3,), how many rows it is to the next point along each channel


@lru_cache(maxsize=16)
def _parse(path: str, checksum: str) -> _Table:
    """Reads a file; cached by its checksum, since each record of a benchmark may name it."""
    size = 0
    low: tuple[float, ...] = (0.0, 0.0, 0.0)
    high: tuple[float, ...] = (1.0, 1.0, 1.0)
    values = array("d")  # tuples of numbers would take ten times the memory
    for number, line in enumerate(_lines(path), 1):
        where = f"line {number} of {path}"
        match line.split():
            case [] | ["TITLE", *_]:
                continue
            case [word, *_] if word.startswith("#"):
                continue
            case ["LUT_3D_SIZE", *words]:
                size = _size(words, where)
            case ["DOMAIN_MIN", *words]:
                low = _numbers(words, 3, where)
            case ["DOMAIN_MAX", *words]:
                high = _numbers(words, 3, where)
            case ["LUT_3D_INPUT_RANGE", *words]:
                start, end = _numbers(words, 2, where)
                low, high = (start,) * 3, (end,) * 3
            case [word, *_] if word[0].isalpha() and word[:3].lower() not in ("nan", "inf"):
                raise ValueError(
                    f"'path' must be a file with a 3-D table, got {word:.40} in {where}, "
                    f"which is not part of one."
                )
            case words:
                values.extend(_numbers(words, 3, where))
    rows = len(values) // 3
    if rows != size**3 or not size:
        wanted = f"{size**3} rows, as LUT_3D_SIZE is {size}" if size else "a line LUT_3D_SIZE"
        raise ValueError(f"'path' must be a file with {wanted}, got {rows} rows in {path}.")
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise ValueError(
            f"'path' must be a file with a domain that rises, got {low} to {high} in {path}."
        )
    colors = torch.frombuffer(values, dtype=torch.float64).view(-1, 3)
    return _prepare(colors, size, low, high)


def _lines(path: str) -> Iterator[str]:
    """The lines of a file, in any encoding that has ASCII's characters, and any line ends."""
    with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
        while line := file.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise ValueError(
                    f"'path' must be a file with a 3-D table, got a line of {LONGEST_LINE} "
                    f"characters in {path}."
                )
            yield line


def _prepare(colors: Tensor, size: int, low: tuple[float, ...], high: tuple[float, ...]) -> _Table:
    levels = torch.arange(256, dtype=torch.float64) / 255
    lowest, highest = (torch.tensor(end, dtype=torch.float64)[:, None] for end in (low, high))
    points = ((levels - lowest) / (highest - lowest)).clamp(0, 1) * (size - 1)
    cells = points.floor().clamp(max=size - 2)  # the last point closes the last cell
    steps = torch.tensor([1, size, size**2])
    return _Table(colors, cells.long() * steps[:, None], points - cells, steps)


def _size(words: list[str], where: str) -> int:
    if len(words) == 1 and re.fullmatch("[0-9]{1,9}", words[0]):
        size = int(words[0])
        if SIZES[0] <= size <= SIZES[1]:
            return size
    raise ValueError(
        f"LUT_3D_SIZE must be an integer in {SIZES[0]}-{SIZES[1]}, "
        f"got {' '.join(words)[:40]!r} in {where}."
    )


def _numbers(words: list[str], count: int, where: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise ValueError(
            f"'path' must be a file with {count} finite numbers where they belong, "
            f"got {' '.join(words)[:40]!r} in {where}."
        )
    return numbers
