import base64

import numpy as np
import pilgram
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from opmask.datasets import SyntheticScenes
from opmask.datasets.scenes import nature, town
from opmask.datasets.scenes.canvas import Canvas, Surface, Texture
from opmask.datasets.scenes.layouts import LAYOUTS, find, put
from opmask.datasets.scenes.light import MOODS, draw_light
from opmask.datasets.scenes.palette import (
    AUTUMN,
    BARK,
    BLOSSOMS,
    CAR_PARTS,
    CHALK,
    CLOTHES,
    DOOR,
    LAMPLIGHT,
    LASTING,
    NEEDLES,
    PAINTS,
    POST,
    ROOFS,
    SAILCLOTH,
    SKIN,
    SPRING,
    WALLS,
    Label,
    draw_palette,
    linear,
    mix,
    pick,
    scale,
    vary,
)
from opmask.datasets.scenes.render import TILE, develop, fractal, light_up, mirror, render, table
from opmask.datasets.scenes.scene import Camera, Scene

FILTERS = """
    _1977 brannan brooklyn clarendon earlybird gingham hudson inkwell kelvin lark lofi maven
    mayfair moon nashville reyes rise slumber stinson valencia walden willow xpro2
"""

# Means of 16 x 16 blocks of the first 48 scenes of 32 pixels, seed 0, and areas of the classes.
BLOCKS = """
xul<?k(Hf+Y?Xp-$-%_3udS4nY>$s>xvROClApAghJbouk(ZsGps;v!Zgp~St*xz{qo|32cz}R!#>mmGw#lEHmX?`{uClzIs
JMQEc6D@PpsKp5w91r=b)uP)l#Q38r?!4|b9HlezPP%;ySRUKTZe>jqouH-q^ggHfOvXgi<_abwy%1BV}*ipud=kbxwgQ-yw
lLormVH7t*?B8XmD|5xvZ$GqN0X+d60yA!m*pFql|})TZnUUyRosCmzTAhfvu5nm6wXAqm+?;O`dd0tf{7?sJ4uQgNcHFs<5
!Fv9X7WahjBZprf>zowAmTgpP=YzP`k`xVo2^evprEr>38<vAvv&Zit9+wy&_Dj*NkIYKU@Z%D}<3v9p<xeVU7Kq?x6$qNKg
Bv#g$*kBf_vjhk&~YIAFAw!Olor?{}Mtf!xuoR^}OmYj!nWPEE}o~5v%s=%9%OpuUZv%AfntH6wtbD5oonx3zRlA)ZGjdpru
!N=CCwaKNPmZY7Q!@R(-tg@Gqb%B3c&&9^Ox4pERgpr7Cva6`JuB3l`RfKeDw5_n4kc)zPcY1Pdr=O>`s<DKFYM7FIm8H6&t
;2PHW|57Ctfi%(o0W%tUvz6ul8cm*qPd2AdxV04z^<XVs-Ti@SebujqNl8*r>}f?Wq5gJs<gtUvBY?SXP=OMp`@yzuEm6df`
x*ElAo%lq^fXwV0C<BlbE8osj7v6f3~Wrj*X3hg@Te_N_25c
"""
AREAS = """
    162 11865 228 2988 1285 2483 3267 2390 182 5933 990 1584 5482 3507 432 2498 1061 1409 515
    709 182
"""
# Sums of the tables of colours.
COLORS = """
    1.500392 1.894276 10.114664 0.620647 7.102763 8.873796 1.572247 4.850834 3.512078 8.255188
    8.310000 5.750000 5.315574 10.381467
"""


def arrays(scenes):
    """All images, (N, S, S, 3), and label maps, (N, S, S)."""
    photos = list(scenes)
    images = torch.stack([photo.image for photo in photos]).permute(0, 2, 3, 1)
    return images.numpy(), torch.stack([photo.label_map for photo in photos]).numpy()


@pytest.fixture(scope="module")
def training():
    return arrays(SyntheticScenes(200, seed=1))


@pytest.fixture(scope="module")
def held_out():
    return arrays(SyntheticScenes(200, seed=2))


def rng(seed=0):
    return np.random.default_rng(seed)


def scene(horizon=0.5, eye=2.0, center=0.5, seed=0, side=64):
    """A scene with a known camera."""
    made = Scene(rng(seed), side)
    made.camera = Camera(horizon, eye, center)
    return made


