"""Houses, roads, cars, people and boats. `Scene` -> these -> `layouts`."""

from __future__ import annotations

import numpy as np

from opmask.datasets.scenes.canvas import Surface
from opmask.datasets.scenes.nature import LAND
from opmask.datasets.scenes.palette import (
    CAR_PARTS,
    CHALK,
    CLOTHES,
    DOOR,
    LAMPLIGHT,
    PAINTS,
    POST,
    SAILCLOTH,
    SKIN,
    WALLS,
    Color,
    Label,
    mix,
    pick,
    scale,
    vary,
)
from opmask.datasets.scenes.scene import Scene

Place = tuple[float, float, float]  # metres right, up and ahead

# Outlines in metres, to the right and up, and what they are made of.
CAR_BACK = (
    ("tyre", ((-0.8, 0), (-0.8, 0.5), (-0.5, 0.5), (-0.5, 0))),
    ("tyre", ((0.5, 0), (0.5, 0.5), (0.8, 0.5), (0.8, 0))),
    ("body", ((-0.9, 0.3), (-0.9, 0.95), (-0.65, 1.5), (0.65, 1.5), (0.9, 0.95), (0.9, 0.3))),
    ("glass", ((-0.7, 0.95), (-0.55, 1.38), (0.55, 1.38), (0.7, 0.95))),
    ("lamp", ((-0.86, 0.65), (-0.86, 0.85), (-0.6, 0.85), (-0.6, 0.65))),
    ("lamp", ((0.86, 0.65), (0.86, 0.85), (0.6, 0.85), (0.6, 0.65))),
)
PERSON = (
    ("legs", ((-0.2, 0.9), (0.02, 0.9), (-0.08, 0), (-0.3, 0))),
    ("legs", ((0.0, 0.9), (0.2, 0.9), (0.28, 0), (0.1, 0))),
    ("shirt", ((-0.22, 0.85), (-0.26, 1.45), (0.26, 1.45), (0.22, 0.85))),
    ("shirt", ((-0.26, 1.45), (-0.4, 0.9), (-0.3, 0.88), (-0.18, 1.3))),
    ("shirt", ((0.26, 1.45), (0.4, 0.9), (0.3, 0.88), (0.18, 1.3))),
)
BOAT = (
    ("hull", ((-2.4, 0.9), (2.6, 0.9), (1.8, -0.1), (-1.8, -0.1))),
    ("sail", ((-0.2, 1.2), (0.1, 6.5), (2.0, 1.2))),
    ("sail", ((-0.5, 1.2), (-0.2, 5.6), (-1.8, 1.2))),
)


def house(scene: Scene, x: float, z: float, size: Place) -> None:
    """Builds a house of `(width, height, depth)` metres, its front's middle at (x, z)."""
    width, height, deep = size
    scene.cast(x, z, width, height)
    inner = 1 if x < 0 else -1  # the side wall that is seen is the one nearer to the middle
    flank = 0.95 if inner * scene.light.side > 0 else 0.25
    color, near = pick(scene.rng, WALLS), x + inner * width / 2
    top, ridge = height + scene.uniform(0.22, 0.35) * deep, z + deep / 2
    glass = panes(scene, z)
    wall(scene, (near, 0, z), (0, height, deep), scene.flat(Label.WALL, color, z, flank), glass)
    gable = ((near, height, z), (near, top, ridge), (near, height, z + deep))
    face(scene, gable, scene.flat(Label.WALL, color, z, flank))
    front = (x - width / 2, 0, z)
    wall(scene, front, (width, height, 0), scene.flat(Label.WALL, color, z, 0.75), glass)
    roof(scene, x, z, (width + 0.6, height - 0.2, top), ridge)
    door = ((-0.5, 0), (-0.5, 2.1), (0.5, 2.1), (0.5, 0))
    scene.stand(x, z, door, scene.flat(Label.UNLABELLED, DOOR, z, 0.75))


def roof(scene: Scene, x: float, z: float, size: Place, ridge: float) -> None:
    """Covers a house from `(width, eaves, top)` at its front up to the ridge."""
    color = vary(scene.rng, scene.palette[Label.ROOF], 0.06)
    (width, eaves, top), front = size, z - 0.3
    left, right = x - width / 2, x + width / 2
    corners = (
        (left, eaves, front),
        (right, eaves, front),
        (right, top, ridge),
        (left, top, ridge),
    )
    face(scene, corners, scene.flat(Label.ROOF, color, z, 0.85, leaf=0.1))


