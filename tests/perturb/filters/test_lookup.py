from itertools import product

import numpy as np
import pilgram
import pilgram.css.blending
import pilgram.util
import pytest
import torch
from PIL import Image

from opmask.perturb.filters import blends, filter_pipeline
from opmask.perturb.filters.css import css_pipeline
from opmask.perturb.filters.cssgram import CSSGRAM_FILTERS
from opmask.perturb.filters.gradients import (
    RadialGradient,
    RotatedGradient,
    VerticalGradient,
    key_map,
    weights_of_keys,
)
from opmask.perturb.filters.lookup import LUMA, LookupPipeline, identity_table, multiply

CPU = torch.device("cpu")
SIZES = [(1, 1), (1, 6), (7, 1), (12, 12), (13, 20), (31, 18), (90, 91)]
SEPARABLE = ["multiply", "screen", "darken", "lighten", "exclusion", "overlay", "soft_light"]
PAIRS = list(product(["moon", "lark", "rise", "maven"], ["moon", "walden", "kelvin"]))
FADING = [name for name, filter in CSSGRAM_FILTERS.items() if len(filter.gradients) > 1]


def pixels(count=500):
    return torch.randint(0, 256, (3, count), dtype=torch.uint8)


def picture(levels):
    return Image.fromarray(np.stack([levels] * 3, -1).astype(np.uint8))


@pytest.mark.parametrize("name", [*SEPARABLE, "color_burn", "color_dodge"])
def test_blend_modes_equal_pilgrams_for_all_pairs_of_levels(name):
    # A filter never dodges by 255, where the quotient has no value.
    below, above = np.mgrid[:256, : 255 if name == "color_dodge" else 256]
    expected = getattr(pilgram.css.blending, name)(picture(below), picture(above))
    assert np.array_equal(getattr(blends, name)(below, above), np.array(expected)[..., 0])


@pytest.mark.parametrize("alpha", [0.15, 0.3, 0.5, 0.8])
def test_paint_equals_pilgrams_alpha(alpha):
    below = np.arange(256)
    fill = pilgram.util.fill((256, 1), (10, 100, 200, alpha))
    expected = np.array(pilgram.css.blending.screen(picture(below[None]), fill))[0].T
    assert np.array_equal(blends.paint(blends.screen, below, (10, 100, 200), alpha), expected)


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.6])
def test_fade_equals_pillows_blend(share):
    start, end = np.mgrid[:256, :256]
    expected = Image.blend(picture(start), picture(end), share)
    assert np.array_equal(blends.fade(start, end, share), np.array(expected)[..., 0])


@pytest.mark.parametrize("weight", [0, 1, 100, 127, 128, 254, 255])
def test_mix_equals_pillows_composite(weight):
    inside, outside = np.mgrid[:256, :256]
    mask = Image.new("L", (256, 256), weight)
    expected = Image.composite(picture(inside), picture(outside), mask)
    mixed = blends.mix(inside, outside, np.int64(weight))
    assert np.array_equal(mixed, np.array(expected)[..., 0])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "gradient",
    [RadialGradient(0.7, 1.5), RadialGradient(0, 0.3, (0.4, 0.4)), RadialGradient(0, 1)],
)
def test_radial_gradients_equal_pilgrams(gradient, size):
    height, width = size
    expected = pilgram.util.radial_gradient_mask(
        (width, height), gradient.start, gradient.end, gradient.center
    )
    assert np.array_equal(gradient.weights(height, width), np.array(expected))


@pytest.mark.parametrize("size", SIZES)
def test_linear_gradients_equal_pilgrams(size):
    height, width = size
    vertical = pilgram.util.linear_gradient_mask((width, height), is_horizontal=False)
    assert np.array_equal(VerticalGradient().weights(height, width), np.array(vertical))
    turned = pilgram.util.linear_gradient_mask((width, height), start=0.8)
    assert np.array_equal(RotatedGradient().weights(height, width), np.array(turned))


def test_edges_enclose_every_step():
    gradient = RadialGradient(0.55, 1.0)
    last, following = np.split(gradient.edges(), 2)
    assert np.array_equal(gradient.weights_at(last), np.arange(1, 256))
    assert np.array_equal(gradient.weights_at(following), np.arange(255))
    assert np.array_equal(np.nextafter(last, 2), following)


