import io
import json
import pickle
import random
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from changes import rng_of
from PIL import Image

from opmask.perturb.degrade import (
    JPEG,
    GaussianBlur,
    GaussianNoise,
    LaplaceNoise,
    MotionBlur,
    PoissonNoise,
    degradation_from_dict,
    draw_degradation,
)
from opmask.perturb.degrade.kernels import correlate, motion_kernel
from opmask.perturb.degrade.noise import add_noise, gaussian_cdf, laplace_cdf, poisson_cdf
from opmask.perturb.rng import make_rng

SIX = [
    GaussianNoise(8.5, 1),
    LaplaceNoise(8.5, 1),
    PoissonNoise(8.5, 1),
    MotionBlur(77.0, 0.3),
    GaussianBlur(),
    JPEG(),
]
NAMES = [
    "gaussian_noise",
    "laplace_noise",
    "poisson_noise",
    "motion_blur",
    "gaussian_blur",
    "jpeg",
]
EVERY_ONE = pytest.mark.parametrize("degradation", SIX, ids=NAMES)
NOISES = [(GaussianNoise, gaussian_cdf), (LaplaceNoise, laplace_cdf)]
NOISES += [(PoissonNoise, poisson_cdf)]


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def from_pixels(array):
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)


def pixels(image):
    return image.permute(1, 2, 0).contiguous().numpy()


@EVERY_ONE
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 3), (17, 23), (64, 48)])
def test_images_of_any_size_keep_their_shape_and_type(degradation, size):
    degraded = degradation(noise(3, *size))
    assert degraded.shape == (3, *size)
    assert degraded.dtype == torch.uint8
    assert degraded.is_contiguous()


@EVERY_ONE
def test_a_degradation_changes_the_image_and_always_alike(degradation):
    image = noise(3, 32, 24)
    before = image.clone()
    assert torch.equal(degradation(image), degradation(image))
    assert not torch.equal(degradation(image), image)
    assert torch.equal(image, before)


@EVERY_ONE
def test_a_degradation_accepts_any_memory_layout(degradation):
    image = noise(3, 12, 9)
    assert torch.equal(degradation(image.mT.contiguous().mT), degradation(image))


@EVERY_ONE
def test_degradations_pickle_and_compare_by_content(degradation):
    assert pickle.loads(pickle.dumps(degradation)) == degradation
    assert hash(degradation) == hash(pickle.loads(pickle.dumps(degradation)))
    assert [other == degradation for other in SIX].count(True) == 1


@pytest.mark.gpu
@EVERY_ONE
def test_degradations_are_the_same_on_a_gpu(degradation):
    image = noise(3, 40, 30)
    degraded = degradation(image.cuda())
    assert degraded.is_cuda
    assert torch.equal(degraded.cpu(), degradation(image))


@pytest.mark.parametrize(("kind", "table"), NOISES)
def test_noises_add_what_their_tables_say(kind, table):
    image = noise(3, 20, 30)
    assert torch.equal(kind(9.3, 5)(image), add_noise(image, table(9.3), 5))


@pytest.mark.parametrize(("kind", "table"), NOISES)
def test_noise_depends_on_the_seed_the_channel_and_the_strength(kind, table):
    grey = torch.full((3, 50, 50), 128, dtype=torch.uint8)
    noisy = kind(9.0, 5)(grey)
    assert not torch.equal(noisy, kind(9.0, 6)(grey))
    assert not torch.equal(noisy[0], noisy[1])
    assert noisy.double().std() < 0.6 * kind(18.0, 5)(grey).double().std()


def test_a_motion_blur_correlates_with_its_weights():
    image = noise(3, 20, 30)
    expected = correlate(image, motion_kernel(77.0, 0.3))
    assert torch.equal(MotionBlur(77.0, 0.3)(image), expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5), (41, 30)])
def test_a_gaussian_blur_is_that_of_opencv(size):
    image = noise(3, *size)
    expected = cv2.GaussianBlur(pixels(image), (5, 5), 1.0)
    assert torch.equal(GaussianBlur()(image), from_pixels(expected))
    assert not torch.equal(GaussianBlur(2.0)(noise(3, 20, 20)), GaussianBlur()(noise(3, 20, 20)))


@pytest.mark.parametrize("degradation", [JPEG(), JPEG(95), JPEG(30)])
def test_jpeg_is_that_of_pillow(degradation):
    image, file = noise(3, 33, 50), io.BytesIO()
    Image.fromarray(pixels(image)).save(file, "JPEG", quality=degradation.quality)
    assert torch.equal(degradation(image), from_pixels(Image.open(file)))


def test_jpeg_is_of_quality_95_and_halves_the_chroma():
    image, file = noise(3, 32, 32), io.BytesIO()
    Image.fromarray(pixels(image)).save(file, "JPEG", quality=95, subsampling="4:2:0")
    assert torch.equal(JPEG()(image), from_pixels(Image.open(file)))


@EVERY_ONE
def test_degradations_survive_json(degradation):
    record = json.loads(json.dumps(degradation.to_dict()))
    assert record["degrade"] == NAMES[SIX.index(degradation)]
    assert degradation_from_dict(record) == degradation


