"""Sky, land, water and what grows on it. `Scene` -> these -> `layouts`."""

from __future__ import annotations

import numpy as np

from opmask.datasets.scenes.canvas import Point, Surface, Texture
from opmask.datasets.scenes.palette import BARK, NEEDLES, Color, Label, mix, scale, vary
from opmask.datasets.scenes.scene import Scene

LAND = {
    Label.GRASS: Texture(leaf=0.07, plane=0.14, grain=0.08),
    Label.FIELD: Texture(plane=0.06, furrow=0.13),
    Label.SAND: Texture(plane=0.04),
    Label.SNOW: Texture(plane=0.03),
    Label.ROAD: Texture(plane=0.06),
    Label.PAVEMENT: Texture(plane=0.05),
}


def sky(scene: Scene) -> None:
    """Fills the picture with sky, then hangs up sun and clouds by chance."""
    zenith, horizon = (
        vary(scene.rng, color, 0.03) for color in (scene.light.zenith, scene.light.horizon)
    )
    ramp, texture = (0, 1 / scene.camera.horizon, 0), Texture(soft=0.02, grain=0.01)
    scene.canvas.add(Surface(Label.SKY, zenith, horizon, (1, 1), ramp, 1, 0, texture))
    if scene.chance(0.45):
        sun(scene)
    for _ in scene.some(0, 4):
        cloud(scene)


def sun(scene: Scene) -> None:
    """Hangs up the sun on the side of the light, as high as the light is."""
    height = 0.75 - 0.55 * scene.light.elevation
    scene.sun = (0.5 + 0.42 * scene.light.side, scene.camera.horizon * height)
    color = scale(mix(scene.light.sun, scene.light.horizon, 0.4), 1.7)
    texture = Texture(soft=0, grain=0.01)
    number = scene.canvas.add(Surface(Label.SUN, color, color, glow=1, depth=0, texture=texture))
    radius = scene.uniform(0.045, 0.075)
    scene.canvas.ellipse(scene.sun, (radius, radius), number)


def cloud(scene: Scene) -> None:
    """Piles up a cloud: puffs on a flat base, darker below and away from the light."""
    height, x = scene.uniform(0.1, 0.72), scene.uniform(-0.05, 1.05)
    y, width = height * scene.camera.horizon, scene.uniform(0.16, 0.36) * (1.1 - 0.7 * height)
    b = 1.6 / width
    a = -0.3 * scene.light.side * b
    ramp, texture = (a, b, 0.4 - a * x - b * y), Texture(leaf=0.03)
    color = vary(scene.rng, scene.palette[Label.CLOUD], 0.04)
    number = scene.canvas.add(
        Surface(Label.CLOUD, color, scale(color, 0.78), (0.95, 0.5), ramp, 0, height / 4, texture)
    )
    for offset in scene.rng.uniform(-1, 1, 6).tolist():
        radius = width * (0.42 - 0.24 * abs(offset)) * scene.uniform(0.8, 1.2)
        center = (x + offset * width, y - 0.3 * radius)
        scene.canvas.ellipse(center, (1.5 * radius, 0.62 * radius), number)
    scene.canvas.ellipse((x, y), (1.15 * width, 0.12 * width), number)


def mountains(scene: Scene, height: float, depth: float, *, snow: bool = False) -> None:
    """Sets a range on the horizon, with snow above a ragged line if asked for."""
    base = scene.camera.horizon + 0.02
    line = ridge(scene, base, height)
    wooded = mix(scene.palette[Label.MOUNTAIN], scene.palette[Label.TREE], 0.3)
    ramp, texture = (0, 1 / height, 1 - base / height), Texture(soft=0.08, relief=0.16)

    def slope(label: Label, color: Color) -> int:
        return scene.canvas.add(
            Surface(label, color, color, (0.8, 0.6), ramp, depth=depth, texture=texture)
        )

    rock = slope(Label.MOUNTAIN, vary(scene.rng, wooded, 0.04))
    scene.canvas.polygon([(-0.02, base), *line, (1.02, base)], rock)
    if snow:
        level = base - height * scene.uniform(0.35, 0.55)
        ragged = level + height * scene.rng.normal(0, 0.09, len(line))
        edge = [(u, max(v, w)) for (u, v), w in zip(line, ragged.tolist(), strict=True)]
        scene.canvas.polygon([*line, *edge[::-1]], slope(Label.SNOW, scene.palette[Label.SNOW]))


