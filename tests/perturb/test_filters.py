import pickle
import sys

import numpy as np
import pilgram
import pytest
import torch
from PIL import Image

from opmask.perturb import FILTERS, Filter, apply_filter
from opmask.perturb.filters import OTHER_FILTERS

EVERY_FILTER = FILTERS + OTHER_FILTERS


def with_pilgram(array, name):
    """The answer of pilgram itself, for an 8-bit array (H, W, 3)."""
    function = pilgram._1977 if name == "1977" else getattr(pilgram, name)
    return torch.from_numpy(np.array(function(Image.fromarray(array))))


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


def test_filters_compare_by_name_and_pickle():
    assert pickle.loads(pickle.dumps(Filter("lark"))) == Filter("lark") != Filter("moon")
    assert len({Filter("lark"), Filter("lark")}) == 1


def test_a_misspelt_filter_is_refused_with_a_guess():
    with pytest.raises(
        ValueError, match=r"'name' must be that of a filter, got 'lofy'. Did you m"
    ):
        apply_filter(noise(1, 3, 4, 4), "lofy")
    with pytest.raises(ValueError, match=r"Did you mean 'kelvin'?"):
        Filter("kelvn")


def test_an_unknown_filter_is_refused_with_all_names():
    with pytest.raises(
        ValueError, match=r"got 'zzz'. There are 1977, .*, xpro2, aden, perpetua, "
    ):
        Filter("zzz")


def test_an_amount_is_refused():
    with pytest.raises(ValueError, match=r"'amount' must be None for filter 'moon', got 0.5"):
        apply_filter(noise(1, 3, 4, 4), "moon", 0.5)


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
