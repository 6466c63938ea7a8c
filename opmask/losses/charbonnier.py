r"""The pixel loss of the paper.

It compares the image that the retoucher made with the real image, everywhere and not only in
the changed region::

    restored, real -> charbonnier -> loss
"""

from __future__ import annotations

from torch import Tensor, nn

from opmask.losses._common import check_images, check_positive, check_reduction, reduce


def charbonnier(
    input: Tensor, target: Tensor, eps: float = 0.05, reduction: str = "mean"
) -> Tensor:
    r"""Charbonnier loss, a smooth L1.

    .. math:: \sqrt{(x - y)^2 + \epsilon^2}

    Args:
        input: The predicted image :math:`x`, with shape :math:`(B, C, H, W)`, in :math:`[0, 1]`.
        target: The image :math:`y` to match, with the shape and range of `input`.
        eps: The half-width :math:`\epsilon` of the quadratic zone, in image units. The paper's is
            1e-6, with which a network that starts at the identity stays there.
        reduction: `"none"`, `"mean"` or `"sum"`.

    Returns:
        The loss, with shape :math:`()`, or the shape of `input` if `reduction` is `"none"`.

    Raises:
        TypeError: If an image is not floating point.
        ValueError: If the shapes differ, `eps` is not positive or `reduction` is unknown.

    References:
        | Fast and Accurate Image Super-Resolution with Deep Laplacian Pyramid Networks
          (Lai et al., 2018)
        | https://arxiv.org/abs/1710.01992

    Example:
        >>> import torch
        >>> real = torch.zeros(1, 3, 4, 4)
        >>> charbonnier(real + 0.12, real)
        tensor(0.1300)
    """
    check_images(input, target)
    check_positive("eps", eps)
    check_reduction(reduction)
    return reduce(((input - target).square() + eps**2).sqrt(), reduction)


class Charbonnier(nn.Module):
    r"""Charbonnier loss as a module, see :func:`charbonnier`.

    Args:
        eps: The half-width of the quadratic zone, in image units.
        reduction: `"none"`, `"mean"` or `"sum"`.

    Raises:
        ValueError: If `eps` is not positive or `reduction` is unknown.

    Example:
        >>> Charbonnier(eps=0.1)
        Charbonnier(eps=0.1, reduction='mean')
    """

    def __init__(self, eps: float = 0.05, reduction: str = "mean") -> None:
        super().__init__()
        check_positive("eps", eps)
        check_reduction(reduction)
        self.eps = eps
        self.reduction = reduction

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"eps={self.eps}, reduction={self.reduction!r}"

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of `input` against `target`, as for :func:`charbonnier`."""
        return charbonnier(input, target, self.eps, self.reduction)
