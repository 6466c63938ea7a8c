"""A drawing surface that remembers *what* is where instead of its colour.

Shapes are drawn with the numbers of surfaces; one pass (`render.render`) later turns the numbers
into light and labels. Coordinates are fractions of the picture, u to the right, v down.
`nature`, `town` -> `Canvas` -> `render`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from opmask.datasets.scenes.palette import Color, Label

Point = tuple[float, float]


class Texture(NamedTuple):
    """How strongly each kind of texture changes the brightness of a surface."""

    soft: float = 0.05  # wide blotches
    relief: float = 0.0  # slopes, lit from the side of the light
    leaf: float = 0.0  # small blotches
    plane: float = 0.0  # blotches of the ground, in perspective
    furrow: float = 0.0  # furrows that run towards the vanishing point
    grain: float = 0.04  # every sample by itself


class Surface(NamedTuple):
    """How a surface looks; what changes along it does so linearly, from `start` to `end`.

    `start` and `end` are reflectances and `facing` the shares of direct light there. How far the
    point (u, v) is from start to end is `a * u + b * v + c` with `ramp = (a, b, c)`, clipped.
    """

    label: Label
    start: Color
    end: Color
    facing: tuple[float, float] = (1.0, 1.0)
    ramp: tuple[float, float, float] = (0.0, 0.0, 0.0)
    glow: float = 0.0  # 1 for what shines by itself
    depth: float = -1.0  # relative distance, for the haze; negative for what lies on the ground
    texture: Texture = Texture()


class Canvas:
    """The numbers of surfaces, and the shadows cast, in a square of `side` x `side` samples."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.surfaces: list[Surface] = []
        self._ids = Image.new("I", (side, side))
        self._shadow = Image.new("L", (side, side))
        self._draw_ids = ImageDraw.Draw(self._ids)
        self._draw_shadow = ImageDraw.Draw(self._shadow)

    @property
    def ids(self) -> np.ndarray:
        """The number of the surface seen by each sample, with shape (side, side)."""
        return np.asarray(self._ids, np.intp)

    @property
    def shadow(self) -> np.ndarray:
        """1 where a shadow falls on the ground, else 0, with shape (side, side)."""
        return np.asarray(self._shadow)

    def add(self, surface: Surface) -> int:
        """Takes in a surface and returns its number."""
        self.surfaces.append(surface)
        return len(self.surfaces) - 1

    def polygon(self, points: Iterable[Point], number: int) -> None:
        """Fills a polygon with a surface."""
        self._draw_ids.polygon(self._samples(points), fill=number)

    def ellipse(self, center: Point, radii: Point, number: int) -> None:
        """Fills an ellipse with a surface."""
        (u, v), (a, b) = center, radii
        self._draw_ids.ellipse(self._samples(((u - a, v - b), (u + a, v + b))), fill=number)

    def darken(self, points: Iterable[Point]) -> None:
        """Lets a shadow fall on a polygon of the ground."""
        self._draw_shadow.polygon(self._samples(points), fill=1)

    def _samples(self, points: Iterable[Point]) -> list[Point]:
        return [(u * self.side, v * self.side) for u, v in points]