def class_means(images, labels):
    """The mean colour of each class, by a plain loop; NaN for absent classes."""
    means = np.full((len(Label), 3), np.nan)
    for label in np.unique(labels):
        means[label] = images[labels == label].mean(0)
    return means


def composite(image, labels, draw):
    """A composite as in the paper's code: len // 5 + 1 classes, one of 23 filters over each."""
    classes = np.setdiff1d(labels, 0)
    out = image.copy()
    for label in np.unique(draw.choice(classes, len(classes) // 5 + 1)):
        apply = getattr(pilgram, FILTERS.split()[draw.integers(23)])
        out[labels == label] = np.asarray(apply(Image.fromarray(image)))[labels == label]
    return out


def mse(a, b):
    return float(((a.astype(float) - b) ** 2).mean())


# What a scene is


def test_a_scene_is_a_photo_of_bytes_and_labels():
    image, label_map, name = SyntheticScenes(9, size=40, seed=3)[5]
    assert (image.shape, image.dtype) == ((3, 40, 40), torch.uint8)
    assert (label_map.shape, label_map.dtype) == ((40, 40), torch.int64)
    assert image.is_contiguous()
    assert name == "scene-3-5"


def test_the_default_size_is_64_and_the_default_seed_0():
    assert torch.equal(SyntheticScenes(2)[1].image, SyntheticScenes(2, size=64, seed=0)[1].image)


def test_a_scene_follows_from_seed_and_index():
    first, second = SyntheticScenes(9, seed=4), SyntheticScenes(50, seed=4)
    backward = {index: second[index] for index in (8, 3, 0)}
    for index in (0, 3, 8):
        assert torch.equal(first[index].image, backward[index].image)
        assert torch.equal(first[index].label_map, backward[index].label_map)


def test_a_scene_ignores_the_global_random_state():
    scenes = SyntheticScenes(1)
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(scenes[0].image, SyntheticScenes(1)[0].image)


def test_workers_make_the_same_scenes():
    scenes = SyntheticScenes(4, size=32)
    loader = DataLoader(scenes, batch_size=None, num_workers=2)
    for made, expected in zip(loader, scenes, strict=True):
        assert torch.equal(made.image, expected.image)


def test_other_seeds_and_indices_make_other_scenes():
    images = [SyntheticScenes(2, seed=seed)[k].image for seed in (0, 1, -1, 2**40) for k in (0, 1)]
    for k, image in enumerate(images):
        assert all((image.int() - other.int()).abs().float().mean() > 5 for other in images[:k])


def test_negative_indices_count_from_the_end():
    scenes = SyntheticScenes(3, size=32)
    assert scenes[-1].name == scenes[2].name == "scene-0-2"


def test_an_index_past_the_end_is_refused_so_that_iteration_ends():
    scenes = SyntheticScenes(3, size=32)
    assert len(scenes) == len(list(scenes)) == 3
    with pytest.raises(IndexError):
        scenes[3]


@pytest.mark.parametrize("length", [0, -2])
def test_no_scenes_are_refused(length):
    message = f"'length' must be at least 1, got {length}\\."
    with pytest.raises(ValueError, match=message):
        SyntheticScenes(length)


def test_tiny_scenes_are_refused():
    with pytest.raises(ValueError, match=r"'size' must be at least 32, got 31\."):
        SyntheticScenes(1, size=31)


@pytest.mark.parametrize("size", [32, 45, 128])
def test_scenes_keep_their_layout_at_every_size(size):
    steps = torch.arange(32) * 2 + 1
    for k in range(6):
        small = SyntheticScenes(6, size=size)[k].label_map
        large = SyntheticScenes(6, size=256)[k].label_map
        rows = steps * size // 64
        same = small[rows][:, rows] == large[steps * 4][:, steps * 4]
        assert same.float().mean() > 0.8


def test_the_first_scenes_stay_what_they_are():
    # A benchmark split names its scenes by seed and index alone.
    images, labels = arrays(SyntheticScenes(48, size=32))
    blocks = images.reshape(48, 2, 16, 2, 16, 3).mean((2, 4)).round().astype(np.uint8).ravel()
    expected = np.frombuffer(base64.b85decode("".join(BLOCKS.split())), np.uint8)
    assert (blocks != expected).mean() < 0.005
    areas = np.bincount(labels.ravel(), minlength=len(Label))
    assert np.abs(areas - np.array(AREAS.split(), int)).sum() < 16


def test_the_typical_colours_stay_what_they_are():
    tables = (SPRING.values(), AUTUMN.values(), LASTING.values(), CAR_PARTS.values())
    tables += (BLOSSOMS, WALLS, ROOFS, PAINTS, CLOTHES)
    tables += ((SKIN, BARK, NEEDLES, SAILCLOTH, CHALK, DOOR, POST, LAMPLIGHT),)
    tables += tuple(zip(*[mood[:4] for mood in MOODS], strict=True))
    sums = [np.sum(list(colors)) for colors in tables]
    np.testing.assert_allclose(sums, np.array(COLORS.split(), float), rtol=1e-5)


# Classes


def test_classes_are_named_in_the_order_of_their_labels():
    classes = SyntheticScenes(1).classes
    assert len(classes) == len(set(classes)) == 21
    assert classes[0] == "unlabelled"
    assert [classes[k] for k in (1, 9, 20)] == ["sky", "grass", "boat"]


def test_every_class_occurs_and_no_other(training):
    assert np.array_equal(np.unique(training[1]), np.arange(len(Label)))


def test_scenes_have_about_nine_classes_and_at_least_four(training):
    counts = [len(np.setdiff1d(labels, 0)) for labels in training[1]]
    assert min(counts) >= 4
    assert 7 < np.mean(counts) < 11


def test_most_of_a_scene_is_labelled_and_most_of_its_classes_matter(training):
    areas = np.stack([np.bincount(labels.ravel(), minlength=21) for labels in training[1]]) / 4096
    assert areas[:, 0].mean() < 0.02
    assert (areas > 0.01).sum(1).mean() > 6


def test_sky_is_above_land(training):
    rows = np.arange(64)[:, None] + np.zeros(64)
    for labels in training[1]:
        above = rows[labels == Label.SKY].mean()
        assert above < rows[np.isin(labels, (9, 10, 13, 7, 5, 6))].mean()


def test_the_layouts_are_all_in_use(training):
    signs = (Label.BOAT, Label.FIELD, Label.WATER, Label.PAVEMENT, Label.FLOWER, Label.SNOW)
    shares = [np.mean([(labels == sign).any() for labels in training[1]]) for sign in signs]
    assert min(shares) > 0.08
    assert max(shares) < 0.7


# Colour statistics


def test_no_class_has_one_colour_within_a_scene(training):
    images, labels = training
    for label in (Label.GRASS, Label.TREE, Label.WATER, Label.MOUNTAIN, Label.SAND, Label.WALL):
        spreads = [
            image[own].std(0).mean()
            for image, own in zip(images, labels == label, strict=True)
            if own.sum() > 40
        ]
        assert np.mean(spreads) > 3


def test_classes_vary_between_scenes_but_stay_typical(training):
    images, labels = training
    means = np.stack([class_means(*pair) for pair in zip(images, labels, strict=True)])
    for label in (Label.SKY, Label.GRASS, Label.TREE, Label.WATER, Label.SNOW, Label.ROAD):
        spread = np.nanstd(means[:, label], 0).mean()
        assert 4 < spread < 30


def test_light_is_shared_by_the_classes_of_a_scene(training):
    images, labels = training
    means = np.stack([class_means(*pair) for pair in zip(images, labels, strict=True)])
    warmth = np.log(means[..., 0] / means[..., 2])
    for one, other in ((Label.ROAD, Label.GRASS), (Label.CLOUD, Label.SNOW)):
        both = np.isfinite(warmth[:, one] + warmth[:, other])
        assert np.corrcoef(warmth[both, one], warmth[both, other])[0, 1] > 0.4


def test_composites_change_as_much_as_the_benchmarks(held_out):
    draw = rng()
    pairs = zip(*held_out, strict=True)
    errors = [mse(composite(image, labels, draw), image) for image, labels in pairs]
    assert 150 < np.mean(errors) < 350


def test_painting_every_class_in_its_mean_colour_is_no_harmonization(training, held_out):
    draw, (images, labels) = rng(), held_out
    changed = np.stack([composite(*pair, draw) for pair in zip(images, labels, strict=True)])
    repainted = class_means(*training)[labels]
    assert mse(repainted, images) > mse(changed, images)


# Palette and light


def test_srgb_decodes_to_the_standards_numbers():
    # IEC 61966-2-1: code 10 is on the linear part, 188 is close to one half.
    assert linear(0, 10, 188) == pytest.approx((0, 0.0030353, 0.5028865), abs=1e-6)
    assert linear(255, 11, 128) == pytest.approx((1, 0.0033465, 0.2158605), abs=1e-6)


def test_colours_mix_and_scale():
    assert mix((0.0, 1.0, 0.5), (1.0, 0.0, 0.5), 0.25) == pytest.approx((0.25, 0.75, 0.5))
    assert scale((0.1, 0.2, 0.3), 2) == pytest.approx((0.2, 0.4, 0.6))


def test_colours_vary_by_the_amount_asked_for():
    draw = rng()
    colors = np.log([vary(draw, (0.2, 0.3, 0.4), 0.1) for _ in range(2000)]) - np.log(
        (0.2, 0.3, 0.4)
    )
    assert colors[:, 1].std() == pytest.approx(0.1, rel=0.1)
    assert (colors[:, 0] - colors[:, 2]).std() == pytest.approx(0.2 / 3, rel=0.1)
    assert np.abs(colors.mean(0)).max() < 0.01


def test_every_colour_of_a_choice_is_picked():
    draw = rng()
    colors = [pick(draw, ((1.0, 0.01, 0.01), (0.01, 0.01, 1.0))) for _ in range(100)]
    assert 20 < sum(color[0] > color[2] for color in colors) < 80


def test_the_season_moves_what_grows():
    for label in SPRING:
        spring = np.mean([draw_palette(rng(k), 0.0)[label] for k in range(40)], 0)
        autumn = np.mean([draw_palette(rng(k), 1.0)[label] for k in range(40)], 0)
        np.testing.assert_allclose(spring, SPRING[label], rtol=0.05)
        np.testing.assert_allclose(autumn, AUTUMN[label], rtol=0.05)


def test_lights_lie_between_the_moods():
    for k in range(60):
        light, moods = draw_light(rng(k)), np.array([mood.sun for mood in MOODS])
        assert (light.sun >= 0.8 * moods.min(0)).all()
        assert (light.sun <= 1.25 * moods.max(0)).all()
        assert 0.4 <= abs(light.side) <= 1
        assert 0 <= light.season <= 1


def test_light_comes_from_both_sides():
    sides = [draw_light(rng(k)).side for k in range(100)]
    assert 30 < sum(side > 0 for side in sides) < 70


# Camera, canvas and camera image


def test_the_camera_puts_its_own_height_on_the_horizon():
    camera = Camera(horizon=0.4, eye=2.0, center=0.6)
    assert camera.project(3.0, 2.0, 10.0) == pytest.approx((0.9, 0.4))
    assert camera.project(-1.0, 0.0, 5.0) == pytest.approx((0.4, 0.8))
    assert camera.distance(0.8) == pytest.approx(5.0)


def test_depth_grows_with_distance_up_to_one():
    camera = Camera(horizon=0.4, eye=2.0, center=0.6)
    assert [camera.depth(z) for z in (4.0, 20.0, 400.0)] == pytest.approx([0.1, 0.5, 1.0])


def test_later_shapes_hide_earlier_ones():
    canvas = Canvas(20)
    back, front = (canvas.add(Surface(label, (1, 1, 1), (1, 1, 1))) for label in (1, 2))
    canvas.polygon([(0, 0), (1, 0), (1, 1), (0, 1)], back)
    canvas.ellipse((0.5, 0.25), (0.3, 0.15), front)
    assert (back, front) == (0, 1)
    assert canvas.ids[5, 10] == canvas.ids[5, 5] == canvas.ids[3, 10] == 1
    assert canvas.ids[5, 3] == canvas.ids[10, 10] == canvas.ids[9, 10] == 0


def plain(made, label=Label.WALL, **options):
    """Covers the whole scene with a surface of reflectance 0.5 and no texture."""
    options = {"texture": Texture(*[0] * 6), "depth": 0.0} | options
    made.canvas.add(Surface(label, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), **options))
    return made


def lit(made):
    seen = {name: table(made, name)[made.canvas.ids] for name in Surface._fields}
    return light_up(made, seen, rng())


def test_a_surface_is_lit_by_sun_and_surroundings():
    made = plain(scene(), facing=(0.3, 0.3))
    expected = 0.5 * (0.3 * np.array(made.light.sun) + made.light.ambient)
    np.testing.assert_allclose(lit(made)[3, 5], expected, rtol=1e-5)


def test_what_glows_needs_no_light():
    np.testing.assert_allclose(lit(plain(scene(), glow=1.0)), 0.5, rtol=1e-5)


def test_colour_and_light_change_along_the_ramp():
    made = plain(scene(), facing=(0.0, 1.0), ramp=(2.0, 0.0, -0.5))
    radiance = lit(made)
    sun, ambient = np.array(made.light.sun), np.array(made.light.ambient)
    np.testing.assert_allclose(radiance[9, 0], 0.5 * ambient, rtol=1e-5)
    np.testing.assert_allclose(radiance[9, 63], 0.5 * (sun + ambient), rtol=1e-5)
    share = 2 * 40.5 / 64 - 0.5
    np.testing.assert_allclose(radiance[9, 40], 0.5 * (share * sun + ambient), rtol=1e-5)


@pytest.mark.parametrize(("depth", "falls"), [(-1.0, True), (0.0, False)])
def test_shadows_fall_on_the_ground_alone(depth, falls):
    made = plain(scene(), depth=depth)
    made.canvas.darken([(0, 0), (0.5, 0), (0.5, 1), (0, 1)])
    radiance = lit(made)
    np.testing.assert_allclose(radiance[9, 60], 0.5 * np.add(made.light.sun, made.light.ambient))
    assert np.allclose(radiance[9, 5], 0.5 * np.array(made.light.ambient)) == falls
    assert np.allclose(radiance[9, 5], radiance[9, 60]) != falls


def test_what_is_far_away_fades_into_the_horizon():
    distances = []
    for depth in (0.0, 0.5, 5.0):
        image, _ = render(plain(scene(), depth=depth), rng())
        fog = develop(np.full((64, 64, 3), 1.0) * scene().light.horizon, rng())
        distances.append(np.abs(image[16:].mean((0, 1)) - fog.mean((0, 1))).max())
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 20


def test_the_picture_is_averaged_in_linear_light_and_encoded_in_srgb():
    for mean, code in ((0.0, 10), (0.25, 137), (0.5, 188)):
        light = np.full((64, 64, 3), 2 * mean)
        light[1::2] = 0
        codes = develop(light, rng())
        assert codes.mean() == pytest.approx(code, abs=1)
        assert codes.std() == pytest.approx(1.2, abs=0.15)


def test_highlights_roll_off():
    codes = [develop(np.full((64, 64, 3), light), rng()).mean() for light in (0.6, 1.0, 1.4, 9.0)]
    assert codes == sorted(codes)
    assert codes[0] == pytest.approx(203, abs=1)
    assert codes[1] == pytest.approx(247, abs=1)


def test_labels_are_those_of_the_nearest_sample():
    made = plain(scene(), Label.WALL)
    number = made.canvas.add(Surface(Label.ROOF, (1, 1, 1), (1, 1, 1)))
    made.canvas.polygon([(0, 0), (21 / 64, 0), (21 / 64, 2), (0, 2)], number)
    _, labels = render(made, rng())
    assert labels.dtype == np.int64
    assert (labels[:, :11] == Label.ROOF).all()
    assert (labels[:, 11:] == Label.WALL).all()


def test_noise_has_its_scale_and_strength():
    fine, coarse = fractal(rng(), 32, 1, 64), fractal(rng(), 4, 1, 64)
    assert 0.4 < fine.std() < 1.2
    assert np.abs(np.diff(fine)).mean() > 4 * np.abs(np.diff(coarse)).mean()
    single = fractal(rng(), 4, 1, 64)
    assert 0.3 < (fractal(rng(), 4, 2, 64) - single).std() < 0.7


def test_the_ground_repeats_without_a_seam():
    places = mirror(np.arange(-600.0, 1200.0))
    assert (places.min(), places.max()) == (0, TILE - 1)
    assert np.abs(np.diff(places)).max() == 1


# Drawings


def draw_alone(draw, x, z, **options):
    """A drawing by itself, and the label map with 99 where there is nothing."""
    made = plain(scene(side=256), 99)
    draw(made, x, z, **options)
    return made, table(made, "label")[made.canvas.ids, 0]


@pytest.mark.parametrize(
    ("draw", "label", "metres"),
    [
        (nature.tree, Label.TREE, (5, 9)),
        (nature.conifer, Label.TREE, (6, 12)),
        (nature.rock, Label.ROCK, (0.6, 2.2)),
        (town.person, Label.PERSON, (1.6, 1.9)),
        (town.car, Label.CAR, (1.4, 1.6)),
        (town.boat, Label.BOAT, (6.2, 6.8)),
    ],
)
def test_things_stand_on_the_ground_and_shrink_with_distance(draw, label, metres):
    heights = []
    for z in (20.0, 40.0):
        made, labels = draw_alone(draw, 0.0, z)
        rows = np.flatnonzero((labels == label).any(1))
        assert rows[-1] / 256 == pytest.approx(made.camera.project(0, 0, z)[1], abs=0.011)
        heights.append((rows[-1] - rows[0]) / 256 * z)
    assert all(0.85 * metres[0] < height < 1.2 * metres[1] for height in heights)


def test_a_house_has_walls_windows_a_roof_above_them_and_a_door():
    _, labels = draw_alone(town.house, -3.0, 14.0, size=(8.0, 5.0, 7.0))
    tops = {label: np.flatnonzero((labels == label).any(1))[0] for label in (0, 15, 16, 17)}
    assert tops[Label.ROOF] < tops[Label.WINDOW] < tops[Label.UNLABELLED]


def test_a_house_shows_the_side_that_faces_the_middle():
    for x, inner in ((-5.0, 1), (5.0, -1)):
        made, labels = draw_alone(town.house, x, 14.0, size=(6.0, 5.0, 7.0))
        columns = np.flatnonzero((labels == Label.WALL).any(0)) / 256
        near = made.camera.project(x + 3 * inner, 0, 14.0)[0]
        assert (columns.max() - near) * inner > 0.02 if inner > 0 else columns.min() < near - 0.02


def test_windows_are_lit_when_the_lamps_are_on():
    for lamps, glow in ((0.0, 0), (1.0, 1)):
        made = plain(scene(side=256))
        made.light = made.light._replace(lamps=lamps)
        town.house(made, -3.0, 14.0, (8.0, 5.0, 7.0))
        own = table(made, "label")[made.canvas.ids, 0] == Label.WINDOW
        assert (table(made, "glow")[made.canvas.ids, 0][own] == glow).all()


def test_snowy_firs_carry_snow():
    assert (draw_alone(nature.conifer, 0.0, 15.0, snowy=True)[1] == Label.SNOW).any()
    assert not (draw_alone(nature.conifer, 0.0, 15.0)[1] == Label.SNOW).any()


@pytest.mark.parametrize("side", [-0.8, 0.8])
def test_shadows_fall_away_from_the_light_and_the_sun_is_on_its_side(side):
    made = scene(side=256)
    made.light = made.light._replace(side=side)
    nature.sun(made)
    made.cast(0.0, 10.0, 0.5, 3.0)
    assert (made.sun[0] - 0.5) * side > 0
    assert made.sun[1] < made.camera.horizon
    assert (np.nonzero(made.canvas.shadow)[1].mean() / 256 - 0.5) * side < 0


@pytest.mark.parametrize("side", [-0.8, 0.8])
def test_round_things_are_brighter_towards_the_light(side):
    made = scene(side=256)
    made.light = made.light._replace(side=side)
    number = made.round(Label.ROCK, (0.5, 0.5, 0.5), (0.5, 0.5), 0.3, 10.0)
    made.canvas.polygon([(0, 0), (1, 0), (1, 1), (0, 1)], number)
    radiance = lit(made).mean((0, 2))
    assert (radiance[170:].mean() - radiance[:86].mean()) * side > 0.01


def test_nearer_things_hide_farther_ones():
    order = []
    things = [(0.0, z, lambda _scene, _x, z: order.append(z)) for z in (3.0, 9.0, 5.0)]
    put(scene(), things)
    assert order == [9.0, 5.0, 3.0]


def test_things_are_found_within_the_bounds_asked_for():
    made = scene()
    for _ in range(50):
        x, z, _ = find(made, nature.rock, 0.6, 0.8, 0.1, 0.3)
        u, v = made.camera.project(x, 0.0, z)
        assert 0.1 <= u <= 0.3
        assert 0.6 <= v <= 0.8


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_sky_above_and_none_at_the_bottom(layout):
    for seed in range(4):
        made = Scene(rng(seed), 64)
        layout(made)
        labels = table(made, "label")[made.canvas.ids, 0]
        assert (labels == Label.SKY).mean() > 0.04
        assert not (labels[-1] == Label.SKY).any()
