import subprocess
import sys

import pytest
import torch

from opmask.color.opencv import installed_opencv, opencv_if_equal, probe


def negative(image):
    return 255 - image


def negative_with_opencv(cv2, image):
    return torch.from_numpy(cv2.bitwise_not(image.numpy()))


@pytest.fixture(autouse=True)
def _tried_anew():
    opencv_if_equal.cache_clear()
    yield
    opencv_if_equal.cache_clear()


def test_opencv_is_used_where_it_gives_the_same_bits():
    assert opencv_if_equal(negative, negative_with_opencv) is installed_opencv() is not None


def test_an_opencv_that_rounds_otherwise_is_not_used():
    assert opencv_if_equal(negative, lambda cv2, image: image) is None


def test_opencv_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # which makes importing it fail
    assert installed_opencv() is None
    assert opencv_if_equal(negative, negative_with_opencv) is None


def test_it_is_tried_on_light_and_dark_colours():
    levels = probe()
    assert levels[:, ::2].max() < 16 < 240 < levels.max()


def test_the_rooms_that_use_opencv_do_not_import_it():
    code = "import sys, opmask.perturb, opmask.datasets; print('cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
