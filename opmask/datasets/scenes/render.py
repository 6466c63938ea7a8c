"""Turns a drawn scene into a picture and its label map: colour, light, texture, air and camera.

All surfaces are worked on at once, at twice the size of the picture, which is then averaged down;
of the labels the nearest sample is taken. `Scene` -> `render` -> `SyntheticScenes`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from opmask.datasets.scenes.canvas import Surface, Texture
from opmask.datasets.scenes.scene import Scene

TILE = 256  # samples along the texture of the ground
WARMTH = np.array((1.1, 1.0, 0.85), np.float32)  # the bright spots of a texture are warmer


def render(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns the picture, uint8 with shape (S, S, 3), and its label map, int64 (S, S)."""
    ids = scene.canvas.ids
    seen = {name: table(scene, name)[ids] for name in Surface._fields}
    radiance = add_air(scene, light_up(scene, seen, rng), seen)
    return develop(radiance, rng), seen["label"][1::2, 1::2, 0].astype(np.int64)


def light_up(scene: Scene, seen: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Returns the radiance of the surfaces, in linear light, with shape (side, side, 3)."""
    ramp, facing, glow = seen["ramp"], seen["facing"], seen["glow"]
    share = ramp[..., 0] * across(scene) + ramp[..., 1] * down(scene) + ramp[..., 2]
    share = share.clip(0, 1)[..., None]
    direct = facing[..., :1] + (facing[..., 1:] - facing[..., :1]) * share
    direct *= 1 - scene.canvas.shadow[..., None] * (seen["depth"] < 0)
    light = direct * float32(scene.light.sun) + float32(scene.light.ambient)
    texture = np.einsum("hwk,khw->hw", seen["texture"], textures(scene, rng))
    color = seen["start"] + (seen["end"] - seen["start"]) * share
    color *= light * (1 - glow) + glow
    return color * np.maximum(1 + texture[..., None] * WARMTH, 0.15)


def add_air(scene: Scene, radiance: np.ndarray, seen: dict[str, np.ndarray]) -> np.ndarray:
    """Fades what is far away into the horizon, and lets sky and air glow around the sun."""
    ground = np.minimum(0.05 / below(scene), 1)[..., None]
    depth = np.where(seen["depth"] < 0, ground, seen["depth"])
    air = 1 - np.exp(-scene.light.haze * depth)
    radiance = radiance + (float32(scene.light.horizon) - radiance) * air
    distance = (across(scene) - scene.sun[0]) ** 2 + (down(scene) - scene.sun[1]) ** 2
    halo = 0.5 * np.exp(distance / -0.06)[..., None] * np.maximum(0.6 * seen["glow"], air)
    return radiance + halo * float32(scene.light.sun)


def develop(radiance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Averages 2 x 2 samples, rolls off highlights, encodes in sRGB, adds sensor noise."""
    rows = radiance[::2] + radiance[1::2]
    light = ((rows[:, ::2] + rows[:, 1::2]) / 4).clip(0.0032, 4)
    light /= np.sqrt(1 + np.maximum(light - 0.6, 0) ** 2)
    codes = 255 * (1.055 * light ** float32(1 / 2.4) - 0.055)
    codes += 1.2 * rng.standard_normal(codes.shape, np.float32)
    return (codes + 0.5).clip(0, 255).astype(np.uint8)


def textures(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draws the textures in the order of `Texture`, each of mean 0, shape (6, side, side)."""
    side = scene.canvas.side
    slopes = fractal(rng, 12, 3, side)
    step = int(np.sign(scene.light.side)) * (side // 40)
    plane, furrow = ground(scene, rng)
    maps = {
        "soft": fractal(rng, 4, 3, side),
        "relief": slopes - np.roll(slopes, step, 1),
        "leaf": fractal(rng, 24, 2, side),
        "plane": plane,
        "furrow": furrow,
        "grain": rng.standard_normal((side, side), np.float32),
    }
    return np.stack([maps[name] for name in Texture._fields])


def fractal(rng: np.random.Generator, cells: int, octaves: int, side: int) -> np.ndarray:
    """Adds up smooth noise on ever finer grids, each 0.6 as strong as the one before."""
    noise = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        shape = (cells * 2**octave, cells * 2**octave)
        grid = Image.fromarray(rng.standard_normal(shape, np.float32))
        noise += 0.6**octave * np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC))
    return noise


def ground(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws blotches and furrows of the ground as the camera sees them, weaker far away."""
    ahead = 1 / below(scene)
    aside = (across(scene) - scene.camera.center) * ahead
    tile = fractal(rng, 32, 2, TILE)
    row, column = mirror(80 * ahead), mirror(60 * aside)
    fade = np.minimum(below(scene) / 0.12, 1)
    return tile[row, column] * fade, np.sin(9 * aside + 4 * rng.random()) * fade


def mirror(place: np.ndarray) -> np.ndarray:
    """Folds places on an endless ground into a tile, back and forth, so that no seam shows."""
    folded = np.abs(place.astype(np.int32) % (2 * TILE) - TILE)
    return np.minimum(folded, TILE - 1)


def table(scene: Scene, name: str) -> np.ndarray:
    """Returns a property of all surfaces, with shape (n, k)."""
    values = float32([getattr(surface, name) for surface in scene.canvas.surfaces])
    return values.reshape(len(values), -1)


def below(scene: Scene) -> np.ndarray:
    """Returns how far below the horizon the rows are, at least 0.01, with shape (side, 1)."""
    return np.maximum(down(scene) - scene.camera.horizon, 0.01)


def down(scene: Scene) -> np.ndarray:
    """Returns the heights of the samples' centres in the picture, with shape (side, 1)."""
    return across(scene)[:, None]


def across(scene: Scene) -> np.ndarray:
    """Returns the samples' centres from left to right, with shape (side,)."""
    side = scene.canvas.side
    return (np.arange(side, dtype=np.float32) + 0.5) / side


def float32(values: object) -> np.ndarray:
    """Returns single precision: the eye needs no more, and it is twice as fast."""
    return np.asarray(values, np.float32)
