import pickle
import sys

import numpy as np
import pilgram
import pilgram.css
import pytest
import torch
from PIL import Image

from opmask.perturb import CSS_FILTERS, FILTERS, OTHER_FILTERS, Filter, apply_filter

EVERY_FILTER = FILTERS + OTHER_FILTERS
AMOUNTS = [
    *(("brightness", amount) for amount in (0, 0.7, 1, 1.3)),
    *(("contrast", amount) for amount in (0, 0.7, 1, 1.3)),
    *(("grayscale", amount) for amount in (0, 0.4, 1, 1.3)),
    *(("hue_rotate", amount) for amount in (-400, -30, 0, 90.5)),
    *(("saturate", amount) for amount in (0, 0.7, 1, 1.3)),
    *(("sepia", amount) for amount in (0, 0.4, 1, 1.3)),
]


def with_pilgram(array, name):
    """The answer of pilgram itself, for an 8-bit array (H, W, 3)."""
    function = pilgram._1977 if name == "1977" else getattr(pilgram, name)
    return torch.from_numpy(np.array(function(Image.fromarray(array))))


def with_pilgrams_css(image, name, *amount):
    """The answer of pilgram's filter of CSS, for an 8-bit image (3, H, W)."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    filtered = np.array(getattr(pilgram.css, name)(picture, *amount))
    return torch.from_numpy(filtered).permute(2, 0, 1)


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
def test_filters_equal_pilgram_on_noise(name):
    images = noise(2, 3, 17, 23)
    filtered = apply_filter(images, name)
    assert filtered.dtype == torch.uint8
    for image, result in zip(images, filtered, strict=True):
        expected = with_pilgram(image.permute(1, 2, 0).contiguous().numpy(), name)
        assert torch.equal(result.permute(1, 2, 0), expected)


@pytest.mark.parametrize("name", EVERY_FILTER)
def test_filters_equal_pilgram_on_a_photo(name, data_root):
    path = next(iter(sorted((data_root / "ade150_sample/images/validation").glob("*.jpg"))))
    array = np.array(Image.open(path).convert("RGB"))
    image = torch.from_numpy(array).permute(2, 0, 1)
    assert torch.equal(Filter(name)(image).permute(1, 2, 0), with_pilgram(array, name))


@pytest.mark.parametrize("name", EVERY_FILTER)
def test_filters_change_the_image(name):
    image = noise(3, 8, 8)
    assert not torch.equal(Filter(name)(image), image)


def test_the_filters_of_css_are_pilgrams():
    assert list(CSS_FILTERS) == sorted(pilgram.css.__all__)


@pytest.mark.parametrize(("name", "amount"), AMOUNTS)
def test_filters_of_css_equal_pilgram_at_any_amount(name, amount):
    images = noise(2, 3, 17, 23)
    for image, result in zip(images, apply_filter(images, name, amount), strict=True):
        assert torch.equal(result, with_pilgrams_css(image, name, amount))


@pytest.mark.parametrize("name", CSS_FILTERS)
def test_without_an_amount_filters_of_css_take_pilgrams(name):
    image = noise(3, 17, 23)
    assert torch.equal(Filter(name)(image), with_pilgrams_css(image, name))


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
    assert Filter("moon").to_record() == {"filter": "moon"}
    assert Filter("sepia", 0.0).to_record() == {"filter": "sepia", "amount": 0.0}


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


def test_float_images_are_refused():
    with pytest.raises(TypeError, match=r"'images' must be 8-bit .*got torch.float32. Pass the 8"):
        apply_filter(torch.rand(1, 3, 4, 4), "moon")
    with pytest.raises(TypeError, match="'image' must be 8-bit"):
        Filter("moon")(torch.rand(3, 4, 4))


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4, 3), (1, 1, 4, 4), (1, 1, 3, 4, 4)])
def test_batches_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"'images' must have shape \(B, 3, H, W\), got \("):
        apply_filter(noise(*shape), "moon")


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (1, 3, 4, 4)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"'image' must have shape \(3, H, W\), got \("):
        Filter("moon")(noise(*shape))


def test_without_pilgram_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pilgram", None)
    with pytest.raises(ImportError, match=r"need pilgram. .*pip install opmask\[train\]"):
        Filter("moon")(noise(3, 4, 4))