def test_records_hold_the_parameters_by_name():
    assert SIX[0].to_dict() == {"degrade": "gaussian_noise", "scale": 8.5, "seed": 1}
    assert SIX[2].to_dict() == {"degrade": "poisson_noise", "rate": 8.5, "seed": 1}
    assert SIX[3].to_dict() == {"degrade": "motion_blur", "angle": 77.0, "direction": 0.3}
    assert SIX[4].to_dict() == {"degrade": "gaussian_blur", "sigma": 1.0}
    assert SIX[5].to_dict() == {"degrade": "jpeg", "quality": 95}


def test_reading_a_record_leaves_it_as_it_was():
    record = {"degrade": "jpeg", "quality": 95}
    degradation_from_dict(record)
    assert record == {"degrade": "jpeg", "quality": 95}


@pytest.mark.parametrize("record", [{}, {"degrade": "fog"}, {"filter": "moon"}])
def test_records_of_something_else_are_refused(record):
    with pytest.raises(ValueError, match=r"'degrade' must be one of gaussian_noise, .*jpeg, got"):
        degradation_from_dict(record)


def test_a_record_with_the_parameters_of_another_is_refused():
    with pytest.raises(ValueError, match="unknown field `scale`"):
        degradation_from_dict({"degrade": "jpeg", "scale": 3})


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_strengths_that_are_not_positive_are_refused(value):
    for kind in (GaussianNoise, LaplaceNoise):
        with pytest.raises(ValueError, match=r"'scale' must be positive, got "):
            kind(value, 0)
    with pytest.raises(ValueError, match=r"'rate' must be positive, got "):
        PoissonNoise(value, 0)
    with pytest.raises(ValueError, match=r"'sigma' must be positive, got "):
        GaussianBlur(value)


def test_strengths_that_would_take_all_memory_are_refused():
    with pytest.raises(ValueError, match=r"'sigma' must be at most 32, got 1000000000\.0"):
        GaussianBlur(1e9)
    with pytest.raises(ValueError, match=r"'scale' must be at most 255, got inf"):
        GaussianNoise(float("inf"), 0)
    with pytest.raises(ValueError, match=r"'angle' must be finite, got inf"):
        MotionBlur(float("inf"), 0.0)


@pytest.mark.parametrize("direction", [-1.01, 1.01])
def test_directions_beyond_one_are_refused(direction):
    with pytest.raises(ValueError, match=r"'direction' must lie in \[-1, 1\], got -?1.01."):
        MotionBlur(0.0, direction)
    assert MotionBlur(0.0, -1.0) != MotionBlur(0.0, 1.0)


@pytest.mark.parametrize("quality", [0, 101])
def test_qualities_that_jpeg_does_not_have_are_refused(quality):
    with pytest.raises(ValueError, match=r"'quality' must lie in \[1, 100\], got "):
        JPEG(quality)
    assert JPEG(1) != JPEG(100)


@EVERY_ONE
def test_images_that_are_not_8_bit_rgb_are_refused(degradation):
    with pytest.raises(TypeError, match="'image' must be 8-bit"):
        degradation(torch.rand(3, 4, 4))
    with pytest.raises(ValueError, match=r"'image' must have shape \(3, H, W\), got \(1, 3, 4"):
        degradation(noise(1, 3, 4, 4))


def test_draws_are_uniform_over_families_and_then_over_their_members():
    n = 18_000
    drawn = Counter(type(draw_degradation(make_rng(seed))) for seed in range(n))
    for kind, members in zip([type(one) for one in SIX], (3, 3, 3, 2, 2, 1), strict=True):
        p = 1 / 3 / members
        assert abs(drawn[kind] - n * p) < 4.5 * (n * p * (1 - p)) ** 0.5


def test_parameters_are_uniform_over_the_ranges_of_the_reference_code():
    drawn = [draw_degradation(make_rng(seed)) for seed in range(18_000)]
    blurs = [one for one in drawn if isinstance(one, MotionBlur)]
    for values, low, high in (
        ([one.scale for one in drawn if isinstance(one, GaussianNoise)], 8, 10),
        ([one.scale for one in drawn if isinstance(one, LaplaceNoise)], 8, 10),
        ([one.rate for one in drawn if isinstance(one, PoissonNoise)], 8, 10),
        ([one.angle for one in blurs], 0, 360),
        ([one.direction for one in blurs], -1, 1),
    ):
        deciles = np.quantile((np.array(values) - low) / (high - low), np.linspace(0, 1, 11))
        assert deciles == pytest.approx(np.linspace(0, 1, 11), abs=0.05)
        assert low <= min(values) < max(values) < high


def test_drawn_blurs_and_compressions_have_the_parameters_of_the_reference_code():
    drawn = {draw_degradation(make_rng(seed)) for seed in range(300)}
    assert {one for one in drawn if isinstance(one, (GaussianBlur, JPEG))} == {
        GaussianBlur(1.0),
        JPEG(95),
    }


def test_a_draw_takes_the_numbers_of_the_generator_in_order():
    def draw_from(*numbers):
        return draw_degradation(rng_of(numbers))

    assert draw_from(0.0, 0.4, 0.25, 0.5) == LaplaceNoise(8.5, 2**52)
    assert draw_from(0.3, 0.9, 0.75, 1 - 2**-53) == PoissonNoise(9.5, 2**53 - 1)
    assert draw_from(0.34, 0.4, 0.25, 0.75) == MotionBlur(90.0, 0.5)
    assert draw_from(0.6, 0.5) == GaussianBlur(1.0)
    assert draw_from(0.67) == JPEG(95)


def test_drawing_is_repeatable():
    rng = random.Random(4)
    assert draw_degradation(rng) == draw_degradation(make_rng(4))
