import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from opmask.metrics import mse, psnr, psnr_from_mse, ssim


def photo_pair(height, width, seed=0, noise=20):
    """Two 8-bit arrays (H, W, 3): smooth, with texture, and similar to each other."""
    rng = np.random.default_rng(seed)
    y, x, c = np.mgrid[:height, :width, :3]
    real = 128 + 90 * np.sin(x / 5 + c) * np.cos(y / 7) + rng.normal(0, 8, y.shape)
    output = real + 15 * np.sin(x / 3) + rng.normal(0, noise, y.shape)
    return (image.clip(0, 255).astype(np.uint8) for image in (output, real))


def tensor(array, dtype=torch.float64):
    return torch.tensor(array / 255, dtype=dtype).movedim(-1, 0)[None]


def skimage_ssim(output, real):
    return structural_similarity(
        output,
        real,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )


def test_mse_equals_scikit_image_on_8_bit_data():
    output, real = photo_pair(23, 37)
    expected = torch.tensor([mean_squared_error(output, real)])
    torch.testing.assert_close(mse(tensor(output), tensor(real)), expected)


def test_psnr_equals_scikit_image_on_8_bit_data():
    output, real = photo_pair(23, 37)
    expected = torch.tensor([peak_signal_noise_ratio(real, output, data_range=255)])
    torch.testing.assert_close(psnr(tensor(output), tensor(real)), expected)


@pytest.mark.parametrize("kind", [float, np.array, torch.tensor])
def test_the_psnr_of_an_error_is_one_formula_for_numbers_arrays_and_tensors(kind):
    assert psnr_from_mse(kind(6.5025)) == pytest.approx(40)
    assert psnr_from_mse(kind(1.0), peak=10.0, epsilon=0.0) == pytest.approx(20)
    assert psnr_from_mse(kind(1.0), peak=0.0) == -math.inf


def test_psnr_has_the_papers_floor():
    image = torch.rand(1, 3, 4, 4)
    expected = torch.tensor([20 * math.log10(255 / math.sqrt(1e-9))])
    torch.testing.assert_close(psnr(image, image), expected)


@pytest.mark.parametrize("noise", [0, 5, 80])
@pytest.mark.parametrize("size", [(11, 11), (11, 40), (31, 12), (64, 97)])
def test_ssim_equals_scikit_image_on_8_bit_data(size, noise):
    output, real = photo_pair(*size, noise=noise)
    expected = torch.tensor([skimage_ssim(output, real)], dtype=torch.float64)
    value = ssim(tensor(output), tensor(real))
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)


def test_ssim_of_dark_flat_images_equals_scikit_image():
    # Both stabilising constants matter where means and variances are near zero.
    output, real = photo_pair(20, 20)
    output, real = output // 60, real // 60
    expected = torch.tensor([skimage_ssim(output, real)], dtype=torch.float64)
    torch.testing.assert_close(ssim(tensor(output), tensor(real)), expected)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_ssim_of_one_level_is_one_and_of_two_that_of_scikit_image(level):
    flat = np.full((11, 16, 3), level, dtype=np.uint8)
    for other in (flat, 255 - flat):
        expected = torch.tensor([skimage_ssim(flat, other)], dtype=torch.float64)
        value = ssim(tensor(flat), tensor(other))
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)


def test_ssim_of_photos_equals_scikit_image(data_root):
    for path in sorted((data_root / "scenes/images/validation").glob("*.jpg"))[:3]:
        real = np.asarray(Image.open(path))
        output = (real * 0.8).astype(np.uint8)
        expected = torch.tensor([skimage_ssim(output, real)], dtype=torch.float64)
        value = ssim(tensor(output), tensor(real))
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-9)


def test_ssim_of_float32_images_is_exact_to_six_decimals():
    output, real = photo_pair(64, 97)
    value = ssim(tensor(output, torch.float32), tensor(real, torch.float32))
    torch.testing.assert_close(value, torch.tensor([skimage_ssim(output, real)]).float())


def test_ssim_of_a_negative_is_negative():
    _, real = photo_pair(32, 32)
    assert ssim(1 - tensor(real), tensor(real)).item() < 0


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_each_image_is_scored_by_itself(metric):
    output, real = torch.rand(2, 3, 3, 12, 13)
    expected = torch.cat([metric(x[None], y[None]) for x, y in zip(output, real, strict=True)])
    torch.testing.assert_close(metric(output, real), expected)


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_values_are_at_least_float32(metric, dtype, expected):
    image = torch.rand(2, 3, 12, 12).to(dtype)
    value = metric(image, image)
    assert (value.dtype, value.shape) == (expected, (2,))


def test_half_precision_images_are_not_rounded_again():
    output, real = (torch.rand(1, 3, 12, 12).bfloat16() for _ in range(2))
    torch.testing.assert_close(mse(output, real), mse(output.float(), real.float()))


def test_ssim_can_be_differentiated():
    x, y = torch.rand(2, 1, 3, 11, 12, dtype=torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ssim(x, y), x, fast_mode=True)


@pytest.mark.parametrize("size", [(10, 11), (11, 10)])
def test_images_smaller_than_the_window_are_refused(size):
    image = torch.rand(1, 3, *size)
    with pytest.raises(ValueError, match=r"'output' must be at least 11 pixels high and wide"):
        ssim(image, image)


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_8_bit_images_are_refused(metric):
    image = torch.zeros(1, 3, 12, 12)
    with pytest.raises(TypeError, match=r"'output' must be .* got torch.uint8. Divide .* by 255"):
        metric(image.byte(), image)
    with pytest.raises(TypeError, match=r"'real' must be .* got torch.uint8. Divide .* by 255"):
        metric(image, image.byte())


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 4, 12, 12), (1, 1, 12, 12), (1, 3, 1, 12, 12)])
@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_an_output_that_is_no_batch_of_rgb_is_refused(metric, shape):
    image = torch.zeros(shape)
    with pytest.raises(ValueError, match=r"'output' must have shape \(B, 3, H, W\), got"):
        metric(image, image)


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
def test_different_shapes_are_refused(metric):
    match = r"'real' must have the shape of 'output', \(2, 3, 12, 12\), got \(1, 3, 12, 12\)"
    with pytest.raises(ValueError, match=match):
        metric(torch.zeros(2, 3, 12, 12), torch.zeros(1, 3, 12, 12))
