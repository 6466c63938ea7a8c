from dataclasses import FrozenInstanceError

import pytest

from opmask.datasets import BenchmarkConfig


def test_a_recipe_is_exact_and_of_native_size_unless_it_says_otherwise():
    assert BenchmarkConfig("LIP", "val") == BenchmarkConfig("LIP", "val", 0, "default", None, None)


def test_unknown_settings_are_refused():
    message = "'settings' must be one of default, lifelike, reference, reference-rgb, got 'best'"
    with pytest.raises(ValueError, match=message):
        BenchmarkConfig("LIP", "val", settings="best")


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_1_is_refused(size):
    assert BenchmarkConfig("LIP", "val", size=1).size == 1
    with pytest.raises(ValueError, match=f"'size' must be at least 1, got {size}"):
        BenchmarkConfig("LIP", "val", size=size)


@pytest.mark.parametrize("quality", [0, 101])
def test_what_is_no_jpeg_quality_is_refused(quality):
    with pytest.raises(ValueError, match=rf"'quality' must lie in \[1, 100\], got {quality}"):
        BenchmarkConfig("LIP", "val", recompression=quality)


def test_a_recipe_does_not_change():
    with pytest.raises(FrozenInstanceError):
        BenchmarkConfig("LIP", "val").seed = 1
