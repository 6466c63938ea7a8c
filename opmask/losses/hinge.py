r"""The adversarial losses of DoveNet and RainNet: hinges, and a slope that should be 1.

They take the logits of a discriminator, of real images and of restored ones. A discriminator with
two heads, such as :class:`opmask.DomainVerificationDiscriminator`, has a loss of each::

    real, restored, region -> discriminator -> real_logits, fake_logits -> loss, of each head
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from opmask.losses._common import check_floating, check_images, check_logits, check_positive


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    r"""The discriminator's loss: logits should be 1 at least, or -1 at most.

    .. math:: \operatorname{mean} \max(0, 1 - r) + \operatorname{mean} \max(0, 1 + f)

    Detach the restored *image* before the discriminator sees it.

    Args:
        real_logits: What the discriminator says of real images, :math:`r`, with shape
            :math:`(B, 1, H, W)` or any other, unbounded.
        fake_logits: What it says of restored images, :math:`f`, with the shape of `real_logits`,
            unbounded.

    Returns:
        The loss, with shape :math:`()`: 2 if all logits are 0.

    Raises:
        TypeError: If the logits are not floating point.
        ValueError: If the shapes differ.

    References:
        | Geometric GAN (Lim and Ye, 2017)
        | https://arxiv.org/abs/1705.02894

    Example:
        >>> real, fake = torch.full((2, 1, 1, 1), 3.0), torch.zeros(2, 1, 1, 1)
        >>> hinge_discriminator_loss(real, fake)
        tensor(1.)

        Of a discriminator with two heads, as DoveNet's:

        >>> from opmask import DomainVerificationDiscriminator
        >>> discriminator = DomainVerificationDiscriminator(width=4, depth=4)
        >>> (real, restored), region = torch.rand(2, 1, 3, 64, 64), torch.ones(1, 1, 64, 64)
        >>> heads = discriminator(2 * real - 1, region), discriminator(2 * restored - 1, region)
        >>> sum(map(hinge_discriminator_loss, *heads)).shape
        torch.Size([])
    """
    check_logits(real_logits, fake_logits)
    return (1 - real_logits).relu().mean() + (1 + fake_logits).relu().mean()


def wasserstein_generator_loss(fake_logits: Tensor) -> Tensor:
    r"""The generator's loss: the less, the more real the discriminator finds its images.

    .. math:: -\operatorname{mean} f

    Args:
        fake_logits: What the discriminator says of restored images, :math:`f`, with shape
            :math:`(B, 1, H, W)` or any other, unbounded.

    Returns:
        The loss, with shape :math:`()`.

    Raises:
        TypeError: If the logits are not floating point.

    References:
        | Wasserstein GAN (Arjovsky et al., 2017)
        | https://arxiv.org/abs/1701.07875

    Example:
        >>> wasserstein_generator_loss(torch.full((2, 1, 1, 1), 0.5))
        tensor(-0.5000)
    """
    check_floating("fake_logits", fake_logits)
    return -fake_logits.mean()


def gradient_penalty(
    judge: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, weight: float = 10.0
) -> Tensor:
    r"""How far the slope of a discriminator is from 1, between real images and restored ones.

    .. math::
        \lambda \operatorname{mean} (\|\nabla D(u x + (1 - u) y)\|_2 - 1)^2,
        \qquad u \sim \mathcal{U}(0, 1)

    One number :math:`u` is drawn for each image, and the norm is that of the gradient of its
    logits' sum. The gradient of the loss reaches the discriminator alone. The slope is counted in
    the units of the images: DoveNet's are in :math:`[-1, 1]`.

    Args:
        judge: The discriminator :math:`D` as a function of images alone, to logits of any shape.
            DoveNet takes the mean of its two heads.
        real: Real images :math:`x`, with shape :math:`(B, C, H, W)`, in the range that the
            discriminator sees.
        fake: Restored images :math:`y`, with the shape and range of `real`.
        weight: The weight :math:`\lambda` of the loss.

    Returns:
        The loss, with shape :math:`()`.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If the shapes differ, or `weight` is not positive.

    References:
        | Improved Training of Wasserstein GANs (Gulrajani et al., 2017)
        | https://arxiv.org/abs/1704.00028

    Example:
        >>> real, restored = torch.rand(2, 1, 3, 64, 64)
        >>> gradient_penalty(lambda image: 3 * image[:, 0, 0, 0], real, restored)  # a slope of 3
        tensor(40.)

        The mean of two heads:

        >>> from opmask import DomainVerificationDiscriminator
        >>> discriminator = DomainVerificationDiscriminator(width=4, depth=4)
        >>> region = torch.ones(1, 1, 64, 64)
        >>> judge = lambda image: sum(discriminator(image, region)) / 2
        >>> gradient_penalty(judge, 2 * real - 1, 2 * restored - 1).shape
        torch.Size([])
    """
    check_images(real, fake, ("real", "fake"))
    check_positive("weight", weight)
    share = torch.rand_like(real[:, :1, :1, :1])
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(judge(between).sum(), between, create_graph=True)
    # The root of 0 has no derivative, so the published code adds the least of numbers.
    norm = (slope.flatten(1) + 1e-16).norm(dim=1)
    return weight * (norm - 1).square().mean()


class HingeDiscriminatorLoss(nn.Module):
    r"""The discriminator's loss as a module, see :func:`hinge_discriminator_loss`.

    Example:
        >>> HingeDiscriminatorLoss()
        HingeDiscriminatorLoss()
    """

    def forward(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The loss of these logits, as for :func:`hinge_discriminator_loss`."""
        return hinge_discriminator_loss(real_logits, fake_logits)


class WassersteinGeneratorLoss(nn.Module):
    r"""The generator's loss as a module, see :func:`wasserstein_generator_loss`.

    Example:
        >>> WassersteinGeneratorLoss()
        WassersteinGeneratorLoss()
    """

    def forward(self, fake_logits: Tensor) -> Tensor:
        """The loss of `fake_logits`, as for :func:`wasserstein_generator_loss`."""
        return wasserstein_generator_loss(fake_logits)


class GradientPenalty(nn.Module):
    r"""The penalty of slopes as a module, see :func:`gradient_penalty`.

    Args:
        weight: The weight of the loss.

    Raises:
        ValueError: If `weight` is not positive.

    Example:
        >>> GradientPenalty()
        GradientPenalty(weight=10.0)
    """

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        check_positive("weight", weight)
        self.weight = weight

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"weight={self.weight}"

    def forward(self, judge: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
        """The loss of a discriminator `judge`, as for :func:`gradient_penalty`."""
        return gradient_penalty(judge, real, fake, self.weight)
