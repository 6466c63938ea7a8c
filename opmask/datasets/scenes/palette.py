"""The classes of the synthetic scenes and the colours in which they are typically painted.

Colours are linear-light reflectances; the light of a scene falls on them in `render`. Every scene
draws a palette once: what grows stays near its typical colour and follows the season, what is
painted (walls, cars, clothes) is chosen freely. `draw_palette` -> `scene.Scene`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np

Color = tuple[float, float, float]


class Label(enum.IntEnum):
    """The value of a class in a label map; 0 is what nobody labelled: doors and posts."""

    UNLABELLED = 0
    SKY = 1
    SUN = 2
    CLOUD = 3
    MOUNTAIN = 4
    SNOW = 5
    WATER = 6
    SAND = 7
    ROCK = 8
    GRASS = 9
    FIELD = 10
    FLOWER = 11
    TREE = 12
    ROAD = 13
    PAVEMENT = 14
    WALL = 15
    ROOF = 16
    WINDOW = 17
    CAR = 18
    PERSON = 19
    BOAT = 20


def linear(red: int, green: int, blue: int) -> Color:
    """Turns an 8-bit sRGB colour into linear light, in [0, 1]."""
    codes = np.array((red, green, blue)) / 255
    light = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    return float(light[0]), float(light[1]), float(light[2])


def scale(color: Sequence[float], gain: float) -> Color:
    """Multiplies a colour by a gain."""
    return color[0] * gain, color[1] * gain, color[2] * gain


def mix(first: Color, second: Color, share: float) -> Color:
    """Blends two colours; `share`, in [0, 1], is the second's part."""
    a, b = scale(first, 1 - share), scale(second, share)
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def vary(rng: np.random.Generator, color: Color, amount: float) -> Color:
    """Changes a colour by about `amount`, mostly its brightness, a third of that its warmth."""
    gain, warmth = float(np.exp(rng.normal(0, amount))), float(rng.normal(0, amount / 3))
    return color[0] * gain * (1 + warmth), color[1] * gain, color[2] * gain * (1 - warmth)


def pick(rng: np.random.Generator, colors: Sequence[Color]) -> Color:
    """Chooses one of several colours and varies it."""
    return vary(rng, colors[int(rng.integers(len(colors)))], 0.1)


SPRING = {
    Label.GRASS: linear(108, 146, 66),
    Label.FIELD: linear(140, 160, 82),
    Label.TREE: linear(80, 120, 58),
}
AUTUMN = {
    Label.GRASS: linear(132, 148, 72),
    Label.FIELD: linear(176, 168, 92),
    Label.TREE: linear(112, 114, 56),
}
LASTING = {
    Label.CLOUD: linear(246, 246, 248),
    Label.MOUNTAIN: linear(128, 124, 126),
    Label.SNOW: linear(240, 243, 248),
    Label.WATER: linear(34, 82, 104),
    Label.SAND: linear(216, 190, 146),
    Label.ROCK: linear(126, 116, 106),
    Label.ROAD: linear(106, 104, 104),
    Label.PAVEMENT: linear(166, 160, 152),
    Label.WINDOW: linear(70, 84, 100),
}
BLOSSOMS = (
    linear(222, 60, 62),
    linear(240, 202, 58),
    linear(156, 88, 186),
    linear(240, 232, 236),
    linear(226, 122, 166),
)
WALLS = (
    linear(232, 224, 208),
    linear(222, 192, 148),
    linear(186, 112, 88),
    linear(206, 170, 160),
    linear(170, 186, 192),
    linear(216, 204, 150),
)
ROOFS = (
    linear(168, 82, 60),
    linear(140, 70, 56),
    linear(92, 90, 98),
    linear(118, 92, 74),
)
PAINTS = (
    linear(190, 40, 42),
    linear(46, 76, 150),
    linear(226, 226, 226),
    linear(60, 62, 68),
    linear(214, 170, 54),
    linear(70, 116, 92),
)
CLOTHES = (
    linear(172, 58, 56),
    linear(58, 78, 128),
    linear(206, 196, 176),
    linear(70, 66, 72),
    linear(196, 148, 64),
)
SKIN = linear(206, 158, 128)
BARK = linear(92, 72, 54)
NEEDLES = linear(56, 104, 66)
SAILCLOTH = linear(231, 228, 219)
CHALK = linear(218, 218, 215)
DOOR = linear(96, 66, 48)
POST = linear(92, 84, 76)
LAMPLIGHT = linear(255, 206, 120)
CAR_PARTS = {
    "glass": linear(50, 60, 72),
    "tyre": linear(36, 36, 38),
    "lamp": linear(170, 30, 24),
}


def draw_palette(rng: np.random.Generator, season: float) -> dict[Label, Color]:
    """Draws the typical colours of one scene; `season`, in [0, 1], goes from spring to autumn."""
    growing = {label: mix(SPRING[label], AUTUMN[label], season) for label in SPRING}
    palette = {label: vary(rng, color, 0.05) for label, color in (growing | LASTING).items()}
    return palette | {Label.FLOWER: pick(rng, BLOSSOMS), Label.ROOF: pick(rng, ROOFS)}
