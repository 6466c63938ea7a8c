import itertools

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from opmask.color import opencv
from opmask.color.opencv_lab import lab8_to_rgb, rgb_to_lab8

BOTH = pytest.mark.parametrize(
    ("convert", "code"), [(rgb_to_lab8, cv2.COLOR_RGB2LAB), (lab8_to_rgb, cv2.COLOR_LAB2RGB)]
)


@pytest.fixture(params=["with OpenCV", "without OpenCV"], autouse=True)
def _opencv(request, monkeypatch):
    """Both ways that the room has of doing the same."""
    if request.param == "without OpenCV":
        monkeypatch.setattr(opencv, "installed_opencv", lambda: None)
    opencv.opencv_if_equal.cache_clear()
    yield
    opencv.opencv_if_equal.cache_clear()


def with_opencv(image, code):
    """The answer of OpenCV, for a tensor (3, H, W)."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    return torch.from_numpy(cv2.cvtColor(pixels, code)).permute(2, 0, 1)


def colours(first, second, third):
    """Every combination of the values, as an image (3, N, M)."""
    axes = (torch.as_tensor(axis, dtype=torch.uint8) for axis in (first, second, third))
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(2)


@pytest.mark.parametrize(
    ("rgb", "codes"),
    [
        ((255, 0, 0), (136, 208, 195)),
        ((0, 255, 0), (224, 42, 211)),
        ((0, 0, 255), (82, 207, 20)),
        ((0, 0, 0), (0, 128, 128)),
        ((255, 255, 255), (255, 128, 128)),
    ],
)
def test_primaries_have_the_known_codes(rgb, codes):
    image = torch.tensor(rgb, dtype=torch.uint8).view(3, 1, 1)
    assert rgb_to_lab8(image).flatten().tolist() == list(codes)


@BOTH
def test_a_grid_over_all_colours_equals_opencv(convert, code):
    image = colours(*(torch.arange(start, 256, 5) for start in (0, 1, 3)))
    assert torch.equal(convert(image), with_opencv(image, code))


@BOTH
def test_random_colours_equal_opencv(convert, code):
    image = torch.randint(0, 256, (3, 700, 700), dtype=torch.uint8)
    assert torch.equal(convert(image), with_opencv(image, code))


@BOTH
@pytest.mark.parametrize("others", list(itertools.product((0, 20, 128, 255), repeat=2)))
def test_sweeps_through_a_channel_equal_opencv(convert, code, others):
    for channel in range(3):
        values = [[value] for value in others]
        values.insert(channel, torch.arange(256))
        image = colours(*values)
        assert torch.equal(convert(image), with_opencv(image, code))


@pytest.mark.parametrize(
    ("rgb", "codes"), [((0, 6, 98), (24, 163, 77)), ((0, 168, 167), (159, 92, 118))]
)
def test_cube_roots_are_rounded_to_float32_first(rgb, codes):
    # Rounding once gives a = 164 and a = 93.
    image = torch.tensor(rgb, dtype=torch.uint8).view(3, 1, 1)
    assert rgb_to_lab8(image).flatten().tolist() == list(codes)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("start", range(0, 256, 32))
def test_each_of_the_16_million_codes_equals_opencv(convert, code, start):
    image = colours(range(start, start + 32), range(256), range(256))
    assert torch.equal(convert(image), with_opencv(image, code))


@BOTH
def test_a_photo_equals_opencv(convert, code, data_root):
    path = next(iter(sorted((data_root / "ade150_sample/images/validation").glob("*.jpg"))))
    image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(convert(image), with_opencv(image, code))


@BOTH
def test_any_leading_shape_is_converted_image_by_image(convert, code):
    images = torch.randint(0, 256, (2, 2, 3, 5, 4), dtype=torch.uint8)
    converted = convert(images)
    assert converted.dtype == torch.uint8
    assert converted.shape == images.shape
    assert torch.equal(converted[1, 0], with_opencv(images[1, 0], code))


@BOTH
def test_the_input_is_left_as_it_was(convert, code):
    image = torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8)
    before = image.clone()
    convert(image)
    assert torch.equal(image, before)


def test_a_round_trip_loses_little():
    image = torch.randint(0, 256, (3, 300, 300), dtype=torch.uint8)
    error = (lab8_to_rgb(rgb_to_lab8(image)).int() - image).abs()
    assert error.double().mean() < 1.0


@BOTH
def test_an_image_without_pixels_stays_one(convert, code):
    assert convert(torch.empty(2, 3, 0, 4, dtype=torch.uint8)).shape == (2, 3, 0, 4)


@pytest.mark.gpu
@BOTH
def test_codes_are_the_same_on_a_gpu(convert, code):
    image = colours(*[range(0, 256, 3)] * 3)
    assert torch.equal(convert(image.cuda()).cpu(), convert(image))
