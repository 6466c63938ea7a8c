import pytest
import torch
import torch.nn.functional as F

from opmask import LAB, LINEAR_RGB, MaskRange, Retoucher
from opmask.operators import Blur, Clarity, Denoise, Grain, Relight, Sharpen
from opmask.testing import check_operator

KINDS = [Blur, Clarity, Denoise, Grain, Relight, Sharpen]
every_kind = pytest.mark.parametrize("kind", KINDS)


def apply(operator, image, value):
    """One mask everywhere, on an image in the operator's own space."""
    return operator(image, torch.full_like(image[:, :1], value))


def step(height=0.5, size=128):
    """Grey, and from the middle on a brighter grey, in LAB."""
    image = torch.zeros(1, 3, size, size)
    image[:, 0] = 0.25
    image[:, 0, :, size // 2 :] += height
    return image


@every_kind
@pytest.mark.parametrize("size", [(1, 1), (1, 12), (3, 2), (17, 31)])
def test_the_identity_is_exact_at_any_size(kind, size):
    retoucher, image = Retoucher(kind()), torch.rand(2, 3, *size)
    output = retoucher(image, retoucher.identity(image))
    torch.testing.assert_close(output, image, rtol=0, atol=1e-5)


@every_kind
@pytest.mark.parametrize("size", [(1, 1), (1, 12), (3, 2)])
def test_the_smallest_images_have_finite_results_and_gradients(kind, size):
    operator, image = kind(), torch.rand(1, 3, *size, requires_grad=True)
    mask = torch.full((1, 1, *size), operator.ranges[kind.__name__.lower()].high)
    output = operator(image, mask)
    assert output.isfinite().all()
    assert torch.autograd.grad(output.sum(), image)[0].isfinite().all()


@pytest.mark.parametrize(
    "operator",
    [
        Blur(radius=0.05),
        Clarity(radius=0.1),
        Denoise(radius=0.05, noise=0.2),
        Grain(size=0.02),
        Relight(softness=0.1),
        Sharpen(radius=0.02),
    ],
)
def test_a_small_copy_of_a_photo_looks_like_the_photo(operator):
    photo = F.interpolate(torch.rand(1, 3, 20, 30), size=(512, 768), mode="bicubic").clamp(0, 1)
    photo = operator.space.from_rgb(photo)
    large = F.avg_pool2d(apply(operator, photo, 0.1), 4)
    small = apply(operator, F.avg_pool2d(photo, 4), 0.1)
    torch.testing.assert_close(small, large, rtol=0, atol=0.004)


@pytest.mark.parametrize("operator", [Blur(radius=0.2), Grain(size=0.3, seed=5)])
def test_parameters_other_than_the_usual_keep_the_contract(operator):
    check_operator(operator)


def test_blur_mixes_in_light_and_sharpens_below_zero():
    image = step()
    blurred = apply(Blur(), image, 1.0)
    torch.testing.assert_close(apply(Blur(), image, 0.5), image.lerp(blurred, 0.5))
    torch.testing.assert_close(apply(Blur(), image, -0.5), image.lerp(blurred, -0.5))
    assert Blur.space is LINEAR_RGB


def test_a_wider_blur_is_softer():
    slopes = [
        apply(Blur(radius=radius), step(), 1.0).diff(dim=-1).max() for radius in (0.01, 0.03, 0.1)
    ]
    assert slopes[0] > 2 * slopes[1] > 4 * slopes[2]


def test_sharpening_by_minus_one_leaves_the_blurred_lightness():
    image = torch.rand(1, 3, 40, 40)
    softer = apply(Sharpen(radius=0.05), image, -1.0)
    torch.testing.assert_close(softer[:, 0], apply(Blur(radius=0.05), image, 1.0)[:, 0])
    assert torch.equal(softer[:, 1:], image[:, 1:])


def test_clarity_gives_strong_edges_hardly_a_halo_where_an_unsharp_mask_does():
    overshoot = [
        apply(operator, step(), 1.0)[:, 0].max() - 0.75
        for operator in (Clarity(radius=0.04), Sharpen(radius=0.04))
    ]
    assert overshoot[0] < 0.06 < 0.2 < overshoot[1]


def test_clarity_doubles_faint_contrast():
    image = step(height=0.02)
    image[:, 0] += 0.02 * torch.randn(128, 128)
    crisp = apply(Clarity(), image, 1.0)
    assert 1.8 < crisp[:, 0, :, :50].std() / image[:, 0, :, :50].std() < 2


def test_denoise_takes_noise_out_and_keeps_edges():
    noisy = step() + 0.03 * torch.randn(1, 3, 128, 128)
    clean = apply(Denoise(radius=0.02), noisy, 1.0)
    assert clean[..., :50].std(-1).mean() < 0.5 * noisy[..., :50].std(-1).mean()
    assert (clean[:, 0, :, 64] - clean[:, 0, :, 63]).mean() > 0.4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Blur(radius=0), r"'radius' must be in \[0.001, 0.5\], a share of .*, got 0"),
        (lambda: Sharpen(radius=3), "'radius' must be in .*, got 3"),
        (lambda: Relight(softness=float("nan")), "'softness' must be in .*, got nan"),
        (lambda: Grain(size=0.6), "'size' must be in .*, got 0.6"),
        (lambda: Grain(seed=-1), "'seed' must be from 0 to 4294967295, got -1"),
        (lambda: Denoise(noise=0), r"'noise' must be in \[0.001, 1\], got 0"),
        (lambda: Clarity(contrast=2), r"'contrast' must be in \[0.001, 1\], got 2"),
    ],
)
def test_parameters_out_of_range_raise(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_range_may_be_wider():
    assert Blur(ranges={"blur": MaskRange(0.0, -1.0, 2.0)}).ranges["blur"].high == 2.0


def test_lightness_operators_work_in_lab():
    assert {kind.space for kind in (Clarity, Denoise, Grain, Sharpen)} == {LAB}
