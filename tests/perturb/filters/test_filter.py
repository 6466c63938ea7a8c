import pickle
from itertools import islice

import numpy as np
import pilgram
import pilgram.css
import pytest
import torch
from PIL import Image

from opmask.perturb import CSS_FILTERS, FILTERS, OTHER_FILTERS, Filter, apply_filter

EVERY_FILTER = FILTERS + OTHER_FILTERS
FACTORS = (0, 0.37, 0.7, 1, 1.3, 2.5)
AMOUNTS = [
    *((name, factor) for name in CSS_FILTERS if name != "hue_rotate" for factor in FACTORS),
    *(("hue_rotate", degrees) for degrees in (-400, -10, 0, 90.5, 137, 400)),
]
SIZES = [(1, 1), (1, 2), (2, 1), (1, 9), (8, 1), (3, 3), (17, 23), (31, 31), (40, 27), (5, 120)]
PHOTOS = [
    "ade150_sample/images/*/*",
    "bsds/images/validation/*",
    "camvid/images/validation/*",
    "people/val_images/*",
    "scenes/images/validation/*",
]


def with_pilgram(array, name):
    """The answer of pilgram itself, for an 8-bit array (H, W, 3)."""
    function = pilgram._1977 if name == "1977" else getattr(pilgram, name)
    return to_tensor(function(Image.fromarray(array)))


def with_pilgrams_css(array, name, *amount):
    """The answer of pilgram's filter of CSS, for an 8-bit array (H, W, 3)."""
    return to_tensor(getattr(pilgram.css, name)(Image.fromarray(array), *amount))


def to_tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def check(array, name, *amount):
    """Ours equals pilgram's at every pixel."""
    ours = apply_filter(to_tensor(array)[None], name, *amount)[0]
    theirs = with_pilgrams_css if name in CSS_FILTERS else with_pilgram
    assert torch.equal(ours, theirs(array, name, *amount))


def random_array(height, width):
    return np.random.default_rng(height * 1000 + width).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