def ridge(scene: Scene, base: float, height: float) -> list[Point]:
    """Draws a line of mountains from left to right, by displacing midpoints."""
    heights = scene.rng.uniform(0.25, 1.0, 4)
    for level in range(5):
        middle = (heights[1:] + heights[:-1]) / 2
        middle += scene.rng.normal(0, 0.22 * 0.5**level, len(middle))
        heights = np.insert(heights, np.arange(1, len(heights)), middle)
    v = base - height * heights.clip(0.05, 1.3)
    return list(zip(np.linspace(-0.02, 1.02, len(v)).tolist(), v.tolist(), strict=True))


def land(scene: Scene, label: Label, left: float, right: float, wave: float = 0.01) -> None:
    """Spreads ground from a wavy line, from `left` to `right`, to the bottom of the picture."""
    color = vary(scene.rng, scene.palette[label], 0.03)
    number = scene.canvas.add(Surface(label, color, color, (0.8, 0.8), texture=LAND[label]))
    scene.canvas.polygon(shore(scene, left, right, wave), number)


def water(scene: Scene, left: float, right: float, wave: float = 0.0) -> None:
    """Spreads water that mirrors the sky: far away its horizon, nearer its zenith."""
    deep = scale(scene.palette[Label.WATER], 0.3 + scene.light.ambient[1])
    far, near = mix(deep, scene.light.horizon, 0.6), mix(deep, scene.light.zenith, 0.4)
    horizon, texture = scene.camera.horizon, Texture(soft=0.03, plane=0.12)
    ramp = (0, 1.1 / (1 - horizon), -1.1 * horizon / (1 - horizon))
    number = scene.canvas.add(Surface(Label.WATER, far, near, (1, 1), ramp, 1, 0, texture))
    scene.canvas.polygon(shore(scene, left, right, wave), number)


def shore(scene: Scene, left: float, right: float, wave: float) -> list[Point]:
    """Draws the outline of what lies below a wavy line, which stays under the horizon."""
    u = np.linspace(-0.1, 1.1, 29)
    v = left + (right - left) * u
    v += wave * np.sin(scene.uniform(0, 6) + scene.uniform(4, 9) * u)
    line = zip(u.tolist(), v.clip(scene.camera.horizon).tolist(), strict=True)
    return [*line, (1.1, 1.1), (-0.1, 1.1)]


def tree(scene: Scene, x: float, z: float) -> None:
    """Grows a broad-leaved tree of up to 9 metres."""
    height = min(scene.uniform(5, 9), 0.5 * z)
    scene.cast(x, z, 0.5 * height, height)
    half = 0.035 * height
    trunk = ((-half, 0), (-half, 0.6 * height), (half, 0.6 * height), (half, 0))
    scene.stand(x, z, trunk, scene.flat(Label.TREE, BARK, z, 0.5))
    color = vary(scene.rng, scene.palette[Label.TREE], 0.06)
    (u, v), radius = scene.camera.project(x, 0.62 * height, z), 0.34 * height / z
    crown = scene.round(Label.TREE, color, (u, v), radius, z, 0.12)
    for angle in scene.rng.uniform(0, 2 * np.pi, 7).tolist():
        center = u + 0.55 * radius * np.cos(angle), v + 0.6 * radius * np.sin(angle)
        scene.canvas.ellipse(center, (0.6 * radius, 0.55 * radius), crown)


