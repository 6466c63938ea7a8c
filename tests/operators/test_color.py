import colorsys

import numpy as np
import pytest
import torch
from skimage.color import lab2lch, rgb2lab

from opmask import LAB, Retoucher, perturb
from opmask.color import to_levels
from opmask.operators import (
    BleachBypass,
    ChannelMixer,
    Duotone,
    HueRotate,
    HueShift,
    PhotoFilter,
    Saturation,
    SelectiveColor,
    Sepia,
    SplitToning,
    Vibrance,
)
from opmask.operators.color import BANDS, band_amounts

IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def one(operator, value):
    name = next(iter(operator.ranges))
    return {name: torch.full((1, 1, 1, 1), value)}


def set_masks(operator, **values):
    full = {name: r.identity for name, r in operator.ranges.items()} | values
    return torch.tensor([*full.values()], dtype=torch.float32).view(1, -1, 1, 1)


def test_no_saturation_is_the_luma_of_rec_709():
    output = Saturation()(IMAGE, torch.zeros(1, 1, 1, 1))
    luma = torch.einsum("c,bchw->bhw", torch.tensor([0.2126, 0.7152, 0.0722]), IMAGE)
    torch.testing.assert_close(output, luma[:, None].expand_as(output))


def test_vibrance_saturates_dull_colors_more():
    dull, vivid = ([0.55, 0.5, 0.5], [1.0, 0.1, 0.1])
    factors = []
    for color in (dull, vivid):
        output = Vibrance()(torch.tensor(color).view(1, 3, 1, 1), torch.ones(1, 1, 1, 1))
        factors.append(((output.amax() - output.amin()) / (color[0] - color[1])).item())
    assert factors == [pytest.approx(1.95), pytest.approx(1.1)]


def test_turned_hues_keep_lightness_and_chroma_by_scikit_image():
    image = IMAGE * 0.2 + 0.4
    output = Retoucher(HueRotate())(image, one(HueRotate(), 0.125))
    before, after = (lab2lch(rgb2lab(x[0].permute(1, 2, 0).numpy())) for x in (image, output))
    np.testing.assert_allclose(after[..., :2], before[..., :2], atol=0.05)
    turned = np.angle(np.exp(1j * (after[..., 2] - before[..., 2] - np.pi / 4)))
    np.testing.assert_allclose(turned, 0, atol=0.02)


def test_shifted_hues_are_those_of_the_standard_library():
    operator = HueShift()
    output = Retoucher(operator)(IMAGE, one(operator, 0.4))
    for before, after in zip(IMAGE.flatten(2)[0].T, output.flatten(2)[0].T, strict=True):
        h, lightness, s = colorsys.rgb_to_hls(*before.tolist())
        expected = colorsys.hls_to_rgb((h + 0.4) % 1, lightness, s)
        assert after.tolist() == pytest.approx(expected, abs=1e-4)


def test_a_hue_needs_a_space_that_has_one():
    with pytest.raises(ValueError, match="'space' must have a channel 'h', got lab"):
        HueShift(LAB)


def test_the_mixer_multiplies_by_a_matrix():
    matrix = torch.rand(3, 3)
    output = ChannelMixer()(IMAGE, matrix.reshape(1, 9, 1, 1))
    torch.testing.assert_close(output, torch.einsum("cd,bdhw->bchw", matrix, IMAGE))


def test_the_bands_make_up_each_color():
    pure = torch.tensor([*BANDS.values()], dtype=torch.float32)
    amounts = torch.cat(band_amounts(IMAGE), 1)
    made = IMAGE.amin(1, keepdim=True) + torch.einsum("kc,bkhw->bchw", pure, amounts)
    torch.testing.assert_close(made, IMAGE)
    assert ((amounts > 0).sum(1) <= 2).all()


def test_equal_saturations_of_all_bands_are_one_saturation():
    operator = SelectiveColor()
    masks = set_masks(operator, **{f"{band}_saturation": 0.4 for band in BANDS})
    expected = Saturation()(IMAGE, torch.full((1, 1, 1, 1), 1.4))
    torch.testing.assert_close(operator(IMAGE, masks), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("change", ["hue", "saturation", "lightness"])
def test_a_band_leaves_the_opposite_color_and_greys(change):
    operator = SelectiveColor()
    masks = set_masks(operator, **{f"reds_{change}": 1.0})
    others = torch.tensor([[0.1, 0.7, 0.7], [0.4, 0.4, 0.4], [0.2, 0.9, 0.3]]).T.view(1, 3, 1, 3)
    assert torch.equal(operator(others, masks), others)


def test_reds_turn_to_yellow_and_greens_to_cyan():
    operator = SelectiveColor()
    for band, color, more, less in (("reds", 0, 1, 2), ("greens", 1, 2, 0)):
        image = torch.full((1, 3, 1, 1), 0.2)
        image[:, color] = 0.8
        change = operator(image, set_masks(operator, **{f"{band}_hue": 0.5})) - image
        assert change[0, more] > 0 > change[0, less]


def test_white_behind_a_filter_has_its_color_and_its_own_luminance():
    operator = PhotoFilter(color=(0.2, 0.5, 1.0))
    red, green, blue = operator(torch.ones(1, 3, 1, 1), torch.full((1, 1, 1, 1), 0.5)).flatten()
    assert red < green < blue
    assert 0.2126 * red + 0.7152 * green + 0.0722 * blue == pytest.approx(1.0, abs=1e-5)


def test_sepia_is_that_of_css():
    levels = to_levels(IMAGE[0])
    expected = perturb.Filter("sepia", 1.0)(levels)
    output = Retoucher(Sepia())(levels[None] / 255, one(Sepia(), 1.0))
    assert (255 * output[0] - expected).abs().max() <= 1


def test_two_inks_print_black_and_white():
    operator = Duotone(dark=(0.1, 0.0, 0.3), bright=(1.0, 0.9, 0.8))
    ends = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    output = operator(ends, torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(output[0, :, 0].T, torch.tensor([[0.1, 0.0, 0.3], [1.0, 0.9, 0.8]]))


def test_the_silver_is_overlaid_as_the_w3c_says():
    luma = torch.einsum("c,bchw->bhw", torch.tensor([0.2126, 0.7152, 0.0722]), IMAGE)[:, None]
    dark, bright = 2 * IMAGE * luma, 1 - 2 * (1 - IMAGE) * (1 - luma)
    expected = torch.where(IMAGE <= 0.5, dark, bright)
    output = BleachBypass()(IMAGE, torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("color", [(0.1, 0.2), (0.1, 0.2, 1.2), 2.0, float("nan")])
def test_what_is_no_color_is_refused(color):
    with pytest.raises(ValueError, match="'dark' must be a grey or a triple of red, green and"):
        Duotone(dark=color)


def test_the_tint_of_highlights_leaves_black_and_that_of_shadows_white():
    ends = torch.zeros(1, 3, 1, 2)
    ends[:, 0, :, 1] = 1.0
    masks = torch.tensor([0.2, 0.1, -0.2, -0.1]).view(1, 4, 1, 1)
    output = SplitToning()(ends, masks)
    torch.testing.assert_close(output[0, 1:, 0].T, torch.tensor([[0.2, 0.1], [-0.2, -0.1]]))
