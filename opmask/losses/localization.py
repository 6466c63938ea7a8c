r"""The loss of networks that find the region, such as DIRL.

A map is compared with the region in three ways: pixel by pixel, window by window and as a whole::

    maps of a network, region -> localization_loss -> loss
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.color import check_region

WINDOW, DEVIATION = 11, 1.5
"""The side and the standard deviation of SSIM's Gaussian window, in pixels."""


def localization_loss(maps: Tensor | Sequence[Tensor], region: Tensor) -> Tensor:
    r"""Cross entropy, dissimilarity and missed overlap of a map of the region, or of several.

    .. math:: \sum_p \left( \operatorname{bce}(p, r) + 1 - \operatorname{SSIM}(p, r)
        + 1 - \frac{\sum p r}{\sum (p + r - p r)} \right)

    SSIM has a Gaussian window of 11 pixels beyond whose edge all is 0, the overlap is that of each
    image, and all are means over the batch. DIRL is trained on the sum over the region it finds
    and its five maps of attention.

    Args:
        maps: How likely each pixel is inside, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`;
            or several of those, such as those of :meth:`opmask.backbones.DIRL.maps`.
        region: The area :math:`r`, with the shape of a map, bool or in :math:`[0, 1]`.

    Returns:
        The loss, with shape :math:`()`, at least float32.

    Raises:
        TypeError: If a map or the region is not floating point (the region may be bool).
        ValueError: If there are no maps, or the shapes differ.

    References:
        | Inharmonious Region Localization (Liang et al., 2021)
          https://arxiv.org/abs/2104.09453
        | BASNet: Boundary-Aware Salient Object Detection (Qin et al., 2019)

    Example:
        >>> region = torch.zeros(1, 1, 16, 16)
        >>> region[..., :8] = 1
        >>> localization_loss(region, region)
        tensor(0.)
        >>> localization_loss([region, 0.5 + 0.0 * region], region)
        tensor(2.1403)
    """
    several = [maps] if isinstance(maps, Tensor) else [*maps]
    if not several:
        raise ValueError("'maps' must hold at least one map, got none.")
    for found in several:
        _check(found, region)
    # Half precision has no cross entropy, and squares lose too much there.
    with torch.autocast(region.device.type, enabled=False):
        return torch.stack([_single(found, region) for found in several]).sum()


def _check(found: Tensor, region: Tensor) -> None:
    if not found.is_floating_point():
        raise TypeError(f"'maps' must be floating point maps in [0, 1], got {found.dtype}.")
    if found.ndim != 4 or found.shape[1] != 1:
        raise ValueError(f"'maps' must have shape (B, 1, H, W), got {tuple(found.shape)}.")
    check_region(region, found, "map")


def _single(found: Tensor, region: Tensor) -> Tensor:
    p = found.to(torch.promote_types(found.dtype, torch.float32))
    r = region.to(p.dtype)
    both = (p * r).sum((1, 2, 3))
    either = (p + r).sum((1, 2, 3)) - both
    # The published code divides 0 by 0 where nothing is found of nothing.
    overlap = torch.where(either > 0, both / either.clamp_min(1e-12), 1.0)
    return F.binary_cross_entropy(p, r) + (1 - _ssim(p, r)) + (1 - overlap).mean()


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    place = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    bell = (-place.square() / (2 * DEVIATION**2)).exp()
    bell = bell / bell.sum()

    def mean(image: Tensor) -> Tensor:
        rows = F.conv2d(image, bell.view(1, 1, -1, 1), padding=(WINDOW // 2, 0))
        return F.conv2d(rows, bell.view(1, 1, 1, -1), padding=(0, WINDOW // 2))

    mx, my = mean(x), mean(y)
    vx, vy, covariance = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return (luminance * (2 * covariance + c2) / (vx + vy + c2)).mean()


class LocalizationLoss(nn.Module):
    r"""The loss of maps of the region as a module, see :func:`localization_loss`.

    Example:
        >>> LocalizationLoss()
        LocalizationLoss()
    """

    def forward(self, maps: Tensor | Sequence[Tensor], region: Tensor) -> Tensor:
        """The loss of `maps`, given the `region`, as for :func:`localization_loss`."""
        return localization_loss(maps, region)
