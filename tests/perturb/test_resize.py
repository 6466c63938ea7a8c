import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from opmask.color import opencv
from opmask.perturb.resize import (
    resize_bilinear_opencv,
    resize_levels_opencv,
    resize_nearest,
)

SIZES = [
    (1, 1, 4),
    (1, 9, 5),
    (2, 2, 1),
    (3, 5, 8),
    (5, 3, 1),
    (7, 7, 7),
    (10, 10, 20),
    (31, 57, 64),
    (64, 48, 32),
    (100, 77, 64),
    (33, 200, 41),
    (480, 640, 256),
    (1023, 500, 256),
]
EVERY_SIZE = pytest.mark.parametrize(("height", "width", "size"), SIZES)


@pytest.fixture(params=["with OpenCV", "without OpenCV"], autouse=True)
def _opencv(request, monkeypatch):
    """Both ways that the room has of doing the same."""
    if request.param == "without OpenCV":
        monkeypatch.setattr(opencv, "installed_opencv", lambda: None)
    opencv.opencv_if_equal.cache_clear()
    yield
    opencv.opencv_if_equal.cache_clear()


def with_opencv(values, size):
    """The answer of OpenCV, for a tensor (3, H, W)."""
    resized = cv2.resize(values.permute(1, 2, 0).contiguous().numpy(), (size, size))
    return torch.from_numpy(resized).permute(2, 0, 1)


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


@EVERY_SIZE
def test_eight_bit_images_equal_opencv(height, width, size):
    image = noise(3, height, width)
    resized = resize_bilinear_opencv(image, size)
    assert resized.dtype == torch.uint8
    assert torch.equal(resized, with_opencv(image, size))


def test_eight_bit_images_of_any_size_equal_opencv():
    for height, width, size in torch.randint(1, 60, (200, 3)).tolist():
        image = noise(3, height, width)
        assert torch.equal(resize_bilinear_opencv(image, size), with_opencv(image, size))


@pytest.mark.parametrize("size", [100, 128, 256, 300, 1000])
def test_a_photo_equals_opencv(size, data_root):
    path = next(iter(sorted((data_root / "ade150_sample/images/validation").glob("*.jpg"))))
    image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(resize_bilinear_opencv(image, size), with_opencv(image, size))


@EVERY_SIZE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floats_equal_opencv(height, width, size, dtype):
    # Some builds of OpenCV round places, hence weights, to float32.
    values = torch.rand(3, height, width, dtype=dtype)
    resized = resize_bilinear_opencv(values, size)
    assert resized.dtype == dtype
    torch.testing.assert_close(resized, with_opencv(values, size), atol=1.3e-4, rtol=0)


def test_floats_equal_a_plain_loop():
    values = torch.rand(5, 9, dtype=torch.float64)

    def place(i, old, new):
        p = (i + 0.5) * old / new - 0.5
        low = int(np.floor(p))
        return max(low, 0), min(low + 1, old - 1), p - low

    def at(row, column):
        (top, bottom, y), (left, right, x) = place(row, 5, 7), place(column, 9, 7)
        upper = values[top, left] * (1 - x) + values[top, right] * x
        lower = values[bottom, left] * (1 - x) + values[bottom, right] * x
        return upper * (1 - y) + lower * y

    expected = torch.stack([torch.stack([at(i, j) for j in range(7)]) for i in range(7)])
    torch.testing.assert_close(resize_bilinear_opencv(values, 7), expected, atol=1e-12, rtol=0)


def test_eight_bit_images_are_within_1_of_the_exact_value():
    image = noise(3, 90, 70)
    exact = F.interpolate(image[None].double(), (64, 64), mode="bilinear")[0]
    assert (resize_bilinear_opencv(image, 64) - exact).abs().max() < 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_the_same_size_changes_nothing(dtype):
    values = noise(3, 12, 12).to(dtype)
    assert torch.equal(resize_bilinear_opencv(values, 12), values)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_any_leading_shape_is_resized_plane_by_plane(dtype):
    values = noise(2, 4, 3, 11, 8).to(dtype)
    resized = resize_bilinear_opencv(values, 6)
    assert resized.shape == (2, 4, 3, 6, 6)
    torch.testing.assert_close(resized[1, 2, 0], resize_bilinear_opencv(values[1, 2, 0], 6))


def test_a_shrunken_checkerboard_aliases():
    board = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).repeat(15, 15)
    assert resize_bilinear_opencv(board, 10).unique().tolist() == [0, 255]


@pytest.mark.gpu
def test_eight_bit_images_are_the_same_on_a_gpu():
    image = noise(3, 90, 70)
    assert torch.equal(
        resize_bilinear_opencv(image.cuda(), 64).cpu(), resize_bilinear_opencv(image, 64)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("highest", [1, 255])
def test_levels_become_the_fractions_that_floats_become(dtype, highest):
    for height, width, size in SIZES:
        levels = noise(2, 3, height, width).clamp(max=highest)
        exact = resize_bilinear_opencv(levels.to(dtype), size).float()
        assert torch.equal(resize_levels_opencv(levels, size, dtype), exact)


def test_a_map_of_the_right_size_is_not_resized():
    values = noise(4, 6)
    assert resize_nearest(values, (4, 6)) is values
    assert torch.equal(resize_nearest(values, (8, 12))[::2, ::2], values)
