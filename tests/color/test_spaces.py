import colorsys
import itertools
import pickle

import numpy as np
import pytest
import skimage.color
import torch

from opmask import HLS, HSV, LAB, LAB_CENTERED, LAB_UNIT, LINEAR_RGB, OKLAB, RGB, ColorSpace
from opmask.color import HLS_CLAMPED, LAB_UNIT_CLAMPED

UNCLIPPED = [RGB, LINEAR_RGB, LAB, LAB_CENTERED, LAB_UNIT, OKLAB, HLS, HSV]
SPACES = [*UNCLIPPED, HLS_CLAMPED, LAB_UNIT_CLAMPED]
KEY_COLORS = [*itertools.product((0.0, 1.0), repeat=3), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)]


def pixels(*colors: tuple[float, ...], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Colours as an image of one row."""
    return torch.tensor(colors, dtype=dtype).T[None, :, None, :]


def colors(image: torch.Tensor) -> list[list[float]]:
    return image[0, :, 0].T.tolist()


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_a_round_trip_returns_the_image(space: ColorSpace):
    image = torch.rand(2, 3, 16, 17)
    torch.testing.assert_close(space.to_rgb(space.from_rgb(image)), image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("space", UNCLIPPED, ids=lambda s: s.name)
def test_a_round_trip_keeps_colours_out_of_gamut(space: ColorSpace):
    image = 3 * torch.rand(2, 3, 32, 32, dtype=torch.float64) - 1
    torch.testing.assert_close(space.to_rgb(space.from_rgb(image)), image, rtol=0, atol=5e-5)


@pytest.mark.parametrize("space", UNCLIPPED, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_colours_beside_black_and_white_come_back_with_finite_gradients(space: ColorSpace, dtype):
    # With 1.2, 1.0, 0.8 the lightness is exactly 1, where nothing of the saturation was left.
    values = (-0.5, -1e-40, 0, 1e-45, 1e-40, 1e-20, 1e-7, 0.8, 1 - 2**-24, 1, 1 + 2**-23, 1.2, 1.5)
    image = pixels(*itertools.product(values, repeat=3), dtype=dtype).requires_grad_()
    there = space.from_rgb(image)
    back = space.to_rgb(there)
    for output in (there, back):
        (gradient,) = torch.autograd.grad(output.square().sum(), image, retain_graph=True)
        assert gradient.isfinite().all()
    torch.testing.assert_close(back, image, rtol=0, atol=5e-5)


@pytest.mark.parametrize("space", [HLS, HSV], ids=lambda s: s.name)
def test_gradients_equal_difference_quotients_out_of_gamut(space: ColorSpace):
    image = pixels((1.3, 1.2, 1.1), (1.4, 0.9, 0.5), (-0.1, -0.3, -0.2), (0.2, -0.4, 0.1))
    torch.autograd.gradcheck(space.from_rgb, image.requires_grad_())
    torch.autograd.gradcheck(space.to_rgb, space.from_rgb(image).detach().requires_grad_())


@pytest.mark.parametrize(
    ("space", "channel", "shift"), [(HLS, 1, -0.5), (HSV, 2, 0.6)], ids=lambda v: str(v)
)
def test_a_colour_brought_back_into_gamut_keeps_its_hue(space: ColorSpace, channel, shift):
    values = space.from_rgb(pixels((1.3, 1.2, 1.1) if shift < 0 else (-0.1, -0.2, -0.3)))
    hue = values[0, 0].item()
    values[:, channel] += shift
    assert space.from_rgb(space.to_rgb(values))[0, 0].item() == pytest.approx(hue)


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_key_colours_and_out_of_gamut(space: ColorSpace, dtype):
    key = pixels(*KEY_COLORS, (1.5, 0.5, -0.5), (-0.2, -0.2, -0.2), (0, -0.1, -0.3), dtype=dtype)
    key.requires_grad_()
    values = space.to_rgb(space.from_rgb(key))
    (gradient,) = torch.autograd.grad(values.sum(), key)
    assert values.isfinite().all()
    assert gradient.isfinite().all()
    assert values.dtype == dtype


@pytest.mark.parametrize("space", [HLS, HSV], ids=lambda s: s.name)
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_grey_shares_its_gradient_among_the_channels(space: ColorSpace, channel: int):
    grey = pixels((0.4, 0.4, 0.4)).requires_grad_()
    output = space.to_rgb(space.from_rgb(grey))
    (gradient,) = torch.autograd.grad(output[0, channel].sum(), grey)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 1 / 3))


@pytest.mark.parametrize("space", [HLS, HSV], ids=lambda s: s.name)
def test_almost_grey_has_the_identity_as_its_jacobian(space: ColorSpace):
    color = pixels((0.4, 0.43, 0.38))

    def round_trip(x: torch.Tensor) -> torch.Tensor:
        return space.to_rgb(space.from_rgb(x))

    jacobian = torch.autograd.functional.jacobian(round_trip, color).reshape(3, 3)
    torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64))


def test_lab_gives_the_published_values_of_the_primaries():
    # CIE LAB of the sRGB primaries under D65, as in Lindbloom's tables.
    cie = LAB.from_rgb(pixels((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)))
    cie = cie * torch.tensor([100.0, 128.0, 128.0]).view(3, 1, 1)
    published = [
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
        [100, 0, 0],
    ]
    np.testing.assert_allclose(colors(cie), published, atol=0.02)


def test_lab_equals_scikit_image():
    image = torch.rand(1, 3, 8, 9, dtype=torch.float64)
    mine = LAB.from_rgb(image) * torch.tensor([100.0, 128.0, 128.0]).view(3, 1, 1)
    theirs = skimage.color.rgb2lab(image[0].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(mine[0].permute(1, 2, 0), theirs, atol=1e-3)


def test_lab_spaces_are_affine_maps_of_one_another():
    image = torch.rand(1, 3, 8, 9, dtype=torch.float64)
    lightness, a, b = (
        LAB.from_rgb(image) * torch.tensor([100.0, 128.0, 128.0]).view(3, 1, 1)
    ).unbind(1)
    centered = [lightness / 50 - 1, (a + 128) / 127.5 - 1, (b + 128) / 127.5 - 1]
    unit = [lightness / 100, (a + 128) / 255, (b + 128) / 255]
    torch.testing.assert_close(LAB_CENTERED.from_rgb(image), torch.stack(centered, 1))
    torch.testing.assert_close(LAB_UNIT.from_rgb(image), torch.stack(unit, 1))


def test_neutral_grey_is_one_code_above_zero_in_the_centered_space():
    # D-09 of the reference: code 128 of 255 is +1/255 in [-1, 1].
    grey = LAB_CENTERED.from_rgb(pixels((0.5, 0.5, 0.5)))
    np.testing.assert_allclose(colors(grey)[0][1:], [1 / 255, 1 / 255], atol=1e-4)


def test_linear_rgb_is_the_srgb_curve():
    values = [0.0, 0.02, 0.04, 0.05, 0.5, 1.0]
    curve = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    mine = LINEAR_RGB.from_rgb(pixels(*[(v, v, v) for v in values]))
    np.testing.assert_allclose([c[0] for c in colors(mine)], curve, atol=1e-9)


def test_hsv_equals_scikit_image():
    image = torch.rand(1, 3, 8, 9, dtype=torch.float64)
    theirs = skimage.color.rgb2hsv(image[0].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(HSV.from_rgb(image)[0].permute(1, 2, 0), theirs, atol=1e-9)


def test_hls_equals_the_standard_library():
    image = torch.rand(1, 3, 1, 50, dtype=torch.float64)
    expected = [colorsys.rgb_to_hls(*color) for color in colors(image)]
    np.testing.assert_allclose(colors(HLS.from_rgb(image)), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("space", "reference"),
    [(HLS, colorsys.rgb_to_hls), (HSV, colorsys.rgb_to_hsv)],
    ids=["hls", "hsv"],
)
def test_the_darkest_and_lightest_colours_of_16_bits_equal_the_standard_library(space, reference):
    levels = [code / 65535 for code in (0, 1, 2, 65533, 65534, 65535)]
    image = list(itertools.product(levels, repeat=3))
    expected = [reference(*color) for color in image]
    np.testing.assert_allclose(colors(space.from_rgb(pixels(*image))), expected, atol=1e-9)


@pytest.mark.parametrize("space", [HLS, HSV], ids=lambda s: s.name)
def test_hue_is_counted_in_turns(space: ColorSpace):
    hues = space.from_rgb(pixels((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1)))
    np.testing.assert_allclose([c[0] for c in colors(hues)], np.arange(6) / 6, atol=1e-12)


@pytest.mark.parametrize("space", [HLS, HSV], ids=lambda s: s.name)
def test_hue_wraps(space: ColorSpace):
    image = torch.rand(1, 3, 8, 9, dtype=torch.float64)
    turned = space.from_rgb(image) + torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    torch.testing.assert_close(space.to_rgb(turned), image)


def test_the_clamped_hue_stops_at_red_from_both_sides():
    red, past = pixels((0.0, 0.5, 1.0), (1.0, 0.5, 1.0)), pixels((-0.3, 0.5, 1.0), (1.3, 0.5, 1.0))
    torch.testing.assert_close(HLS_CLAMPED.to_rgb(past), HLS_CLAMPED.to_rgb(red))
    np.testing.assert_allclose(colors(HLS_CLAMPED.to_rgb(past)), [[1, 0, 0]] * 2, atol=1e-9)


def test_clamped_lightness_and_saturation_stay_in_gamut():
    past = pixels((0.3, 0.5, 1.7), (0.3, 0.5, -0.7), (0.3, 1.2, 0.5), (0.3, -0.2, 0.5))
    inside = pixels((0.3, 0.5, 1.0), (0.3, 0.5, 0.0), (0.3, 1.0, 0.5), (0.3, 0.0, 0.5))
    torch.testing.assert_close(HLS_CLAMPED.to_rgb(past), HLS.to_rgb(inside))


def test_the_clamped_space_equals_the_wrapping_one_within_its_bounds():
    values = torch.rand(2, 3, 8, 9, dtype=torch.float64)
    torch.testing.assert_close(HLS_CLAMPED.to_rgb(values), HLS.to_rgb(values))
    torch.testing.assert_close(HLS_CLAMPED.from_rgb(values), HLS.from_rgb(values))


def test_the_clamp_of_hls_lets_gradients_through():
    past, inside = pixels((0.3, 0.4, 1.7)), pixels((0.3, 0.4, 1.0))
    jacobian = torch.autograd.functional.jacobian(HLS_CLAMPED.to_rgb, past)
    expected = torch.autograd.functional.jacobian(HLS.to_rgb, inside)
    torch.testing.assert_close(jacobian, expected)


def test_the_clamped_lab_stays_within_its_bounds_and_lets_gradients_through():
    past, inside = pixels((1.2, 0.5, -0.1), (-0.2, 1.5, 0.4)), pixels((1, 0.5, 0), (0, 1, 0.4))
    torch.testing.assert_close(LAB_UNIT_CLAMPED.to_rgb(past), LAB_UNIT.to_rgb(inside))
    jacobian = torch.autograd.functional.jacobian(LAB_UNIT_CLAMPED.to_rgb, past)
    expected = torch.autograd.functional.jacobian(LAB_UNIT.to_rgb, inside)
    torch.testing.assert_close(jacobian, expected)


def test_the_clamped_lab_equals_the_other_in_gamut_and_keeps_its_input():
    image = torch.rand(2, 3, 8, 9)
    values = LAB_UNIT_CLAMPED.from_rgb(image)
    kept = values.clone()
    assert torch.equal(LAB_UNIT_CLAMPED.to_rgb(values), LAB_UNIT.to_rgb(values))
    assert torch.equal(values, kept)


@pytest.mark.parametrize("space", [HLS, HSV], ids=lambda s: s.name)
def test_grey_black_and_white_have_no_hue_and_no_saturation(space: ColorSpace):
    values = space.from_rgb(pixels((0, 0, 0), (0.3, 0.3, 0.3), (1, 1, 1)))
    saturation = space.channels.index("s")
    assert [c[0] for c in colors(values)] == [0, 0, 0]
    assert [c[saturation] for c in colors(values)] == [0, 0, 0]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_a_space_pickles_to_an_equal_one(space: ColorSpace):
    assert pickle.loads(pickle.dumps(space)) == space


def test_rgb_is_the_image_itself():
    image = torch.rand(1, 3, 4, 4)
    assert RGB.from_rgb(image) is image


def test_leading_dimensions_are_free():
    image = torch.rand(2, 5, 3, 4, 4)
    for space in SPACES:
        assert space.from_rgb(image).shape == image.shape
        assert space.to_rgb(image[0, 0]).shape == (3, 4, 4)


def test_channel_names_are_those_of_the_paper():
    assert {s.name: "".join(s.channels) for s in SPACES} == {
        "rgb": "rgb",
        "linear_rgb": "rgb",
        "lab": "lab",
        "lab_centered": "lab",
        "lab_unit": "lab",
        "lab_unit_clamped": "lab",
        "oklab": "lab",
        "hls": "hls",
        "hls_clamped": "hls",
        "hsv": "hsv",
    }


def test_oklab_gives_the_published_values_of_its_author():
    # The table of XYZ and OKLAB pairs in Ottosson's article: X, Y, Z of D65 white, and two more.
    white = OKLAB.from_rgb(pixels((1, 1, 1)))
    np.testing.assert_allclose(colors(white), [[1, 0, 0]], atol=1e-6)
    red = OKLAB.from_rgb(pixels((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    published = [[0.628, 0.225, 0.126], [0.866, -0.234, 0.179], [0.452, -0.032, -0.312]]
    np.testing.assert_allclose(colors(red), published, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("space", [LINEAR_RGB, LAB, OKLAB, HLS, HSV], ids=lambda s: s.name)
def test_all_forms_agree_in_gamut_and_beyond(space: ColorSpace):
    # The first two bounds are promised; the third image is as far out as masks in range push.
    grid = torch.linspace(0, 1, 33, dtype=torch.float64)
    gamut = torch.stack(torch.meshgrid(grid, grid, grid, indexing="ij")).view(1, 3, 33, -1)
    there, back = (torch.compile(f, fullgraph=True) for f in (space.from_rgb, space.to_rgb))
    for image, bound in ((gamut, 5e-5), (2 * gamut - 0.5, 2e-4), (10 * gamut - 3, 1e-2)):
        values = space.from_rgb(image)
        for convert in (space.to_rgb, back):
            torch.testing.assert_close(convert(values.float()).double(), image, rtol=0, atol=bound)
        if space == LAB and image is gamut:
            for convert in (space.from_rgb, there):
                difference = (convert(image.float()) - values).abs() * 128
                assert difference.max() < 1e-3


# --- input of other kinds ---


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (3, 4, 0)])
@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_no_pixels_give_none(space: ColorSpace, shape):
    assert space.to_rgb(space.from_rgb(torch.ones(shape))).shape == torch.Size(shape)


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_shapes_are_worked_out_without_values(space: ColorSpace):
    image = torch.ones(2, 3, 4, 5, device="meta")
    assert space.to_rgb(space.from_rgb(image)).shape == image.shape


@pytest.mark.parametrize("space", [LAB, LINEAR_RGB, OKLAB, HLS, HSV], ids=lambda s: s.name)
def test_something_else_than_colours_is_refused(space: ColorSpace):
    with pytest.raises(TypeError, match=r"floating-point tensor, got torch\.int64\. Divide 8-bit"):
        space.from_rgb(torch.ones(1, 3, 4, 4, dtype=torch.int64))
    with pytest.raises(TypeError, match="must be a floating-point tensor, got ndarray"):
        space.to_rgb(np.ones((1, 3, 4, 4)))
    for shape in [(1, 4, 5, 5), (3, 3)]:
        with pytest.raises(ValueError, match=r"'image' must have shape \(\*, 3, H, W\), got"):
            space.from_rgb(torch.ones(shape))
