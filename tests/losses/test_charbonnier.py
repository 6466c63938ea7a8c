import math

import pytest
import torch

from opmask.losses import Charbonnier, charbonnier

REAL = torch.full((2, 3, 4, 5), 0.5)


def test_the_loss_of_a_right_triangle_is_its_hypotenuse():
    # 0.05, 0.12, 0.13 is the triangle of 5, 12, 13, so this also pins the default eps.
    torch.testing.assert_close(charbonnier(REAL + 0.12, REAL), torch.tensor(0.13))


def test_errors_of_either_sign_cost_the_same():
    torch.testing.assert_close(charbonnier(REAL - 0.12, REAL), charbonnier(REAL + 0.12, REAL))


def test_equal_images_cost_eps():
    torch.testing.assert_close(charbonnier(REAL, REAL, eps=0.3), torch.tensor(0.3))


def test_large_errors_cost_as_much_as_in_l1():
    loss = charbonnier(REAL + 7, REAL, eps=1e-6)
    torch.testing.assert_close(loss, torch.tensor(7.0))


def test_each_element_equals_a_plain_loop():
    x, y = torch.rand(2, 3, 2, 2), torch.rand(2, 3, 2, 2)
    loss = charbonnier(x, y, eps=0.2, reduction="none")
    pairs = zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
    expected = torch.tensor([math.sqrt((a - b) ** 2 + 0.2**2) for a, b in pairs])
    torch.testing.assert_close(loss, expected.reshape(x.shape))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_reduction_covers_all_elements(reduction):
    x, y = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    expected = getattr(charbonnier(x, y, reduction="none"), reduction)()
    torch.testing.assert_close(charbonnier(x, y, reduction=reduction), expected)


def test_the_default_is_the_mean():
    x, y = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(charbonnier(x, y), charbonnier(x, y, reduction="mean"))


def test_the_gradient_is_zero_at_equal_images():
    x = REAL.clone().requires_grad_()
    charbonnier(x, REAL, reduction="sum").backward()
    torch.testing.assert_close(x.grad, torch.zeros_like(REAL))


def test_the_gradient_points_away_from_the_target():
    x = (REAL + 0.12).requires_grad_()
    charbonnier(x, REAL, reduction="sum").backward()
    torch.testing.assert_close(x.grad, torch.full_like(REAL, 12 / 13))


def test_the_module_is_the_function_with_its_settings():
    x, y = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(Charbonnier()(x, y), charbonnier(x, y))
    expected = charbonnier(x, y, 0.3, "none")
    torch.testing.assert_close(Charbonnier(0.3, "none")(x, y), expected)


def test_the_module_prints_its_settings():
    assert repr(Charbonnier(0.1, "sum")) == "Charbonnier(eps=0.1, reduction='sum')"


def test_different_shapes_are_refused():
    match = r"'target' must have the shape of 'input', \(2, 3, 4, 5\), got \(1, 3, 4, 5\)"
    with pytest.raises(ValueError, match=match):
        charbonnier(REAL, REAL[:1])


def test_8_bit_images_are_refused():
    image = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"'input' must be .* got torch.uint8. Divide .* by 255"):
        charbonnier(image, image)
    with pytest.raises(TypeError, match=r"'target' must be .* got torch.uint8"):
        charbonnier(image.float(), image)


@pytest.mark.parametrize("eps", [0.0, -0.1, math.nan])
def test_an_eps_that_is_not_positive_is_refused(eps):
    for call in (lambda: charbonnier(REAL, REAL, eps), lambda: Charbonnier(eps)):
        with pytest.raises(ValueError, match=f"'eps' must be positive, got {eps}"):
            call()


def test_an_unknown_reduction_is_refused():
    for call in (lambda: charbonnier(REAL, REAL, 0.1, "max"), lambda: Charbonnier(0.1, "max")):
        with pytest.raises(ValueError, match=r"'none', 'mean' or 'sum', got 'max'"):
            call()
