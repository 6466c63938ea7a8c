import pickle
import warnings

import cv2
import numpy as np
import pytest
import torch
from skimage import color

from opmask.perturb import LabScaling, LabScaling8

FACTORS = [(0.8, 0.8, 0.8), (1.2, 1.2, 1.2), (1.13, 0.87, 1.04), (0.9, 1.1, 0.83)]
BOTH = [LabScaling, LabScaling8]


def noise(*shape, low=0, high=256):
    return torch.randint(low, high, shape, dtype=torch.uint8)


def grey(level=128):
    return torch.full((3, 1, 1), level, dtype=torch.uint8)


def to_array(image):
    return image.permute(1, 2, 0).contiguous().numpy()


def with_opencv(image, factors):
    """The reference's scaling: OpenCV's 8-bit LAB, times factors, clipped and cut off."""
    codes = cv2.cvtColor(to_array(image), cv2.COLOR_RGB2LAB).astype(np.float64)
    codes = np.clip(codes * np.array(factors), 0, 255).astype(np.uint8)
    return torch.from_numpy(cv2.cvtColor(codes, cv2.COLOR_LAB2RGB)).permute(2, 0, 1)


def with_skimage(image, factors):
    """The same without rounding, in scikit-image's LAB."""
    lab = np.add(color.rgb2lab(to_array(image)), (0, 128, 128)) / (100, 255, 255)
    lab = np.clip(lab * np.array(factors), 0, 1) * (100, 255, 255) - (0, 128, 128)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # says that it clips colours out of gamut
        rgb = color.lab2rgb(lab)
    return torch.from_numpy(np.round(rgb * 255).astype(np.uint8)).permute(2, 0, 1)


@pytest.mark.parametrize("factors", [(1.0, 1.0, 1.0), *FACTORS])
def test_8_bit_scaling_equals_opencvs_codes_times_factors(factors):
    image = noise(3, 64, 64)
    assert torch.equal(LabScaling8(factors)(image), with_opencv(image, factors))


@pytest.mark.parametrize("factors", FACTORS)
def test_scaling_equals_scikit_images_lab_times_factors(factors):
    image = noise(3, 64, 64, low=100)
    difference = (LabScaling(factors)(image).int() - with_skimage(image, factors).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


def test_scaling_by_one_is_the_identity():
    image = noise(3, 64, 64)
    assert torch.equal(LabScaling((1.0, 1.0, 1.0))(image), image)


def test_scaling_clips_lightness_at_white_in_lab_and_not_in_rgb():
    yellow = torch.tensor([255, 255, 100], dtype=torch.uint8).view(3, 1, 1)
    assert torch.equal(LabScaling((1.2, 1.0, 1.0))(yellow), with_skimage(yellow, (1.2, 1, 1)))


@pytest.mark.parametrize("kind", BOTH)
def test_each_factor_is_for_its_channel(kind):
    mean = grey().float().mean()
    assert kind((0.8, 1.0, 1.0))(grey()).float().mean() < mean - 20
    red, green, _ = kind((1.0, 1.2, 1.0))(grey()).flatten().int()
    assert red > green + 20
    red, green, blue = kind((1.0, 1.0, 0.8))(grey()).flatten().int()
    assert blue > max(red, green) + 20


@pytest.mark.parametrize("kind", BOTH)
def test_white_is_clipped_and_black_stays(kind):
    assert kind((1.2, 1.0, 1.0))(grey(255)).min() > 250
    assert kind((0.8, 1.0, 1.0))(grey(0)).max() == 0


def test_the_two_differ_by_what_8_bit_lab_loses():
    image = noise(3, 64, 64)
    difference = (LabScaling((1, 1, 1))(image).int() - LabScaling8((1, 1, 1))(image).int()).abs()
    assert 0 < difference.float().mean() < 3


@pytest.mark.parametrize("kind", BOTH)
def test_scalings_do_not_write_into_their_input(kind):
    image = noise(3, 8, 8)
    before = image.clone()
    kind((0.9, 1.1, 0.9))(image)
    assert torch.equal(image, before)


@pytest.mark.parametrize("kind", BOTH)
def test_scalings_are_values(kind):
    first, second = kind((0.9, 1.1, 0.9)), kind((0.9, 1.1, 0.9))
    assert pickle.loads(pickle.dumps(first)) == second != kind((0.9, 1.1, 0.91))
    assert len({first, second}) == 1


def test_the_kinds_are_told_apart_in_records():
    assert LabScaling((0.9, 1.1, 0.95)).to_dict() == {"lab": [0.9, 1.1, 0.95]}
    assert LabScaling8((0.9, 1.1, 0.95)).to_dict() == {"lab8": [0.9, 1.1, 0.95]}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("factor", [-0.1, float("nan"), float("inf")])
def test_impossible_factors_are_refused(kind, factor):
    with pytest.raises(ValueError, match=f"'factors' must be finite and at least 0, .*{factor}"):
        kind((1.0, factor, 1.0))


@pytest.mark.parametrize("kind", BOTH)
def test_a_factor_of_zero_is_accepted(kind):
    assert kind((0.0, 1.0, 1.0))(grey()).max() < 2


@pytest.mark.parametrize("kind", BOTH)
def test_images_of_another_type_or_shape_are_refused(kind):
    with pytest.raises(TypeError, match="'image' must be 8-bit"):
        kind((1.0, 1.0, 1.0))(torch.rand(3, 4, 4))
    with pytest.raises(ValueError, match=r"'image' must have shape \(3, H, W\), got \(1, 3"):
        kind((1.0, 1.0, 1.0))(noise(1, 3, 4, 4))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", BOTH)
def test_scalings_are_the_same_on_a_gpu(kind):
    image = noise(3, 64, 64)
    on_gpu = kind(FACTORS[2])(image.cuda())
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), kind(FACTORS[2])(image))


@pytest.mark.parametrize("scaling", BOTH)
@pytest.mark.parametrize("factors", FACTORS)
def test_pixels_may_have_factors_of_their_own(scaling, factors):
    image = noise(3, 40, 50)
    each = torch.tensor(factors, dtype=torch.float64).view(3, 1, 1).expand(3, 40, 50)
    assert torch.equal(scaling.scale(image, each), scaling(factors)(image))
