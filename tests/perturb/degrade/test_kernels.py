import math

import cv2
import numpy as np
import pytest
import torch

from opmask.perturb.degrade.kernels import correlate, gaussian_kernel, motion_kernel

SIZES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (7, 1), (2, 9), (3, 3), (5, 4), (33, 46)]
EVERY_SIZE = pytest.mark.parametrize(("height", "width"), SIZES)

# The weights of MotionBlur(k=3), imgaug 0.4.0 on OpenCV 4.11, times their sum.
IMGAUG = {
    (0.0, -1.0): [[0, 0, 0], [0, 127, 0], [0, 255, 0]],
    (30.0, -0.5): [[0, 36, 25], [20, 127, 12], [75, 92, 0]],
    (135.0, 0.3): [[53, 28, 0], [28, 127, 43], [0, 43, 98]],
    (222.5, -0.5): [[0, 55, 106], [21, 127, 43], [35, 25, 0]],
    (270.0, 0.3): [[0, 0, 0], [165, 127, 89], [0, 0, 0]],
    (315.0, 1.0): [[151, 62, 0], [62, 127, 10], [0, 10, 0]],
    (359.9, 0.0): [[0, 127, 0], [0, 127, 0], [0, 127, 0]],
}


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def by_loop(image, weights):
    """The same with exact fractions, for a (H, W) image that is larger than the weights."""
    reach = len(weights) // 2
    padded = np.pad(image.numpy().astype(int), reach, mode="reflect")
    weights = weights.numpy().astype(int)
    blurred = torch.zeros_like(image)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            window = padded[i : i + len(weights), j : j + len(weights)]
            blurred[i, j] = math.floor((window * weights).sum() / weights.sum() + 0.5)
    return blurred


@EVERY_SIZE
@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.0, 1.6, 2.9, 3.0, 4.9, 5.0, 7.0])
def test_gaussian_blurs_equal_opencv(height, width, sigma):
    image = noise(height, width)
    weights = gaussian_kernel(sigma)
    expected = cv2.GaussianBlur(image.numpy(), (len(weights),) * 2, sigmaX=sigma, sigmaY=sigma)
    assert torch.equal(correlate(image, weights), torch.from_numpy(expected))


@pytest.mark.parametrize(
    ("sigma", "width"), [(0.3, 5), (1.0, 5), (1.8, 5), (1.9, 7), (2.9, 9), (3.0, 9), (5.0, 13)]
)
def test_gaussian_weights_are_as_wide_as_those_of_imgaug(sigma, width):
    weights = gaussian_kernel(sigma)
    assert weights.shape == (width, width)
    assert weights.sum() == 2**16
    assert torch.equal(weights, weights.T)


def test_gaussian_weights_are_near_the_formula():
    row = gaussian_kernel(1.0).sum(0) / 2**16
    exact = torch.exp(-0.5 * torch.arange(-2.0, 3) ** 2)
    torch.testing.assert_close(row, exact / exact.sum(), atol=1 / 256, rtol=0)


@EVERY_SIZE
@pytest.mark.parametrize(("angle", "direction"), [(0, 1), (30, -0.5), (123, 0.4), (300, -1)])
def test_motion_blurs_equal_opencv_but_for_halves(height, width, angle, direction):
    image, weights = noise(height, width), motion_kernel(angle, direction)
    kernel = (weights / weights.sum()).numpy()
    expected = cv2.filter2D(image.numpy(), -1, kernel).astype(int)
    difference = correlate(image, weights).int() - torch.from_numpy(expected)
    assert difference.abs().max() <= 1
    assert (difference != 0).double().mean() < 0.005 or image.numel() < 100


@pytest.mark.parametrize(("angle", "direction"), IMGAUG)
def test_motion_weights_are_those_of_imgaug(angle, direction):
    weights = motion_kernel(angle, direction)
    assert weights.dtype == torch.int32
    assert weights.tolist() == IMGAUG[angle, direction]


def test_motion_weights_are_a_line_turned_by_opencv():
    # OpenCV 4 gives them exactly; OpenCV 5 does not round places to 1/32 pixel.
    for angle, direction in torch.rand(300, 2, dtype=torch.float64).tolist():
        angle, direction = 360 * angle, 2 * direction - 1
        line = np.zeros((3, 3), np.uint8)
        line[:, 1] = 255 * np.linspace((direction + 1) / 2, (1 - direction) / 2, 3)
        turn = cv2.getRotationMatrix2D((1, 1), -angle, 1)
        expected = cv2.warpAffine(line, turn, (3, 3), flags=cv2.INTER_LINEAR)
        assert np.abs(motion_kernel(angle, direction).numpy() - expected).max() < 9


@pytest.mark.parametrize("size", [1, 3, 5])
def test_correlation_equals_a_plain_loop(size):
    image = noise(9, 7)
    weights = torch.randint(0, 50, (size, size), dtype=torch.int32) + 1
    assert torch.equal(correlate(image, weights), by_loop(image, weights))


def test_halves_are_rounded_up():
    image = torch.tensor([[1, 2, 4, 7, 255, 254]], dtype=torch.uint8)
    weights = torch.tensor([[0, 0, 0], [0, 1, 1], [0, 0, 0]])
    assert correlate(image, weights).tolist() == [[2, 3, 6, 131, 255, 255]]


def test_white_stays_white():
    image = torch.full((3, 4, 5), 255, dtype=torch.uint8)
    assert torch.equal(correlate(image, gaussian_kernel(1.0)), image)


def test_the_planes_of_a_batch_are_blurred_one_by_one():
    images = noise(2, 3, 6, 5)
    blurred = correlate(images, motion_kernel(33.0, 0.5))
    assert torch.equal(blurred[1, 2], correlate(images[1, 2], motion_kernel(33.0, 0.5)))
