import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from opmask.color.opencv_lab import rgb_to_lab8
from opmask.metrics import mse, reference_panel, reference_rgb_panel
from opmask.metrics.reference import reference_ssim

RNG = np.random.default_rng(0)


def normalized(codes):
    """8-bit codes (..., H, W, 3) as the reference code's tensor, in float32."""
    tensor = torch.from_numpy(codes).movedim(-1, -3).float() / 255
    return (tensor - 0.5) / 0.5


def levels(image):
    return torch.from_numpy(image.astype(np.float64)).movedim(-1, 0)[None]


def test_63_of_256_code_values_lose_one_level():
    codes = np.arange(256, dtype=np.uint8).reshape(1, -1, 1).repeat(3, axis=2)
    lost = codes.astype(int) - reference_rgb_panel(normalized(codes))
    assert np.unique(lost).tolist() == [0, 1]
    assert [int(channel.sum()) for channel in lost[0].T] == [63, 63, 63]


def test_the_panel_equals_the_reference_chain_in_numpy_and_opencv():
    x = RNG.uniform(-1, 1, (16, 24, 3)).astype(np.float32)
    codes = ((x * np.float32(0.5) + np.float32(0.5)) * np.float32(255)).astype(np.uint8)
    panel = reference_panel(torch.from_numpy(x).movedim(-1, 0))
    np.testing.assert_array_equal(panel, cv2.cvtColor(codes, cv2.COLOR_LAB2RGB))


def test_photos_come_back_as_far_off_as_was_measured_of_the_reference(data_root):
    errors = []
    for path in sorted((data_root / "scenes" / "images" / "validation").glob("*.jpg"))[:8]:
        real = np.asarray(Image.open(path).resize((256, 256), Image.Resampling.BICUBIC))
        lab = rgb_to_lab8(torch.from_numpy(real.copy()).movedim(-1, 0))
        panel = reference_panel((lab.float() / 255 - 0.5) / 0.5)
        errors.append(mse(levels(panel) / 255, levels(real) / 255).item())
    assert np.mean(errors) == pytest.approx(0.70, abs=0.1)


def test_codes_are_truncated_and_not_rounded():
    x = 2 * torch.tensor([100.99, 101.01, 254.99]).reshape(3, 1, 1) / 255 - 1
    assert reference_rgb_panel(x).flatten().tolist() == [100, 101, 254]


@pytest.mark.parametrize("panel", [reference_panel, reference_rgb_panel])
def test_values_outside_of_the_range_are_clipped(panel):
    x = torch.tensor([-1.5, 0.2, 1.5]).reshape(3, 1, 1)
    np.testing.assert_array_equal(panel(x), panel(x.clamp(-1, 1)))


@pytest.mark.parametrize("panel", [reference_panel, reference_rgb_panel])
def test_batches_of_any_precision_and_with_gradients_become_arrays_with_channels_last(panel):
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    pictures = panel(x)
    assert (pictures.shape, pictures.dtype) == ((2, 4, 5, 3), np.uint8)
    np.testing.assert_array_equal(pictures[1], panel(x[1].float()))


def test_the_panel_of_an_rgb_model_is_not_converted():
    x = torch.rand(3, 4, 5)
    assert (reference_rgb_panel(x) != reference_panel(x)).any()


def test_each_image_and_channel_is_scored_by_itself_with_its_own_range():
    images = RNG.integers(0, 256, (2, 2, 12, 15, 3), dtype=np.uint8)
    images[0, :, :, :, 1] //= 3
    output, real = (torch.cat([levels(image) for image in pair]) for pair in images)
    for b, c in np.ndindex(2, 3):
        x, y = (pair[b, :, :, c] for pair in images)
        expected = structural_similarity(x, y, data_range=int(x.max()) - int(x.min()))
        value = reference_ssim(output, real)[b, c].item()
        assert value == pytest.approx(expected, abs=1e-12)


def test_dark_images_of_few_levels_equal_scikit_image():
    output, real = RNG.integers(0, 2, (2, 12, 15, 3), dtype=np.uint8)
    output[0, 0] = 2
    expected = [
        structural_similarity(output[..., c], real[..., c], data_range=2) for c in range(3)
    ]
    value = reference_ssim(levels(output), levels(real))[0].tolist()
    assert value == pytest.approx(expected, abs=1e-12)


def test_a_constant_output_against_a_textured_real_image_scores_nothing():
    real = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    output = np.full_like(real, 100)
    assert reference_ssim(levels(output), levels(real)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("output", "real", "expected"), [(100, 100, 1), (0, 0, 1), (0, 50, 0), (60, 20, 0.6)]
)
def test_of_two_constant_images_only_the_luminance_counts(output, real, expected):
    pair = [torch.full((1, 3, 9, 9), float(value)).double() for value in (output, real)]
    expected = torch.full((1, 3), float(expected)).double()
    torch.testing.assert_close(reference_ssim(*pair), expected)


def test_a_constant_output_is_the_limit_of_small_ranges():
    real = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    real[:, :8] = 30
    output = levels(np.full_like(real, 90))
    nearly = output.clone()
    nearly[..., -1, -1] += 1e-4
    limit = reference_ssim(nearly, levels(real))
    torch.testing.assert_close(reference_ssim(output, levels(real)), limit, rtol=0, atol=1e-4)
