"""Checks of the numbers that operators take.

Each returns the number as one of Python's own, because files describe operators by them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from numbers import Real
from typing import TypeVar

__all__ = [
    "Color",
    "as_triple",
    "check_color",
    "check_contrast",
    "check_count",
    "check_mapping",
    "check_number",
    "check_share",
]

Color = float | tuple[float, float, float]
"""A grey, or a triple of red, green and blue."""


V = TypeVar("V")


def check_mapping(name: str, value: Mapping[str, V], what: str) -> Mapping[str, V]:
    """A table by name."""
    if not isinstance(value, Mapping):
        raise TypeError(f"'{name}' must map {what}, got {value!r}.")
    return value


def check_number(name: str, value: float) -> float:
    """A number."""
    if not isinstance(value, Real):
        raise TypeError(f"'{name}' must be a number, got {value!r}.")
    return float(value)


def check_count(name: str, value: int, low: int, high: int | None = None) -> int:
    """A whole number within bounds."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"'{name}' must be a whole number, got {value!r}.") from None
    if count < low or (high is not None and count > high):
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"'{name}' must be {bounds}, got {count}.")
    return count


def check_color(name: str, color: Color) -> Color:
    """A colour as it is given, in [0, 1]."""
    rule = f"'{name}' must be a grey or a triple of red, green and blue in [0, 1], got {color!r}."
    if not isinstance(color, tuple | list | Real):
        raise TypeError(f"{rule} Write numbers, such as (1.0, 0.5, 0.0).")
    values = color if isinstance(color, tuple | list) else (color,) * 3
    triple = [check_number(name, value) for value in values]
    if len(triple) != 3 or not all(0 <= value <= 1 for value in triple):
        raise ValueError(rule)
    red, green, blue = triple
    return (red, green, blue) if values is color else red


def as_triple(color: Color) -> tuple[float, float, float]:
    """Red, green and blue of a colour."""
    return color if isinstance(color, tuple) else (color, color, color)


def check_share(name: str, value: float) -> float:
    """A share of an image's shorter side, from a thousandth to a half."""
    if not 0.001 <= check_number(name, value) <= 0.5:
        raise ValueError(
            f"'{name}' must be in [0.001, 0.5], a share of the image's shorter side, got {value}."
        )
    return float(value)


def check_contrast(name: str, value: float) -> float:
    """A standard deviation of a channel, from a thousandth to 1."""
    if not 0.001 <= check_number(name, value) <= 1:
        raise ValueError(f"'{name}' must be in [0.001, 1], got {value}.")
    return float(value)