@pytest.mark.parametrize("name", FADING)
@pytest.mark.parametrize("size", [*SIZES, (257, 480), (333, 500)])
def test_keys_tell_the_weights(name, size):
    gradients = CSSGRAM_FILTERS[name].gradients
    keys = key_map(gradients, *size, CPU).numpy()
    for gradient, weights in zip(gradients, weights_of_keys(gradients), strict=True):
        assert np.array_equal(weights.ravel()[keys], gradient.weights(*size).ravel())


def test_three_looks_have_two_gradients():
    assert FADING == ["earlybird", "mayfair", "rise"]


def test_a_matrix_rounds_products_and_sums_one_by_one():
    matrix = np.random.default_rng(0).uniform(-0.5, 1.0, (3, 3)).astype(np.float32)
    levels = pixels(20_000)
    expected = Image.fromarray(levels.T.contiguous().numpy()[None])
    rows = np.pad(matrix, ((0, 0), (0, 1))).ravel().tolist()
    expected = np.array(expected.convert("RGB", rows))[0].T
    assert np.array_equal(multiply(matrix, levels).numpy(), expected)


def test_the_matrix_of_luma_equals_pillows_grey():
    levels = pixels(50_000)
    grey = Image.fromarray(levels.T.contiguous().numpy()[None]).convert("L")
    assert np.array_equal(multiply(LUMA, levels)[1].numpy(), np.array(grey)[0])


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_pipelines_without_keys_may_follow_any(first, second):
    pipeline, following = filter_pipeline(first, None), filter_pipeline(second, None)
    levels, keys = pixels(13 * 20), pipeline.keys(13, 20, CPU)
    expected = following.run(pipeline.run(levels, keys), None)
    assert torch.equal(pipeline.then(following).run(levels, keys), expected)


def test_a_table_that_follows_a_matrix_is_merged_with_its_table():
    sepia, contrast = css_pipeline("sepia", 0.5), css_pipeline("contrast", 1.4)
    pipeline = sepia.then(contrast).then(css_pipeline("brightness", 0.9))
    assert len(pipeline.stages) == 1
    assert len(pipeline.then(css_pipeline("sepia", 1)).stages) == 2


@pytest.mark.parametrize("name", ["contrast", "saturate", "hue_rotate"])
def test_the_identity_is_no_stage(name):
    pipeline = css_pipeline(name, 0.0 if name == "hue_rotate" else 1.0)
    assert pipeline.stages == ()
    assert np.array_equal(pipeline.first_tables[0], identity_table())


def test_tables_may_differ_between_channels():
    table = np.stack([np.full(256, level) for level in (1, 2, 3)])
    pipeline = LookupPipeline.from_table(table)
    assert pipeline.run(pixels(2), None).T.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_pipelines_have_first_tables_for_each_key():
    counts = {name: len(filter_pipeline(name, None).first_tables) for name in CSSGRAM_FILTERS}
    assert {name for name, count in counts.items() if count == 511} == set(FADING)
    assert counts["maven"] == 52
    assert counts["moon"] == 1
    assert sum(count == 256 for count in counts.values()) == 8
    assert sum(isinstance(filter_pipeline(name, None), LookupPipeline) for name in counts) == 26


@pytest.mark.parametrize("name", [*CSSGRAM_FILTERS, "sepia", "contrast", "grayscale"])
def test_tensors_on_any_device_run_as_arrays_on_a_cpu(name):
    pipeline, image = filter_pipeline(name, None), pixels(150 * 160)
    keys = pipeline.keys(150, 160, CPU)
    assert torch.equal(pipeline.run(image, keys), pipeline.run_tensors(image, keys))


def test_matrices_that_darken_or_brighten_are_clipped_on_a_cpu_too():
    pipeline = LookupPipeline.from_matrix(np.array([[2, 0, 0], [0, -1, 0], [0.5, 0.5, 0.5]]))
    image = pixels()
    assert torch.equal(pipeline.run(image, None), pipeline.run_tensors(image, None))


def test_no_pixels_are_looked_up_either():
    nothing = torch.empty(2, 3, 0, dtype=torch.uint8)
    assert filter_pipeline("sepia", 0.5).run(nothing, None).shape == (2, 3, 0)
