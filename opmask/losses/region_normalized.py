r"""The squared error per changed pixel.

Most pixels of a composite are right from the start. A plain mean over all of them makes a small
region count for almost nothing; dividing by the region's area instead makes every composite
count alike::

    restored, real, region -> region_normalized_mse -> loss
"""

from __future__ import annotations

from torch import Tensor, nn

from opmask.color import check_region
from opmask.losses._common import check_images, check_positive, check_reduction, reduce


def region_normalized_mse(
    input: Tensor,
    target: Tensor,
    region: Tensor,
    min_area: float = 100.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Squared error, divided by the area that had been changed.

    .. math:: \frac{\sum_{h,w} \frac{1}{C} \sum_c (x_{chw} - y_{chw})^2}
              {\max(\sum_{h,w} r_{hw}, A_{\min})}

    The sum runs over *all* pixels: an error outside of the region counts as well.

    Args:
        input: The predicted image :math:`x`, with shape :math:`(B, C, H, W)`, in :math:`[0, 1]`.
        target: The image :math:`y` to match, with the shape and range of `input`.
        region: The changed area :math:`r`, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`.
        min_area: The least area :math:`A_{\min}` to divide by, in pixels. It keeps a region of
            a few pixels, or none, from outweighing the rest of the batch.
        reduction: `"none"`, `"mean"` or `"sum"`, over the images of the batch.

    Returns:
        The loss, with shape :math:`()`, or :math:`(B)` if `reduction` is `"none"`.

    Raises:
        TypeError: If an image or the region is not floating point (the region may be bool).
        ValueError: If the shapes do not fit, `min_area` is not positive or `reduction` is
            unknown.

    References:
        | Foreground-aware Semantic Representations for Image Harmonization (Sofiiuk et al., 2021)
        | https://arxiv.org/abs/2006.00809

    Example:
        >>> import torch
        >>> real = torch.zeros(1, 3, 20, 20)
        >>> region = torch.zeros(1, 1, 20, 20)
        >>> region[..., :10] = 1
        >>> region_normalized_mse(real + 0.1 * region, real, region)
        tensor(0.0100)
    """
    check_images(input, target)
    check_positive("min_area", min_area)
    check_reduction(reduction)
    check_region(region, input, "input")
    # Averaged over the channels, as the authors' code does, so that the value is per pixel.
    error = (input - target).square().mean(dim=1).sum(dim=(1, 2))
    area = region.to(error.dtype).sum(dim=(1, 2, 3))
    return reduce(error / area.clamp(min=min_area), reduction)


class RegionNormalizedMSE(nn.Module):
    r"""Squared error per changed pixel as a module, see :func:`region_normalized_mse`.

    Args:
        min_area: The least area to divide by, in pixels.
        reduction: `"none"`, `"mean"` or `"sum"`, over the images of the batch.

    Raises:
        ValueError: If `min_area` is not positive or `reduction` is unknown.

    Example:
        >>> RegionNormalizedMSE()
        RegionNormalizedMSE(min_area=100.0, reduction='mean')
    """

    def __init__(self, min_area: float = 100.0, reduction: str = "mean") -> None:
        super().__init__()
        check_positive("min_area", min_area)
        check_reduction(reduction)
        self.min_area = min_area
        self.reduction = reduction

    def extra_repr(self) -> str:
        """The settings, for `print`."""
        return f"min_area={self.min_area}, reduction={self.reduction!r}"

    def forward(self, input: Tensor, target: Tensor, region: Tensor) -> Tensor:
        """The loss of `input` against `target`, as for :func:`region_normalized_mse`."""
        return region_normalized_mse(input, target, region, self.min_area, self.reduction)