def lattice():
    """4096 colours, 17 levels apart."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3)


def every_color():
    """All colours, in 16 images: memory of their size is reused, that of larger ones is not."""
    for colors in np.arange(2**24).reshape(16, 1024, 1024):
        channels = np.stack([colors >> 16, (colors >> 8) & 255, colors & 255], -1)
        yield channels.astype(np.uint8)


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def test_there_are_the_papers_23_filters():
    assert len(set(FILTERS)) == 23
    assert FILTERS[0] == "1977"
    assert list(FILTERS) == sorted(FILTERS)
    assert not set(FILTERS) & {"aden", "perpetua", "toaster"}


def test_with_the_other_three_they_are_all_of_pilgrams():
    assert {name.lstrip("_") for name in pilgram.__all__ if name != "css"} >= set(EVERY_FILTER)
    assert len(EVERY_FILTER) == 26


@pytest.mark.parametrize("name", EVERY_FILTER)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_filters_equal_pilgram_at_any_size(name, size):
    check(random_array(*size), name)


@pytest.mark.parametrize("name", EVERY_FILTER)
def test_filters_equal_pilgram_on_colors_that_fill_the_cube(name):
    check(lattice(), name)
    check(random_array(201, 327), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_FILTER + CSS_FILTERS)
def test_filters_equal_pilgram_on_every_color(name):
    for image in every_color():
        check(image, name)


@pytest.mark.parametrize("name", EVERY_FILTER)
def test_each_image_of_a_batch_is_filtered_for_itself(name):
    images = noise(3, 3, 17, 23)
    for image, result in zip(images, apply_filter(images, name), strict=True):
        assert torch.equal(result, apply_filter(image[None], name)[0])


def test_filters_equal_pilgram_on_photos(data_root):
    paths = [path for kind in PHOTOS for path in islice(sorted(data_root.glob(kind)), 12)]
    assert len(paths) >= 50
    sizes = set()
    for path in paths:
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((320, 320))
        sizes.add(picture.size)
        for name in EVERY_FILTER:
            check(np.array(picture), name)
    assert len(sizes) >= 8


@pytest.mark.parametrize("name", EVERY_FILTER)
def test_filters_change_the_image(name):
    image = noise(3, 8, 8)
    assert not torch.equal(Filter(name)(image), image)


def test_the_filters_of_css_are_pilgrams():
    assert list(CSS_FILTERS) == sorted(pilgram.css.__all__)


@pytest.mark.parametrize(("name", "amount"), AMOUNTS)
def test_filters_of_css_equal_pilgram_at_any_amount(name, amount):
    check(lattice(), name, amount)
    check(random_array(101, 83), name, amount)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "amount"), AMOUNTS)
def test_filters_of_css_equal_pilgram_on_every_color(name, amount):
    for image in every_color():
        check(image, name, amount)


@pytest.mark.parametrize("name", CSS_FILTERS)
def test_without_an_amount_filters_of_css_take_pilgrams(name):
    check(random_array(17, 23), name)


@pytest.mark.parametrize("name", ["brightness", "contrast", "hue_rotate", "saturate"])
def test_without_an_amount_these_do_nothing(name):
    image = noise(3, 17, 23)
    assert torch.equal(Filter(name)(image), image)


def test_brightness_is_a_factor_in_closed_form():
    image = noise(3, 8, 8)
    expected = torch.from_numpy(np.round(image.numpy() * 0.3).astype(np.uint8))
    assert torch.equal(Filter("brightness", 0.3)(image), expected)


def test_a_filter_applies_its_amount():
    images = noise(2, 3, 8, 8)
    assert torch.equal(Filter("sepia", 0.4)(images[1]), apply_filter(images, "sepia", 0.4)[1])
    assert not torch.equal(Filter("sepia", 0.4)(images[1]), Filter("sepia")(images[1]))


def test_a_filter_is_recorded_with_its_amount():
    assert Filter("moon").to_dict() == {"filter": "moon"}
    assert Filter("sepia", 0.0).to_dict() == {"filter": "sepia", "amount": 0.0}


def test_a_filter_does_not_write_into_its_input():
    image = noise(3, 8, 8)
    before = image.clone()
    Filter("kelvin")(image)
    assert torch.equal(image, before)


def test_a_filter_accepts_any_memory_layout():
    image = noise(3, 8, 6)
    assert torch.equal(Filter("rise")(image.mT.contiguous().mT), Filter("rise")(image))


def test_a_filter_is_what_apply_filter_does():
    images = noise(2, 3, 8, 8)
    assert torch.equal(Filter("lofi")(images[1]), apply_filter(images, "lofi")[1])


def test_filters_compare_by_name_and_amount_and_pickle():
    assert pickle.loads(pickle.dumps(Filter("lark"))) == Filter("lark") != Filter("moon")
    assert len({Filter("lark"), Filter("lark")}) == 1
    assert Filter("sepia", 0.5) != Filter("sepia") != Filter("sepia", 0.6)


def test_a_misspelt_filter_is_refused_with_a_guess():
    with pytest.raises(
        ValueError, match=r"'name' must be that of a filter, got 'lofy'. Did you m"
    ):
        apply_filter(noise(1, 3, 4, 4), "lofy")
    with pytest.raises(ValueError, match=r"Did you mean 'kelvin'?"):
        Filter("kelvn")


def test_an_unknown_filter_is_refused_with_all_names():
    with pytest.raises(
        ValueError, match=r"got 'zzz'. There are 1977, .*, xpro2, aden, .*, brightness, "
    ):
        Filter("zzz")


@pytest.mark.parametrize("name", ["moon", "aden"])
def test_looks_refuse_an_amount(name):
    with pytest.raises(ValueError, match=f"'amount' must be None for filter '{name}', got 0.5"):
        apply_filter(noise(1, 3, 4, 4), name, 0.5)


@pytest.mark.parametrize("name", sorted({*CSS_FILTERS} - {"hue_rotate"}))
def test_negative_amounts_are_refused(name):
    with pytest.raises(
        ValueError, match=f"'amount' must be at least 0 for filter '{name}', got -"
    ):
        Filter(name, -0.01)


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -float("inf")])
def test_infinite_amounts_are_refused(amount):
    with pytest.raises(ValueError, match=f"'amount' must be finite, got {amount}"):
        Filter("hue_rotate", amount)


def test_an_amount_of_zero_is_refused_too():
    with pytest.raises(ValueError, match=r"'amount' must be None for filter 'moon', got 0.0"):
        apply_filter(noise(1, 3, 4, 4), "moon", amount=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float_images_are_rounded_to_8_bits_and_back(dtype):
    images = noise(2, 3, 5, 6)
    filtered = apply_filter(images.to(dtype) / 255 + 0.4 / 255 * (images < 255), "rise")
    assert filtered.dtype == dtype
    assert torch.equal(filtered, apply_filter(images, "rise").to(dtype) / 255)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_float_images_out_of_range_are_refused(value):
    images = torch.full((1, 3, 2, 2), 0.5)
    images[0, 1, 1, 0] = value
    with pytest.raises(ValueError, match=r"'images' must be in \[0, 1\], got .* to .*. Divide"):
        apply_filter(images, "moon")


def test_other_types_are_refused():
    with pytest.raises(TypeError, match=r"'images' must be 8-bit .*got torch.int64. Pass the 8"):
        apply_filter(noise(1, 3, 4, 4).long(), "moon")
    with pytest.raises(TypeError, match=r"'image' must be a tensor, got Image\. Of a file"):
        Filter("moon")(Image.new("RGB", (8, 8)))
    with pytest.raises(TypeError, match="'image' must be 8-bit"):
        Filter("moon")(torch.rand(3, 4, 4))


@pytest.mark.gpu
@pytest.mark.parametrize("name", EVERY_FILTER + CSS_FILTERS)
def test_filters_are_the_same_on_a_gpu(name):
    images = noise(2, 3, 61, 47)
    on_gpu = apply_filter(images.cuda(), name)
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), apply_filter(images, name))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4, 3), (1, 1, 4, 4), (1, 1, 3, 4, 4)])
def test_batches_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"'images' must have shape \(B, 3, H, W\), got \("):
        apply_filter(noise(*shape), "moon")


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (1, 3, 4, 4)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"'image' must have shape \(3, H, W\), got \("):
        Filter("moon")(noise(*shape))
