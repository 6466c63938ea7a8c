r"""The adversarial losses of the paper: is this image more real than the average of the others?

They take the discriminator's raw logits, of real images and of retouched ones, and are exactly
what the reference code executes::

    real, restored -> discriminator -> real_logits, fake_logits -> loss
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.losses._common import check_logits


def relativistic_generator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, eq_literal: bool = False
) -> Tensor:
    r"""The generator's side of the relativistic average loss.

    .. math:: \frac{1}{2} \left( \mathrm{bce}(r - \bar{f}, 0) + \mathrm{bce}(f - \bar{r}, 1)
              \right)

    The bars are means over the whole batch and all positions, and bce is the mean binary cross
    entropy of logits against a constant. The gradient reaches :math:`f`, through :math:`\bar{f}`
    as well, and not :math:`r`. The paper's weight of 0.005 is left to the caller.

    Args:
        real_logits: What the discriminator says of real images, :math:`r`, with shape
            :math:`(B, 1, H, W)` or any other, unbounded.
        fake_logits: What it says of retouched images, :math:`f`, with the shape of `real_logits`,
            unbounded.
        eq_literal: Whether to leave out the factor 1/2, which the paper's equation lacks and its
            code has.

    Returns:
        The loss, with shape :math:`()`: :math:`\ln 2` if all logits are equal.

    Raises:
        TypeError: If the logits are not floating point.
        ValueError: If the shapes differ.

    References:
        | The relativistic discriminator: a key element missing from standard GAN
          (Jolicoeur-Martineau, 2018)
        | https://arxiv.org/abs/1807.00734

    Example:
        >>> logits = torch.zeros(2, 1, 30, 30)
        >>> relativistic_generator_loss(logits, logits)
        tensor(0.6931)
    """
    check_logits(real_logits, fake_logits)
    real = real_logits.detach()
    loss = _bce(real - fake_logits.mean(), 0.0) + _bce(fake_logits - real.mean(), 1.0)
    return loss if eq_literal else loss / 2


def relativistic_discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, eq_literal: bool = False
) -> Tensor:
    r"""The discriminator's side of the relativistic average loss.

    .. math:: \frac{1}{2} \left( \mathrm{bce}(r - \bar{f}, 1) + \mathrm{bce}(f - \bar{r}, 0)
              \right)

    The gradient reaches :math:`r` and :math:`f`, but, as the reference code detaches the means,
    not through :math:`\bar{r}` and :math:`\bar{f}`. Detach the retouched *image* before the
    discriminator sees it, or the generator gets a gradient from this loss:
    `relativistic_discriminator_loss(d(real), d(restored.detach()))`.

    Args:
        real_logits: What the discriminator says of real images, :math:`r`, with shape
            :math:`(B, 1, H, W)` or any other, unbounded.
        fake_logits: What it says of retouched images, :math:`f`, with the shape of `real_logits`,
            unbounded.
        eq_literal: Whether to leave out the factor 1/2, which the paper's equation lacks and its
            code has.

    Returns:
        The loss, with shape :math:`()`: :math:`\ln 2` if all logits are equal.

    Raises:
        TypeError: If the logits are not floating point.
        ValueError: If the shapes differ.

    References:
        | The relativistic discriminator: a key element missing from standard GAN
          (Jolicoeur-Martineau, 2018)
        | https://arxiv.org/abs/1807.00734

    Example:
        >>> logits = torch.zeros(2, 1, 30, 30)
        >>> relativistic_discriminator_loss(logits + 4, logits)
        tensor(0.0181)
    """
    check_logits(real_logits, fake_logits)
    real_mean, fake_mean = real_logits.detach().mean(), fake_logits.detach().mean()
    loss = _bce(real_logits - fake_mean, 1.0) + _bce(fake_logits - real_mean, 0.0)
    return loss if eq_literal else loss / 2


class RelativisticGeneratorLoss(nn.Module):
    r"""The generator's loss as a module, see :func:`relativistic_generator_loss`.

    Args:
        eq_literal: Whether to leave out the factor 1/2.

    Example:
        >>> RelativisticGeneratorLoss()
        RelativisticGeneratorLoss(eq_literal=False)
    """

    def __init__(self, *, eq_literal: bool = False) -> None:
        super().__init__()
        self.eq_literal = eq_literal

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"eq_literal={self.eq_literal}"

    def forward(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The loss of a generator, as for :func:`relativistic_generator_loss`."""
        return relativistic_generator_loss(real_logits, fake_logits, eq_literal=self.eq_literal)


class RelativisticDiscriminatorLoss(nn.Module):
    r"""The discriminator's loss as a module, see :func:`relativistic_discriminator_loss`.

    Args:
        eq_literal: Whether to leave out the factor 1/2.

    Example:
        >>> RelativisticDiscriminatorLoss()
        RelativisticDiscriminatorLoss(eq_literal=False)
    """

    def __init__(self, *, eq_literal: bool = False) -> None:
        super().__init__()
        self.eq_literal = eq_literal

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"eq_literal={self.eq_literal}"

    def forward(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """The loss of these logits, as for :func:`relativistic_discriminator_loss`."""
        return relativistic_discriminator_loss(
            real_logits, fake_logits, eq_literal=self.eq_literal
        )


def _bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
