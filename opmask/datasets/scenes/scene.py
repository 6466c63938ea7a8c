"""The stage on which a synthetic scene is set: camera, light, palette and canvas.

What stands on the ground is measured in metres and goes through one camera, so that size follows
from distance, and all of it is lit from the same side.
`light`, `palette`, `canvas` -> `Scene` -> `nature`, `town`, `layouts` -> `render`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from opmask.datasets.scenes.canvas import Canvas, Point, Surface, Texture
from opmask.datasets.scenes.light import draw_light
from opmask.datasets.scenes.palette import Color, Label, draw_palette


class Camera(NamedTuple):
    """A camera that looks straight ahead, as wide as it is far from the picture."""

    horizon: float  # its height in the picture
    eye: float  # metres above the ground
    center: float  # where lines that run straight ahead meet on the horizon

    def project(self, x: float, y: float, z: float) -> Point:
        """Returns where the point `x` metres right, `y` up and `z` ahead is seen."""
        return self.center + x / z, self.horizon + (self.eye - y) / z

    def distance(self, v: float) -> float:
        """Returns how many metres ahead the ground is that is seen at the height `v`."""
        return self.eye / (v - self.horizon)

    def depth(self, z: float) -> float:
        """Returns the relative distance of what is `z` metres ahead, at most 1."""
        return min(0.05 * z / self.eye, 1.0)


class Scene:
    """One scene while it is being drawn; the layout sets the camera, the sky the sun."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        self.rng = rng
        self.light = draw_light(rng)
        self.palette = draw_palette(rng, self.light.season)
        self.canvas = Canvas(side)
        self.camera = Camera(horizon=0.5, eye=2.0, center=0.5)
        self.sun: Point = (0.5 + 0.75 * self.light.side, -0.3)

    def uniform(self, low: float, high: float) -> float:
        """Draws a number."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Tosses a coin."""
        return bool(self.rng.random() < probability)

    def some(self, low: int, high: int) -> range:
        """Draws how often to do something, from `low` to `high` times."""
        return range(self.rng.integers(low, high + 1))

    def flat(self, label: Label, color: Color, z: float, facing: float, *, leaf: float = 0) -> int:
        """Adds an evenly lit surface that stands `z` metres ahead."""
        depth, texture = self.camera.depth(z), Texture(leaf=leaf)
        return self.canvas.add(
            Surface(label, color, color, (facing, facing), depth=depth, texture=texture)
        )

    def round(
        self, label: Label, color: Color, center: Point, radius: float, z: float, leaf: float = 0
    ) -> int:
        """Adds a surface `z` metres ahead that turns away from the light across `center`."""
        a = -self.light.side / (2.4 * radius)
        b = (0.4 + self.light.elevation) / (2.4 * radius)
        ramp = (a, b, 0.5 - a * center[0] - b * center[1])
        depth, texture = self.camera.depth(z), Texture(leaf=leaf)
        return self.canvas.add(
            Surface(label, color, color, (1.0, 0.5), ramp, depth=depth, texture=texture)
        )

    def stand(self, x: float, z: float, outline: Iterable[Point], number: int) -> None:
        """Stands up a cut-out at (x, z); `outline` is in metres right of and above that point."""
        self.canvas.polygon([self.camera.project(x + a, b, z) for a, b in outline], number)

    def cast(self, x: float, z: float, width: float, height: float) -> None:
        """Casts the shadow of what stands at (x, z), away from the light and to the front."""
        length = height * min(0.8 / (0.2 + self.light.elevation), 2.0)
        dx, dz = -self.light.side * length, -min(0.35 * length, 0.4 * z)
        left, right = x - width / 2, x + width / 2
        corners = ((left, z), (right, z), (right + dx, z + dz), (left + dx, z + dz))
        self.canvas.darken(self.camera.project(a, 0.0, b) for a, b in corners)
