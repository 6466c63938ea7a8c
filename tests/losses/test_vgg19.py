import sys

import pytest
import torch
import torch.nn.functional as F

from opmask import LAB_CENTERED
from opmask.losses import VGG19Perceptual, vgg19_perceptual
from opmask.losses.trunks import build_trunk

RANDOM = {"weights": "random"}


def images(size=32):
    return torch.rand(2, 2, 3, size, size)


def conv5_4(image, state):
    """The layers of Simonyan and Zisserman's network E up to its last convolution."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    x = (image - mean) / std
    for index in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34):
        x = F.max_pool2d(x.relu(), 2) if index in (5, 10, 19, 28) else x.relu() if index else x
        x = F.conv2d(x, state[f"{index}.weight"], state[f"{index}.bias"], padding=1)
    return x


def test_each_image_equals_a_plain_re_derivation():
    x, y = images(48)
    state = dict(build_trunk("vgg19", "random").named_buffers())
    features = [conv5_4(image, state) for image in (x, y)]
    assert features[0].shape == (2, 512, 3, 3)
    assert features[0].min() < 0  # before the ReLU
    expected = (features[0] - features[1]).abs().mean((1, 2, 3))
    torch.testing.assert_close(vgg19_perceptual(x, y, **RANDOM, reduction="none"), expected)


def test_without_torchvision_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models.vgg", None)
    with pytest.raises(
        ImportError, match=r"on vgg19 needs torchvision\. .*pip install opmask\[tr"
    ):
        VGG19Perceptual(**RANDOM)


def test_equal_images_cost_nothing():
    x, _ = images()
    assert vgg19_perceptual(x, x, **RANDOM) == 0


@pytest.mark.parametrize("space", ["rgb", "lab"])
def test_the_gradient_reaches_the_prediction(space):
    x, y = images() if space == "rgb" else [LAB_CENTERED.from_rgb(image) for image in images()]
    x.requires_grad_()
    vgg19_perceptual(x, y, **RANDOM).backward()
    assert x.grad.isfinite().all()
    assert (x.grad != 0).float().mean() > 0.9


def test_swapped_arguments_leave_the_prediction_without_a_gradient_as_in_the_reference():
    prediction, real = images()
    prediction.requires_grad_()
    assert not vgg19_perceptual(real, prediction, **RANDOM).requires_grad


def test_lab_is_taken_as_it_is():
    # Neither shifted to [0, 1] nor converted: the reference code's configuration.
    lab = [LAB_CENTERED.from_rgb(image) for image in images()]
    state = dict(build_trunk("vgg19", "random").named_buffers())
    expected = F.l1_loss(*[conv5_4(image, state) for image in lab])
    torch.testing.assert_close(vgg19_perceptual(*lab, **RANDOM), expected)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_the_function_is_the_module(reduction):
    x, y = images()
    value = vgg19_perceptual(x, y, **RANDOM, reduction=reduction)
    torch.testing.assert_close(value, VGG19Perceptual(**RANDOM, reduction=reduction)(x, y))


def test_the_default_is_the_mean_over_the_images():
    x, y = images()
    each = VGG19Perceptual(**RANDOM, reduction="none")(x, y)
    for value in (vgg19_perceptual(x, y, **RANDOM), VGG19Perceptual(**RANDOM)(x, y)):
        torch.testing.assert_close(value, each.mean())


def test_nothing_is_trained_or_saved():
    loss = VGG19Perceptual(**RANDOM)
    assert (list(loss.parameters()), loss.state_dict()) == ([], {})


def test_autocast_changes_nothing():
    x, y = images()
    with torch.autocast("cpu", torch.bfloat16):
        value = vgg19_perceptual(x, y, **RANDOM)
    torch.testing.assert_close(value, vgg19_perceptual(x, y, **RANDOM), rtol=0, atol=0)


def test_the_precision_is_that_of_the_images_but_at_least_float32():
    x, y = images()
    assert vgg19_perceptual(x.bfloat16(), y.bfloat16(), **RANDOM).dtype == torch.float32
    assert vgg19_perceptual(x.double(), y.double(), **RANDOM).dtype == torch.float64
    assert VGG19Perceptual(**RANDOM)(x.double(), y.double()).dtype == torch.float32


def test_a_call_in_inference_mode_does_not_spoil_a_later_training_step(tmp_path):
    state = build_trunk("vgg19", "random").named_buffers()
    torch.save({f"features.{key}": value for key, value in state}, tmp_path / "own.pth")
    x, y = images()
    with torch.inference_mode():
        vgg19_perceptual(x, y, weights=tmp_path / "own.pth")
    vgg19_perceptual(x.requires_grad_(), y, weights=tmp_path / "own.pth").backward()
    assert x.grad.abs().max() > 0


def test_the_module_prints_its_settings():
    assert "weights='random', reduction='sum'" in repr(VGG19Perceptual(**RANDOM, reduction="sum"))


def test_missing_weights_say_which_file_to_put_where(torch_home):
    x, y = images()
    for call in (VGG19Perceptual, lambda: vgg19_perceptual(x, y)):
        with pytest.raises(FileNotFoundError, match=r"/models/vgg19-dcbb9e9d.pth and put it"):
            call()


def test_images_that_do_not_fit_are_refused():
    x, y = images(16)
    assert vgg19_perceptual(x, y, **RANDOM) > 0
    with pytest.raises(ValueError, match=r"'input' must be at least 16 pixels .* for vgg19"):
        vgg19_perceptual(x[..., 1:], y[..., 1:], **RANDOM)
    with pytest.raises(ValueError, match="'target' must have the shape of 'input'"):
        vgg19_perceptual(x, y[:1], **RANDOM)
    with pytest.raises(TypeError, match="Divide 8-bit images by 255"):
        vgg19_perceptual(x.byte(), y, **RANDOM)


def test_an_unknown_reduction_is_refused():
    for call in (VGG19Perceptual, lambda **settings: vgg19_perceptual(*images(), **settings)):
        with pytest.raises(ValueError, match=r"'none', 'mean' or 'sum', got 'max'"):
            call(**RANDOM, reduction="max")
