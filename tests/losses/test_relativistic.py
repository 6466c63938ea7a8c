import math

import pytest
import torch

from opmask.losses import (
    RelativisticDiscriminatorLoss,
    RelativisticGeneratorLoss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)

LOSSES = [relativistic_generator_loss, relativistic_discriminator_loss]


def pair(shape=(2, 1, 3, 4)):
    """Logits of real and of retouched images, far enough from each other to tell the sides."""
    real = 2 * torch.randn(shape, dtype=torch.float64) + 1
    fake = torch.randn(shape, dtype=torch.float64) - 0.5
    return real.requires_grad_(), fake.requires_grad_()


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def plain_bce(logits, label):
    values = [label * math.log(sigmoid(z)) + (1 - label) * math.log(sigmoid(-z)) for z in logits]
    return -sum(values) / len(values)


def plain_loss(real, fake, real_label):
    """The reference code's loss, value by value: real images against `real_label`."""
    r, f = real.flatten().tolist(), fake.flatten().tolist()
    real_mean, fake_mean = sum(r) / len(r), sum(f) / len(f)
    first = plain_bce([z - fake_mean for z in r], real_label)
    return (first + plain_bce([z - real_mean for z in f], 1 - real_label)) / 2


def plain_gradient(logits, other, label):
    """The gradient of half a bce term by its own logits, the mean of the others held fixed."""
    mean = sum(other) / len(other)
    return [(sigmoid(z - mean) - label) / len(logits) / 2 for z in logits]


def exact(value, expected):
    expected = torch.as_tensor(expected, dtype=torch.float64).reshape(value.shape)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("loss", "real_label"), list(zip(LOSSES, [0, 1], strict=True)))
def test_the_value_equals_a_plain_loop_over_batch_and_space(loss, real_label):
    real, fake = pair()
    exact(loss(real, fake), plain_loss(real, fake, real_label))


def test_the_generators_gradient_equals_a_plain_loop_also_through_the_mean():
    real, fake = pair()
    relativistic_generator_loss(real, fake).backward()
    r, f = real.flatten().tolist(), fake.flatten().tolist()
    # Each fake logit lowers every term of the real ones by a share of 1 / n of the mean.
    shared = -sum(plain_gradient(r, f, label=0)) / len(f)
    exact(fake.grad, [own + shared for own in plain_gradient(f, r, label=1)])


def test_the_generators_loss_gives_the_real_logits_no_gradient():
    real, fake = pair()
    relativistic_generator_loss(real, fake).backward()
    assert real.grad is None


def test_the_discriminators_gradients_equal_plain_loops_with_fixed_means():
    real, fake = pair()
    relativistic_discriminator_loss(real, fake).backward()
    r, f = real.flatten().tolist(), fake.flatten().tolist()
    exact(real.grad, plain_gradient(r, f, label=1))
    exact(fake.grad, plain_gradient(f, r, label=0))


@pytest.mark.parametrize("loss", LOSSES)
def test_logits_of_zero_cost_ln_2(loss):
    logits = torch.zeros(2, 1, 30, 30, dtype=torch.float64)
    exact(loss(logits, logits), math.log(2))


def test_both_sides_pull_in_opposite_directions():
    real, fake = torch.full((4,), 3.0), torch.full((4,), -3.0)
    assert relativistic_discriminator_loss(real, fake) < 0.01
    assert relativistic_generator_loss(real, fake) > 5


@pytest.mark.parametrize("loss", LOSSES)
def test_the_literal_equations_lack_the_halves_and_nothing_else(loss):
    real, fake = pair()
    exact(loss(real, fake, eq_literal=True), 2 * loss(real, fake).item())


@pytest.mark.parametrize("loss", LOSSES)
def test_logits_of_any_one_shape_are_accepted(loss):
    real, fake = pair((6,))
    grid = loss(real.reshape(2, 1, 3, 1), fake.reshape(2, 1, 3, 1))
    exact(loss(real, fake), grid.item())


@pytest.mark.parametrize(
    ("module", "loss"),
    [
        (RelativisticGeneratorLoss, relativistic_generator_loss),
        (RelativisticDiscriminatorLoss, relativistic_discriminator_loss),
    ],
)
def test_the_modules_are_the_functions_with_their_settings(module, loss):
    real, fake = pair()
    exact(module()(real, fake), loss(real, fake).item())
    exact(module(eq_literal=True)(real, fake), loss(real, fake, eq_literal=True).item())
    assert repr(module(eq_literal=True)) == f"{module.__name__}(eq_literal=True)"


@pytest.mark.parametrize("loss", LOSSES)
def test_logits_of_unequal_shape_are_refused_with_the_way_out(loss):
    match = r"'fake_logits' must have the shape of 'real_logits', \(2, 1\), got \(2, 2\). Show"
    with pytest.raises(ValueError, match=match):
        loss(torch.zeros(2, 1), torch.zeros(2, 2))


@pytest.mark.parametrize("loss", LOSSES)
def test_logits_that_are_not_floating_point_are_refused(loss):
    logits = torch.zeros(2, 1)
    with pytest.raises(TypeError, match=r"'real_logits' must be floating point, got torch.int64"):
        loss(logits.long(), logits)
    with pytest.raises(TypeError, match=r"'fake_logits' must be .* got torch.uint8. Pass what"):
        loss(logits, logits.byte())
