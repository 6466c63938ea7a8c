"""The kinds of scenes. Each sets its camera, spreads the land and puts things on it, far to near.

`nature`, `town` -> `LAYOUTS` -> `SyntheticScenes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from opmask.datasets.scenes import nature, town
from opmask.datasets.scenes.palette import Label
from opmask.datasets.scenes.scene import Camera, Scene

Drawing = Callable[[Scene, float, float], None]
Thing = tuple[float, float, Drawing]  # metres right and ahead, and what is there


def look(scene: Scene, horizon: tuple[float, float], eye: tuple[float, float]) -> float:
    """Sets up the camera within bounds and returns the height of the horizon."""
    center = scene.uniform(0.35, 0.65)
    scene.camera = Camera(scene.uniform(*horizon), scene.uniform(*eye), center)
    return scene.camera.horizon


def find(
    scene: Scene, draw: Drawing, top: float, bottom: float, left: float = 0, right: float = 1
) -> Thing:
    """Finds a place for something within a rectangle of the picture."""
    z = scene.camera.distance(scene.uniform(top, bottom))
    return (scene.uniform(left, right) - scene.camera.center) * z, z, draw


def put(scene: Scene, things: Iterable[Thing]) -> None:
    """Draws what stands on the ground, the most distant first."""
    for x, z, draw in sorted(things, key=lambda thing: -thing[1]):
        draw(scene, x, z)


def coast(scene: Scene) -> None:
    """The sea with boats, perhaps a headland, and a beach with people."""
    h = look(scene, (0.38, 0.52), (3, 5))
    nature.sky(scene)
    if scene.chance(0.6):
        nature.mountains(scene, scene.uniform(0.06, 0.16), 0.9)
    nature.water(scene, h, h)
    put(scene, [find(scene, town.boat, h + 0.05, h + 0.12) for _ in scene.some(0, 3)])
    line, tilt = h + scene.uniform(0.35, 0.6) * (1 - h), scene.uniform(-0.12, 0.12)
    nature.land(scene, Label.SAND, line - tilt, line + tilt, 0.015)
    if scene.chance(0.6):
        left, right = (line + 0.02, 1.15) if scene.chance(0.5) else (1.15, line + 0.02)
        nature.land(scene, Label.GRASS, left, right, 0.02)
    top = line + abs(tilt)
    things = [find(scene, town.person, top, 0.93) for _ in scene.some(1, 4)]
    things += [find(scene, nature.rock, top, 0.95) for _ in scene.some(0, 3)]
    things += [find(scene, nature.tree, top, top + 0.08) for _ in scene.some(0, 2)]
    put(scene, things)


def village(scene: Scene) -> None:
    """Houses along a road that winds through fields towards the hills."""
    h = look(scene, (0.3, 0.42), (7, 10))
    nature.sky(scene)
    nature.mountains(scene, scene.uniform(0.08, 0.2), 0.8, snow=scene.chance(0.2))
    nature.land(scene, Label.FIELD, h + 0.01, h + 0.02)
    if scene.chance(0.7):
        nature.forest(scene, h + 0.06, scene.uniform(0, 0.4), scene.uniform(0.5, 1))
    left, right = scene.uniform(h + 0.08, h + 0.2), scene.uniform(h + 0.08, h + 0.2)
    nature.land(scene, Label.GRASS, left, right, 0.02)
    lane = scene.uniform(-5, 5)
    town.road(scene, lane - 2.2, lane + 2.2, scene.uniform(-0.2, 0.2))
    things = [thing for side in (-1, 1) for thing in farms(scene, lane, side)]
    things += [find(scene, nature.tree, h + 0.15, h + 0.45) for _ in scene.some(2, 6)]
    things += [find(scene, town.person, h + 0.3, 0.93) for _ in scene.some(0, 2)]
    things += [(lane, scene.uniform(13, 30), town.car) for _ in scene.some(0, 2)]
    put(scene, things)
    if scene.chance(0.4):
        nature.flowers(scene, 60, 0.85)


def farms(scene: Scene, lane: float, side: int) -> list[Thing]:
    """Lines up one to three houses on one side of a lane."""
    places = (scene.uniform(16, 20), scene.uniform(28, 34), scene.uniform(44, 60))
    things: list[Thing] = []
    for k in scene.some(1, 3):
        size = scene.uniform(7, 11), scene.uniform(3.4, 6.2), scene.uniform(6, 9)
        place = lane + side * scene.uniform(9, 13)
        things.append((place, places[k], partial(town.house, size=size)))
    return things


def valley(scene: Scene) -> None:
    """Snowy mountains behind a forest and mostly a lake; firs or trees on the near bank."""
    h = look(scene, (0.42, 0.54), (3, 6))
    nature.sky(scene)
    nature.mountains(scene, scene.uniform(0.26, 0.38), 0.7, snow=True)
    if scene.chance(0.7):
        nature.mountains(scene, scene.uniform(0.1, 0.18), 0.45)
    nature.land(scene, Label.GRASS, h + 0.01, h + 0.01, 0.005)
    nature.forest(scene, h + 0.035)
    if scene.chance(0.75):
        nature.water(scene, h + 0.04, h + 0.04, 0.004)
    bank, tilt = scene.uniform(0.62, 0.8), scene.uniform(-0.12, 0.12)
    nature.land(scene, Label.GRASS, bank - tilt, bank + tilt, 0.02)
    kind = nature.conifer if scene.chance(0.7) else nature.tree
    top, left = bank + abs(tilt), 0.7 * scene.chance(0.5)
    things = [find(scene, kind, top, top + 0.1, left, left + 0.3) for _ in scene.some(1, 4)]
    things += [find(scene, nature.rock, top, 0.96) for _ in scene.some(0, 3)]
    things += [find(scene, town.person, top, 0.93) for _ in scene.some(0, 1)]
    put(scene, things)
    if scene.chance(0.7):
        nature.flowers(scene, 70, top)


def street(scene: Scene) -> None:
    """A straight street between two rows of houses."""
    h = look(scene, (0.48, 0.56), (1.9, 2.8))
    nature.sky(scene)
    nature.mountains(scene, scene.uniform(0.06, 0.14), 0.9)
    nature.land(scene, Label.PAVEMENT, h + 0.005, h + 0.005, 0.0)
    half = scene.uniform(3, 4.2)
    town.road(scene, -half, half)
    town.dashes(scene)
    put(scene, [thing for side in (-1, 1) for thing in roadside(scene, half, side)])


def roadside(scene: Scene, half: float, side: int) -> list[Thing]:
    """Lines up houses, trees, lamp posts, people and cars on one side of a street."""
    things: list[Thing] = []
    start = scene.uniform(3, 6)
    while start < 70:
        width = scene.uniform(8, 10)
        size = width, scene.uniform(4.5, 9), scene.uniform(7, 11)
        if scene.chance(0.85):
            place = side * (half + 2.4 + width / 2)
            things.append((place, start, partial(town.house, size=size)))
        start += size[2] + scene.uniform(0.5, 3)
    things += [(side * (half + 1.3), z, nature.tree) for z in (8, 16, 26) if scene.chance(0.4)]
    things += [(side * (half + 0.5), z, town.post) for z in (6, 13, 24) if scene.chance(0.5)]
    for _ in scene.some(0, 2):
        walker = side * (half + scene.uniform(0.6, 1.8))
        things.append((walker, scene.uniform(4, 18), town.person))
    for _ in scene.some(0, 2):
        lane = side * half * scene.uniform(0.4, 0.7)
        things.append((lane, scene.uniform(5, 26), town.car))
    return things


def meadow(scene: Scene) -> None:
    """Open country: hills, fields, flowers and a few trees."""
    h = look(scene, (0.36, 0.5), (2.5, 5))
    nature.sky(scene)
    nature.mountains(scene, scene.uniform(0.05, 0.14), 0.8)
    nature.land(scene, Label.FIELD, h + 0.005, h + 0.01)
    if scene.chance(0.6):
        nature.forest(scene, h + 0.03, scene.uniform(0, 0.5), scene.uniform(0.5, 1))
    edge, tilt = h + scene.uniform(0.12, 0.28), scene.uniform(-0.06, 0.06)
    nature.land(scene, Label.GRASS, edge - tilt, edge + tilt, 0.015)
    top = edge + abs(tilt)
    things = [find(scene, nature.tree, top, top + 0.14) for _ in scene.some(1, 3)]
    things += [find(scene, town.person, top + 0.05, 0.92) for _ in scene.some(0, 2)]
    if scene.chance(0.3):
        cottage = partial(town.house, size=(9.0, 4.5, 7.0))
        things.append(find(scene, cottage, h + 0.1, h + 0.16, 0.1, 0.9))
    put(scene, things)
    if scene.chance(0.85):
        nature.flowers(scene, 110, top)


def winter(scene: Scene) -> None:
    """Snow on the ground, on the mountains and on the firs, perhaps a hut and a road."""
    h = look(scene, (0.38, 0.5), (3, 6))
    nature.sky(scene)
    nature.mountains(scene, scene.uniform(0.14, 0.3), 0.7, snow=True)
    nature.forest(scene, h + 0.02)
    nature.land(scene, Label.SNOW, h + 0.02, h + 0.03)
    if scene.chance(0.4):
        town.road(scene, -1.8, 1.8, scene.uniform(-0.15, 0.15))
    fir = partial(nature.conifer, snowy=True)
    things = [find(scene, fir, h + 0.1, h + 0.35) for _ in scene.some(3, 7)]
    if scene.chance(0.6):
        hut = partial(town.house, size=(8.0, 3.8, 7.0))
        things.append((7.0 if scene.chance(0.5) else -7.0, scene.uniform(14, 22), hut))
    things += [find(scene, town.person, h + 0.2, 0.9) for _ in scene.some(0, 3)]
    put(scene, things)


LAYOUTS = (coast, village, valley, street, meadow, winter)
