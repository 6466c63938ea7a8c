r"""The losses of BargainNet on codes of a look: whose should be near to whose.

Data flow: `image, region -> extractor -> code (B, C)`, of four areas, and
`real, restored, composite, background -> domain_triplet_loss -> loss`.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from opmask.losses._common import check_positive


def domain_triplet_loss(
    real: Tensor, restored: Tensor, composite: Tensor, background: Tensor, margin: float = 0.1
) -> Tensor:
    r"""Two triplets: the restored foreground looks like the real one, and like its background.

    .. math::
        t(a, p, n) = \operatorname{mean} \max(0, |a - p| - |a - n| + \alpha), \qquad
        t(c_r, c_h, c_c) + t(c_h, c_b, c_c)

    Each time the composite's foreground is the one to be far from. The paper has distances of
    whole codes. In the published code these have two more axes, of one element each, the distance
    is taken over the last one, and so each of the numbers of a code makes a triplet of its own.
    This is what its networks were trained with, and what happens here.

    Args:
        real: The codes :math:`c_r` of the real foregrounds, with shape :math:`(B, C)`, unbounded,
            as of :class:`opmask.backbones.DomainCodeExtractor`.
        restored: The codes :math:`c_h` of the restored foregrounds, likewise.
        composite: The codes :math:`c_c` of the foregrounds of the composites, likewise.
        background: The codes :math:`c_b` of the backgrounds, likewise.
        margin: How much nearer, :math:`\alpha`, is near enough.

    Returns:
        The loss, with shape :math:`()`: twice the margin if all codes are equal. The published
        weight of 0.01 is left to the caller.

    Raises:
        ValueError: If the shapes differ, or `margin` is not positive.

    References:
        | BargainNet: Background-Guided Domain Translation for Image Harmonization (Cong et al.,
          2021)
        | https://arxiv.org/abs/2009.09169

    Example:
        >>> import torch
        >>> from opmask.backbones import DomainCodeExtractor
        >>> extractor = DomainCodeExtractor(width=4)
        >>> images = torch.rand(3, 2, 3, 64, 64)
        >>> region = torch.zeros(2, 1, 64, 64)
        >>> region[..., 20:] = 1
        >>> codes = [extractor(image, region) for image in images]  # real, restored, composite
        >>> domain_triplet_loss(*codes, background=extractor(images[0], 1 - region)).shape
        torch.Size([])
        >>> domain_triplet_loss(*torch.zeros(4, 2, 16))
        tensor(0.2000)
    """
    check_positive("margin", margin)
    names = "restored", "composite", "background"
    for name, code in zip(names, (restored, composite, background), strict=True):
        if code.shape != real.shape:
            raise ValueError(
                f"'{name}' must have the shape of 'real', {tuple(real.shape)}, "
                f"got {tuple(code.shape)}."
            )
    triplet = partial(F.triplet_margin_loss, margin=margin)
    real, restored, composite, background = (
        code.unsqueeze(-1) for code in (real, restored, composite, background)
    )
    return triplet(real, restored, composite) + triplet(restored, background, composite)


class DomainTripletLoss(nn.Module):
    r"""The two triplets as a module, see :func:`domain_triplet_loss`.

    Args:
        margin: How much nearer is near enough.

    Raises:
        ValueError: If `margin` is not positive.

    Example:
        >>> DomainTripletLoss()
        DomainTripletLoss(margin=0.1)
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        check_positive("margin", margin)
        self.margin = margin

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"margin={self.margin}"

    def forward(
        self, real: Tensor, restored: Tensor, composite: Tensor, background: Tensor
    ) -> Tensor:
        """The loss of the codes of four areas, as for :func:`domain_triplet_loss`."""
        return domain_triplet_loss(real, restored, composite, background, self.margin)