def wall(scene: Scene, corner: Place, size: Place, number: int, glass: tuple[int, int]) -> None:
    """Builds a wall from a lower corner, with two or more windows on every floor."""
    floors, length = max(round(size[1] / 3), 1), float(np.hypot(size[0], size[2]))
    columns = max(round(length / 2.4), 2)
    face(scene, rectangle(corner, size, 0, 0, 1, 1), number)
    for k in range(floors * columns):
        s, t = (k % columns + 0.25) / columns, (k // columns + 0.32) / floors
        window = rectangle(corner, size, s, t, s + 0.5 / columns, t + 0.48 / floors)
        face(scene, window, glass[scene.chance(scene.light.lamps)])


def rectangle(
    corner: Place, size: Place, left: float, low: float, right: float, high: float
) -> list[Place]:
    """Returns the corners of a part of a wall; the part's bounds are shares of the wall."""
    (x, y, z), (width, height, deep) = corner, size
    ends = ((left, low), (left, high), (right, high), (right, low))
    return [(x + s * width, y + t * height, z + s * deep) for s, t in ends]


def face(scene: Scene, corners: tuple[Place, ...] | list[Place], number: int) -> None:
    """Fills a flat face in space."""
    scene.canvas.polygon([scene.camera.project(*corner) for corner in corners], number)


def panes(scene: Scene, z: float) -> tuple[int, int]:
    """Adds the surfaces of two kinds of windows: one mirrors a little sky, one is lit."""
    color = mix(scene.palette[Label.WINDOW], scene.light.zenith, 0.25)
    depth = scene.camera.depth(z)
    lit = scene.canvas.add(Surface(Label.WINDOW, LAMPLIGHT, LAMPLIGHT, glow=1, depth=depth))
    return scene.flat(Label.WINDOW, color, z, 0.5), lit


def road(scene: Scene, left: float, right: float, bend: float = 0.0) -> None:
    """Lays a road into the distance, `left` to `right` in metres, winding by `bend`."""
    color = scene.palette[Label.ROAD]
    number = scene.canvas.add(
        Surface(Label.ROAD, color, color, (0.8, 0.8), texture=LAND[Label.ROAD])
    )
    ahead = np.geomspace(0.3 * scene.camera.eye, 300, 24)
    drift = bend * ahead * np.sin(ahead / (9 * scene.camera.eye))
    course = list(zip(drift.tolist(), ahead.tolist(), strict=True))
    edge = [(left + x, 0.0, z) for x, z in course]
    face(scene, edge + [(right + x, 0.0, z) for x, z in reversed(course)], number)


def dashes(scene: Scene) -> None:
    """Paints the middle of a straight road; the paint belongs to the road."""
    number = scene.canvas.add(Surface(Label.ROAD, CHALK, CHALK, (0.8, 0.8)))
    for z in np.arange(1.8, 48, 4.8).tolist():
        near, far = ((-0.09, 0, z), (0.09, 0, z)), ((0.09, 0, z + 2), (-0.09, 0, z + 2))
        face(scene, (*near, *far), number)


def car(scene: Scene, x: float, z: float) -> None:
    """Puts a car on the road, seen from behind."""
    materials = {"body": pick(scene.rng, PAINTS)} | CAR_PARTS
    scene.cast(x, z, 1.8, 1.2)
    cut_out(scene, x, z, Label.CAR, materials, CAR_BACK)


def person(scene: Scene, x: float, z: float) -> None:
    """Lets somebody stand or walk there."""
    materials = {
        "legs": scale(pick(scene.rng, CLOTHES), 0.6),
        "shirt": pick(scene.rng, CLOTHES),
        "skin": vary(scene.rng, SKIN, 0.15),
    }
    scene.cast(x, z, 0.5, 1.7)
    numbers = cut_out(scene, x, z, Label.PERSON, materials, PERSON)
    head = scene.camera.project(x, 1.6, z)
    scene.canvas.ellipse(head, (0.12 / z, 0.15 / z), numbers["skin"])


def boat(scene: Scene, x: float, z: float) -> None:
    """Sets a sailing boat on the water."""
    sail = vary(scene.rng, SAILCLOTH, 0.06)
    cut_out(scene, x, z, Label.BOAT, {"hull": pick(scene.rng, PAINTS), "sail": sail}, BOAT)


def post(scene: Scene, x: float, z: float) -> None:
    """Puts up a lamp post, which nobody labels."""
    scene.cast(x, z, 0.1, 4.5)
    outline = ((-0.07, 0), (-0.07, 4.5), (0.07, 4.5), (0.07, 0))
    scene.stand(x, z, outline, scene.flat(Label.UNLABELLED, POST, z, 0.6))


def cut_out(
    scene: Scene,
    x: float,
    z: float,
    label: Label,
    materials: dict[str, Color],
    parts: tuple[tuple[str, tuple[tuple[float, float], ...]], ...],
) -> dict[str, int]:
    """Stands up a figure made of parts, shaded as a whole, and returns its surfaces."""
    middle = scene.camera.project(x, 1.0, z)
    numbers = {
        name: scene.round(label, color, middle, 1.2 / z, z) for name, color in materials.items()
    }
    for name, outline in parts:
        scene.stand(x, z, outline, numbers[name])
    return numbers
