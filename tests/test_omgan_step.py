"""One step of the paper's adversarial training: who gets a gradient, and who must not."""

import pytest
import torch

from opmask import OperatorMaskWrapper
from opmask.backbones import AttentionUNet, SmallUNet
from opmask.discriminator import PatchDiscriminator
from opmask.losses import (
    charbonnier,
    lpips,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)


@pytest.fixture(params=["small", "attention"])
def step(request):
    if request.param == "small":
        return Step(SmallUNet(width=8))
    return Step(AttentionUNet(width=8, depth=5))


class Step:
    def __init__(self, backbone):
        self.model = OperatorMaskWrapper(backbone)
        self.discriminator = PatchDiscriminator(width=8)
        self.composite, self.real = torch.rand(2, 2, 3, 64, 64)

    def generator_loss(self):
        self.discriminator.requires_grad_(False)
        restored = self.model(self.composite).image
        real_logits, fake_logits = (self.discriminator(x) for x in (self.real, restored))
        loss = charbonnier(restored, self.real)
        loss = loss + lpips(restored, self.real, "alex", weights="random")
        return loss + 0.005 * relativistic_generator_loss(real_logits, fake_logits)

    def discriminator_loss(self):
        self.discriminator.requires_grad_(True)
        restored = self.model(self.composite).image.detach()
        real_logits, fake_logits = (self.discriminator(x) for x in (self.real, restored))
        return relativistic_discriminator_loss(real_logits, fake_logits)


def trainable(network):
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def assert_every_parameter_is_reached(network, loss):
    """A parameter may go without a gradient only if the loss does not depend on it.

    Such are the biases that a norm subtracts again, of instance norms in the discriminator and in
    the attention U-Net, of batch norms in the small one: their gradients are 0 but for rounding.
    """
    loss().backward()
    scale = max(p.grad.abs().max() for p in trainable(network).values())
    for name, parameter in trainable(network).items():
        assert parameter.grad.isfinite().all(), name
        if parameter.grad.abs().max() < 1e-5 * scale:
            assert name.endswith("bias"), name
            torch.testing.assert_close(changed(parameter, loss), loss(), rtol=0, atol=1e-5)


def changed(parameter, loss):
    """The loss with another value of that parameter."""
    value = parameter.data.clone()
    parameter.data.add_(torch.randn_like(value))
    other = loss()
    parameter.data.copy_(value)
    return other


def test_the_generators_step_reaches_every_parameter_of_the_generator_and_no_other(step):
    # The head starts at zero and passes nothing back: at first it alone learns.
    optimizer = torch.optim.SGD(trainable(step.model).values(), lr=1.0)
    step.generator_loss().backward()
    reached = [name for name, p in trainable(step.model).items() if p.grad.abs().max() > 0]
    assert reached
    assert all(name.startswith("head.") for name in reached)
    optimizer.step()
    optimizer.zero_grad()
    assert_every_parameter_is_reached(step.model, step.generator_loss)
    assert all(p.grad is None for p in step.discriminator.parameters())


def test_the_discriminators_step_reaches_every_parameter_of_it_and_no_other(step):
    assert_every_parameter_is_reached(step.discriminator, step.discriminator_loss)
    assert all(p.grad is None for p in step.model.parameters())


def test_the_adversarial_term_alone_reaches_the_generator(step):
    step.discriminator.requires_grad_(False)
    logits = [step.discriminator(x) for x in (step.real, step.model(step.composite).image)]
    relativistic_generator_loss(*logits).backward()
    assert step.model.head.layer.weight.grad.abs().max() > 0
