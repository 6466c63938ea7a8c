"""The light of a synthetic scene: what all of its classes have in common.

A region that was changed stands out from its surroundings by this light, so it varies between
scenes and never within one. `draw_light` -> `scene.Scene`, `render.render`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from opmask.datasets.scenes.palette import Color, linear, scale


class Light(NamedTuple):
    """Light, air and season of a scene; colours are linear, 1 is the display's white."""

    sun: Color
    ambient: Color
    zenith: Color
    horizon: Color
    haze: float  # density of the air, per unit of relative depth
    elevation: float  # of the sun, from 0 at the horizon to 1
    lamps: float  # the share of windows that are lit
    side: float = 0.0  # where the light comes from, -1 left to 1 right
    season: float = 0.0  # 0 spring to 1 autumn


NOON = Light(
    sun=(0.70, 0.60, 0.49),
    ambient=(0.27, 0.30, 0.38),
    zenith=linear(102, 138, 197),
    horizon=linear(203, 208, 215),
    haze=0.58,
    elevation=0.85,
    lamps=0.0,
)
AFTERNOON = Light(
    sun=(0.73, 0.53, 0.35),
    ambient=(0.27, 0.28, 0.35),
    zenith=linear(113, 141, 187),
    horizon=linear(226, 202, 182),
    haze=0.66,
    elevation=0.4,
    lamps=0.1,
)
OVERCAST = Light(
    sun=(0.46, 0.38, 0.31),
    ambient=(0.36, 0.39, 0.44),
    zenith=linear(136, 153, 185),
    horizon=linear(209, 204, 202),
    haze=0.77,
    elevation=0.7,
    lamps=0.1,
)
DUSK = Light(
    sun=(0.56, 0.40, 0.31),
    ambient=(0.26, 0.26, 0.34),
    zenith=linear(103, 121, 170),
    horizon=linear(219, 183, 172),
    haze=0.70,
    elevation=0.15,
    lamps=0.5,
)
MIST = Light(
    sun=(0.55, 0.45, 0.37),
    ambient=(0.33, 0.35, 0.39),
    zenith=linear(127, 150, 188),
    horizon=linear(215, 207, 200),
    haze=1.00,
    elevation=0.3,
    lamps=0.1,
)
BLUE_HOUR = Light(
    sun=(0.43, 0.36, 0.33),
    ambient=(0.21, 0.24, 0.33),
    zenith=linear(92, 116, 162),
    horizon=linear(180, 174, 182),
    haze=0.62,
    elevation=0.5,
    lamps=0.6,
)
MOODS = (NOON, AFTERNOON, OVERCAST, DUSK, MIST, BLUE_HOUR)
FREQUENCIES = (0.34, 0.24, 0.14, 0.12, 0.10, 0.06)


def draw_light(rng: np.random.Generator) -> Light:
    """Draws a light between two moods, then its exposure, its side and the season."""
    first, second = (np.hstack(MOODS[k][:7]) for k in rng.choice(len(MOODS), 2, p=FREQUENCIES))
    sun, ambient, zenith, horizon, rest = np.split(
        first + 0.5 * rng.random() ** 2 * (second - first), (3, 6, 9, 12)
    )
    exposure = float(np.exp(rng.normal(0, 0.05)))
    colors = (scale(color.tolist(), exposure) for color in (sun, ambient, zenith, horizon))
    side = float(rng.choice((-1, 1)) * rng.uniform(0.4, 1))
    return Light._make([*colors, *rest.tolist(), side, float(rng.beta(0.7, 1.2))])
