r"""Pieces of even colour that a picture is divided into, on any device, in a fixed number.

Data flow: `LAB (B, 3, H, W) -> superpixels -> labels (B, H, W) -> sums over each of them`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["add_rows", "feature_means", "mean_of_each", "places_of", "superpixels"]

ROUNDS = 3
FAR = 1e4  # from everything, as the centres of pieces beyond the border are


def superpixels(lab: Tensor, side: int) -> Tensor:
    r"""Divides pictures into superpixels: of about the same size, and each of even colour (SLIC).

    The centres start on a grid; each pixel belongs to the nearest of the nine around it, in colour
    and place: one cell of the grid is as far as 10 units of CIELAB.

    Args:
        lab: The pictures in :data:`opmask.LAB`, with shape :math:`(B, 3, H, W)`, height and width
            at least `side`.
        side: How many superpixels there are in a row and in a column.

    Returns:
        The number of the superpixel of each pixel, ``int64``, with shape :math:`(B, H, W)`, from 0
        to :math:`side^2 - 1`. Some may be empty, and many are in several parts.

    References:
        SLIC Superpixels Compared to State-of-the-Art Superpixel Methods (Achanta et al., 2012)

    Example:
        >>> lab = torch.zeros(1, 3, 8, 8)
        >>> lab[:, 0, :, 3:] = 1.0
        >>> superpixels(lab, 2)[0, 0]
        tensor([0, 0, 0, 1, 1, 1, 1, 1])
    """
    height, width = lab.shape[-2:]
    down, across = ((torch.arange(n, device=lab.device) + 0.5) / n * side for n in (height, width))
    place = torch.stack(torch.meshgrid(down, across, indexing="ij"))
    units = lab.new_tensor([10.0, 12.8, 12.8]).view(3, 1, 1)
    pixels = torch.cat([lab * units, place.to(lab.dtype).expand(lab.shape[0], -1, -1, -1)], 1)
    centers = F.adaptive_avg_pool2d(pixels, side)
    for _ in range(ROUNDS):
        labels = _nearest(pixels, centers)
        means, counts = mean_of_each(pixels, labels, side * side)
        filled = counts.view(-1, 1, side, side) > 0
        moved = means.transpose(1, 2).unflatten(2, (side, side))
        centers = torch.where(filled, moved, centers)
    return _nearest(pixels, centers)


def _nearest(pixels: Tensor, centers: Tensor) -> Tensor:
    """Which of the centres around the cell of each pixel is nearest, (B, H, W)."""
    height, width = pixels.shape[-2:]
    side = centers.shape[-1]
    row, column = (torch.arange(n, device=pixels.device) * side // n for n in (height, width))
    padded = F.pad(centers, (1, 1, 1, 1), value=FAR)
    best = torch.full_like(pixels[:, 0], torch.inf)
    labels = torch.zeros_like(best, dtype=torch.int64)
    for down in range(3):
        for across in range(3):
            there = padded[:, :, down : down + side, across : across + side]
            distance = (pixels - there[:, :, row][..., column]).square().sum(1)
            number = (row[:, None] + down - 1) * side + column + across - 1
            labels = torch.where(distance < best, number, labels)
            best = torch.minimum(best, distance)
    return labels


def mean_of_each(planes: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    r"""The means of planes over each piece of a picture.

    Args:
        planes: What is averaged, with shape :math:`(B, C, H, W)`.
        labels: The number of the piece of each pixel, with shape :math:`(B, H, W)`.
        count: How many pieces :math:`n` there are.

    Returns:
        The means, with shape :math:`(B, n, C)`, 0 of empty pieces; and how many pixels each piece
        has, with shape :math:`(B, n)`.
    """
    batch, channels = planes.shape[:2]
    flat = planes.flatten(2).transpose(1, 2).reshape(-1, channels)
    index = places_of(labels, count)
    sizes = add_rows(flat.new_zeros(batch * count, 1), index, flat.new_ones(flat.shape[0], 1))
    sums = add_rows(flat.new_zeros(batch * count, channels), index, flat)
    means = sums / sizes.clamp_min(1)
    return means.view(batch, count, channels), sizes.view(batch, count)


def feature_means(features: Tensor, labels: Tensor, count: int) -> Tensor:
    r"""The means over each piece of features at a smaller size.

    Args:
        features: The features, with shape :math:`(B, C, h, w)`.
        labels: The number of the piece of each pixel, with shape :math:`(B, H, W)`; pixels count
            for the feature that lies where they do.
        count: How many pieces :math:`n` there are.

    Returns:
        The means, with shape :math:`(B, n, C)`; 0 of empty pieces.
    """
    (batch, height, width), (h, w) = labels.shape, features.shape[-2:]
    row, column = (
        torch.arange(n, device=labels.device) * m // n for n, m in ((height, h), (width, w))
    )
    index = places_of(labels, count) * (h * w) + (row[:, None] * w + column).flatten().repeat(
        batch
    )
    table = features.new_zeros(batch * count * h * w, 1)
    table = add_rows(table, index, table.new_ones(index.shape[0], 1)).view(batch, count, h * w)
    shares = table / table.sum(-1, keepdim=True).clamp_min(1)
    return shares @ features.flatten(2).transpose(1, 2)


def add_rows(table: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """A table, (N, C), with rows, (M, C), added to those that the index, (M), names.

    It is not ``index_add``, because its export to ONNX is ``ScatterND``, which loses rows in ONNX
    Runtime when several threads add to the same one.
    """
    return table.scatter_add(0, index[:, None].expand_as(rows), rows)


def places_of(labels: Tensor, count: int) -> Tensor:
    """The places of the pieces of all pixels in a table of all pictures, (B * H * W)."""
    first = torch.arange(labels.shape[0], device=labels.device) * count
    return (labels.flatten(1) + first[:, None]).flatten()
