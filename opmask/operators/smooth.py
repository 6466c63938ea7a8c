r"""Smoothing on a coarse grid: what blurs, shadows and denoising share.

A photo is averaged onto a grid of few nodes, and spread back from there by smooth weights. Both
are products with small matrices: a wide blur costs no more than a narrow one, takes no memory
besides its result, and has gradients. Nodes lie a share of the image's shorter side apart, so that
a small copy of a photo is smoothed like the photo itself.

Data flow: `(B, C, H, W) -> Grid.means -> (B, C, h, w) -> Grid.spread -> (B, C, H, W)`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

__all__ = ["Grid", "centred", "guided", "nodes_of", "shorter_side"]


class Grid:
    r"""A coarse grid over the pixels of an image, with cubic B-splines on its nodes.

    The weights of a pixel are at least 0 and their sum is 1: constants stay as they are, and
    nothing leaves the range of what is smoothed. :math:`k` nodes on the shorter side smooth about
    like a Gaussian whose standard deviation is :math:`0.82 / k` of that side. Nodes never lie
    closer than pixels, so that the smallest standard deviation is 0.82 pixels. The grid is
    centred: a mirrored image has the mirrored result. At its borders the image goes on mirrored.

    Args:
        like: A tensor of the size, type and device of what is smoothed, :math:`(\dots, H, W)`.
        nodes: The number of nodes on the shorter side, at least 1.

    References:
        | Splines: A Perfect Fit for Signal and Image Processing (Unser, 1999)

    Example:
        >>> image = torch.rand(1, 3, 40, 60)
        >>> grid = Grid(image, nodes=4)
        >>> smoothed = grid.spread(grid.means(image))
        >>> bool(smoothed.std() < 0.2 * image.std())
        True
    """

    def __init__(self, like: Tensor, nodes: int) -> None:
        # Sizes may be symbols of torch.export here: no branch may depend on them.
        nodes = cast(int, torch.sym_min(nodes, shorter_side(like)))
        self.rows, self.columns = (_Side(like, side, nodes) for side in (-2, -1))

    def means(self, maps: Tensor) -> Tensor:
        """The weighted mean around each node, from (B, C, H, W) to (B, C, h, w)."""
        return self.rows.means.mT @ (maps @ self.columns.means)

    def spread(self, values: Tensor) -> Tensor:
        """A smooth map through the nodes, from (B, C, h, w) to (B, C, H, W)."""
        return self.rows.spread @ values @ self.columns.spread.mT


class _Side:
    """How much each pixel along a side belongs to each node, two matrices (size, nodes)."""

    def __init__(self, like: Tensor, side: int, nodes: int) -> None:
        size, short = like.shape[side], shorter_side(like)
        reach = size * nodes // (2 * short) + 2
        pixel, node = centred(size, like), centred(2 * reach + 1, like)
        # The image goes on mirrored at both ends, where the averages are taken.
        self.spread, before, after = (
            _spline(place[:, None] * (nodes / short) - node)
            for place in (pixel, -size - pixel, size - pixel)
        )
        folded = self.spread + before + after
        self.means = folded / folded.sum(0).clamp(min=1e-6)


def _spline(place: Tensor) -> Tensor:
    """The cubic B-spline, which is 2/3 at 0, and 0 from 2 on."""
    distance = place.abs()
    return ((2 - distance).clamp(min=0) ** 3 - 4 * (1 - distance).clamp(min=0) ** 3) / 6


def centred(count: int, like: Tensor) -> Tensor:
    """Numbers one apart, whose mean is 0, (count,), with the type and device of a tensor."""
    return torch.arange(count, dtype=like.dtype, device=like.device) - (count - 1) / 2


def shorter_side(like: Tensor) -> int:
    """The smaller of height and width, also where they are symbols of torch.export."""
    return cast(int, torch.sym_min(like.shape[-2], like.shape[-1]))


def guided(image: Tensor, grid: Grid, contrast: float) -> Tensor:
    r"""Smooths each channel where it varies little, and keeps its edges.

    .. math:: y = a\,x + b, \qquad a = \frac{\sigma^2}{\sigma^2 + \epsilon^2},
              \qquad b = (1 - a)\,\mu

    with the mean :math:`\mu` and the variance :math:`\sigma^2` around each node of the grid, and
    :math:`a` and :math:`b` spread from there.

    Args:
        image: The image :math:`x`, with shape :math:`(B, C, H, W)`.
        grid: The grid, which says how wide is averaged.
        contrast: The standard deviation :math:`\epsilon` at which half of the detail is kept, in
            units of the image.

    Returns:
        The smoothed image, with the shape of `image`.

    References:
        | Guided Image Filtering (He et al., 2010); Fast Guided Filter (He and Sun, 2015)

    Example:
        >>> image = torch.rand(1, 1, 32, 32)
        >>> flat, kept = (guided(image, Grid(image, 8), c).std() for c in (10.0, 0.01))
        >>> bool(flat < 0.1 < kept)
        True
    """
    # Less is rounded about 0: a variance is a small difference of squares.
    middle = image.mean((-2, -1), keepdim=True)
    centred = image - middle
    mean = grid.means(centred)
    variance = (grid.means(centred * centred) - mean * mean).clamp(min=0)
    kept = variance / (variance + contrast**2)
    return middle + grid.spread(kept) * centred + grid.spread((1 - kept) * mean)


def nodes_of(radius: float) -> int:
    """The nodes of the grid that smooths about like a Gaussian of that share of the side."""
    # Spreading and averaging by cubic B-splines have a variance of 1/3 each, in squared steps.
    return max(1, round(1 / (math.sqrt(3 / 2) * radius)))
