import pytest
import torch

from opmask.discriminator import DomainVerificationDiscriminator
from opmask.losses import (
    GradientPenalty,
    HingeDiscriminatorLoss,
    WassersteinGeneratorLoss,
    gradient_penalty,
    hinge_discriminator_loss,
    wasserstein_generator_loss,
)


def test_hinges_equal_a_plain_loop():
    real, fake = torch.randn(2, 3, 1, 4, 5, dtype=torch.double)
    wanted = [
        sum(max(0.0, 1 + sign * z) for z in logits.flatten().tolist()) / logits.numel()
        for sign, logits in ((-1, real), (1, fake))
    ]
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx(sum(wanted))


def test_logits_beyond_the_hinge_cost_nothing_and_pull_at_nothing():
    real, fake = torch.tensor([1.5]).requires_grad_(), torch.tensor([-1.5]).requires_grad_()
    loss = hinge_discriminator_loss(real, fake)
    loss.backward()
    assert loss == real.grad == fake.grad == 0


def test_the_generator_raises_the_mean():
    fake = torch.randn(2, 1, 3, 3, requires_grad=True)
    wasserstein_generator_loss(fake).backward()
    torch.testing.assert_close(fake.grad, torch.full_like(fake, -1 / 18))


@pytest.mark.parametrize("slope", [1.0, 4.0])
def test_a_plane_is_punished_for_its_slope(slope):
    real, fake = torch.rand(2, 3, 3, 8, 8)
    direction = torch.randn(3, 8, 8)
    direction *= slope / direction.norm()
    loss = gradient_penalty(lambda x: (x * direction).sum((1, 2, 3)), real, fake)
    torch.testing.assert_close(loss, torch.tensor(10 * (slope - 1) ** 2), rtol=1e-3, atol=1e-3)


def test_slopes_are_taken_between_the_images_each_at_a_place_of_its_own():
    seen = []
    real, fake = torch.ones(50, 3, 4, 4), torch.zeros(50, 3, 4, 4)
    gradient_penalty(lambda x: seen.append(x) or x.square().sum((1, 2, 3)), real, fake)
    places = seen[0].detach()
    assert (places.amin((1, 2, 3)) == places.amax((1, 2, 3))).all()
    assert 0 <= places.min() < 0.1
    assert 0.9 < places.max() <= 1


def test_the_penalty_reaches_the_discriminator_and_no_image():
    discriminator = DomainVerificationDiscriminator(width=2, depth=2)
    region = torch.ones(2, 1, 20, 20)
    region[..., 9:] = 0
    real, fake = (torch.rand(2, 3, 20, 20, requires_grad=True) for _ in range(2))
    gradient_penalty(lambda x: sum(discriminator(x, region)) / 2, real, fake).backward()
    assert real.grad is fake.grad is None
    weights = [m.parametrizations.weight.original for m in discriminator.modules()
               if hasattr(m, "parametrizations")]  # fmt: skip
    assert all(weight.grad.abs().max() > 0 for weight in weights)


def test_a_flat_discriminator_has_a_finite_gradient():
    height = torch.zeros(1, requires_grad=True)
    real, fake = torch.rand(2, 2, 3, 4, 4)
    loss = gradient_penalty(lambda x: height * x.sum((1, 2, 3)), real, fake)
    loss.backward()
    assert loss == 10
    assert height.grad.isfinite()


def test_the_modules_are_the_functions_with_their_settings():
    real, fake = torch.randn(2, 2, 1, 3, 3)
    assert HingeDiscriminatorLoss()(real, fake) == hinge_discriminator_loss(real, fake)
    assert WassersteinGeneratorLoss()(fake) == wasserstein_generator_loss(fake)
    assert GradientPenalty(2.0)(lambda x: 3 * x[:, 0, 0, 0], real, fake) == 8
    assert repr(GradientPenalty(2.0)) == "GradientPenalty(weight=2.0)"


def test_labels_and_unequal_shapes_are_refused():
    logits = torch.zeros(2, 1)
    with pytest.raises(TypeError, match="'real_logits' must be floating point"):
        hinge_discriminator_loss(logits.long(), logits)
    with pytest.raises(ValueError, match="'fake_logits' must have the shape of 'real_logits'"):
        hinge_discriminator_loss(logits, logits[:1])
    with pytest.raises(TypeError, match="'fake_logits' must be floating point"):
        wasserstein_generator_loss(logits.long())
    with pytest.raises(ValueError, match="'fake' must have the shape of 'real'"):
        gradient_penalty(lambda x: x, torch.rand(2, 3, 4, 4), torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match="'weight' must be positive, got -1"):
        GradientPenalty(-1)