def conifer(scene: Scene, x: float, z: float, *, snowy: bool = False) -> None:
    """Grows a fir of up to 12 metres, with snow on its branches if asked for."""
    height = min(scene.uniform(6, 12), 0.55 * z)
    scene.cast(x, z, 0.25 * height, height)
    trunk = ((-0.03 * height, 0), (0, 0.5 * height), (0.03 * height, 0))
    scene.stand(x, z, trunk, scene.flat(Label.TREE, BARK, z, 0.4))
    middle, radius = scene.camera.project(x, 0.5 * height, z), 0.25 * height / z
    color = vary(scene.rng, mix(scene.palette[Label.TREE], NEEDLES, 0.5), 0.06)
    needles = scene.round(Label.TREE, color, middle, radius, z, 0.1)
    snow = scene.round(Label.SNOW, scene.palette[Label.SNOW], middle, radius, z)
    for low, high, half in ((0.1, 0.55, 0.23), (0.32, 0.78, 0.17), (0.56, 1.0, 0.11)):
        for part, number in ((1.0, needles), (0.35, snow))[: 1 + snowy]:
            foot, width = (high + part * (low - high)) * height, part * half * height
            tier = ((-width, foot), (0, high * height), (width, foot))
            scene.stand(x, z, tier, number)


def forest(scene: Scene, v: float, left: float = 0.0, right: float = 1.0) -> None:
    """Lines up distant trees on the ground seen at the height `v` of the picture."""
    color = vary(scene.rng, scene.palette[Label.TREE], 0.06)
    depth = scene.camera.depth(scene.camera.distance(v))
    ramp, texture = (0, 18, 1 - 18 * v), Texture(leaf=0.15)
    number = scene.canvas.add(
        Surface(Label.TREE, color, color, (0.9, 0.45), ramp, depth=depth, texture=texture)
    )
    for u in np.arange(left, right, 0.028).tolist():
        size = scene.uniform(0.022, 0.042)
        scene.canvas.ellipse((u, v - 0.6 * size), (0.8 * size, size), number)


def rock(scene: Scene, x: float, z: float) -> None:
    """Drops a boulder of 1 to 2.4 metres, flat below."""
    size = scene.uniform(0.5, 1.2)
    scene.cast(x, z, 2 * size, size)
    color = vary(scene.rng, scene.palette[Label.ROCK], 0.06)
    center = scene.camera.project(x, 0.4 * size, z)
    number = scene.round(Label.ROCK, color, center, size / z, z, 0.12)
    angles = 0.7 * np.arange(9) + scene.rng.uniform(0, 0.4, 9)
    radii = size * scene.rng.uniform(0.8, 1.15, 9)
    right, up = 1.2 * radii * np.cos(angles), 0.4 * size + 0.75 * radii * np.sin(angles)
    scene.stand(x, z, zip(right.tolist(), up.clip(-0.05).tolist(), strict=True), number)


def flowers(scene: Scene, count: int, top: float) -> None:
    """Strews blossoms of one colour, in three shades, below the height `top`, larger in front."""
    shades = [
        scene.canvas.add(Surface(Label.FLOWER, color, color, (0.8, 0.8), depth=0.02))
        for color in (vary(scene.rng, scene.palette[Label.FLOWER], 0.1) for _ in range(3))
    ]
    camera, middle, width = scene.camera, scene.uniform(0.1, 0.9), scene.uniform(0.15, 0.5)
    heights = np.sort(scene.rng.uniform(top, 1.02, count)).tolist()
    places = scene.rng.normal(middle, width, count).tolist()
    for turn, center in enumerate(zip(places, heights, strict=True)):
        radius = 0.027 * (center[1] - camera.horizon) / (1 - camera.horizon)
        scene.canvas.ellipse(center, (radius, 0.8 * radius), shades[turn % 3])
