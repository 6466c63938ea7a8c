r"""What the colours of each piece of a picture are like: levels, spreads, how they go together.

Filters leave their mark there: lifted blacks, a narrower range, colours that fade or turn.

Data flow: `RGB, labels -> piece_statistics -> a row of numbers for each piece`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.backbones.superpixels import add_rows, mean_of_each

__all__ = ["STATISTICS", "borders", "piece_statistics"]

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
PAIRS = ((0, 1), (0, 2), (1, 2))
DARK, BRIGHT = 2.5 / 255, 252.5 / 255  # RGB below and above which a channel is at its end

STATISTICS = 87
"""How many numbers there are of each piece."""


def piece_statistics(rgb: Tensor, lab: Tensor, labels: Tensor, count: int) -> Tensor:
    r"""Statistics of each piece of pictures, and of each picture as a whole.

    They are, in this order: means of LAB; deviations, correlations and slopes of LAB and of RGB;
    how much of each channel of RGB is at 0 and at 1; mean and deviation of saturation; sharpness
    of LAB; place and extent; logarithm and root of the area; seven quantiles of each channel of
    RGB, of LAB and of saturation. They are taken of a quarter of the pixels, every second one in
    every second row.

    Args:
        rgb: The pictures, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.
        lab: The same in :data:`opmask.LAB`.
        labels: The number of the piece of each pixel, with shape :math:`(B, H, W)`.
        count: How many pieces :math:`n` there are.

    Returns:
        The statistics, with shape :math:`(B, n + 1, 87)`, those of the whole last; 0 of pieces
        that are empty.
    """
    around = F.avg_pool2d(F.pad(lab, (1, 1, 1, 1), mode="replicate"), 3, 1)
    sharpness, places = (lab - around).abs(), _place(rgb)
    rgb, lab, sharpness, places, labels = (
        x[..., ::2, ::2] for x in (rgb, lab, sharpness, places, labels)
    )
    saturation = rgb.amax(1, True) - rgb.amin(1, True)
    ends = torch.cat([rgb <= DARK, rgb >= BRIGHT], 1).to(rgb.dtype)
    planes = (rgb, _products(rgb), lab, _products(lab), ends, saturation, saturation.square())
    stacked = torch.cat([*planes, sharpness, places, places.square()], 1)
    means, sizes = mean_of_each(stacked, labels, count)
    means = torch.cat([means, stacked.mean((2, 3))[:, None]], 1)
    m_rgb, p_rgb, m_lab, p_lab, m_ends, m_sat, s_sat, m_sharp, m_place, s_place = means.split(
        (3, 6, 3, 6, 6, 1, 1, 3, 2, 2), -1
    )
    area = torch.cat([sizes / labels[0].numel(), torch.ones_like(sizes[:, :1])], 1)[..., None]
    channels = torch.cat([rgb, lab, saturation], 1)
    quantiles, some = _quantiles(channels, labels, sizes, count)
    found = torch.cat(
        [
            *(m_lab, _spread(m_lab, p_lab), _spread(m_rgb, p_rgb), m_ends, m_sat),
            *(_deviation(s_sat, m_sat), 10 * m_sharp, m_place, _deviation(s_place, m_place)),
            *(area.clamp_min(1e-4).log(), area.sqrt(), quantiles),
        ],
        -1,
    )
    return found * some[..., None]


def _products(x: Tensor) -> Tensor:
    """The squares of the channels, and the products of each two."""
    return torch.cat([x.square(), *(x[:, i : i + 1] * x[:, j : j + 1] for i, j in PAIRS)], 1)


def _place(like: Tensor) -> Tensor:
    """Row and column of each pixel, (B, 2, H, W), in [0, 1]."""
    height, width = like.shape[-2:]
    down, across = (
        (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n for n in (height, width)
    )
    grid = torch.stack(torch.meshgrid(down, across, indexing="ij"))
    return grid.expand(like.shape[0], -1, -1, -1)


def _deviation(square: Tensor, mean: Tensor) -> Tensor:
    return (square - mean.square()).clamp_min(0).sqrt()


def _spread(mean: Tensor, products: Tensor) -> Tensor:
    """Deviations, correlations, and slopes of one channel on another, of three channels."""
    deviation = _deviation(products[..., :3], mean)
    together = [
        products[..., 3 + k] - mean[..., i] * mean[..., j] for k, (i, j) in enumerate(PAIRS)
    ]
    correlations = [
        c / (deviation[..., i] * deviation[..., j] + 1e-4)
        for c, (i, j) in zip(together, PAIRS, strict=True)
    ]
    slopes = [
        c / (deviation[..., i].square() + 1e-4) for c, (i, _) in zip(together, PAIRS, strict=True)
    ]
    return torch.cat([deviation, torch.stack([*correlations, *slopes], -1)], -1)


def _quantiles(planes: Tensor, labels: Tensor, sizes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Quantiles of each piece and of the whole, (B, n + 1, 7 * C).

    Also where there are any, (B, n + 1).
    """
    batch, channels = planes.shape[:2]
    values, labels = planes.flatten(2), labels.flatten(1)
    # Sorted by piece first: 3 is more than any two values differ by.
    ordered = (values + 3 * labels[:, None]).sort(-1).values
    share = values.new_tensor(QUANTILES)
    first = sizes.cumsum(1) - sizes
    place = (first[..., None] + share * (sizes[..., None] - 1)).round()
    place = place.long().clamp(0, labels.shape[1] - 1)
    taken = ordered.gather(2, place.flatten(1)[:, None].expand(-1, channels, -1))
    number = torch.arange(count, device=planes.device)[:, None]
    each = taken.view(batch, channels, count, -1) - 3 * number
    last = (share * (values.shape[-1] - 1)).round().long()
    whole = values.sort(-1).values[:, :, None, last]
    some = torch.cat([sizes > 0, torch.ones_like(sizes[:, :1], dtype=torch.bool)], 1)
    return torch.cat([each, whole], 2).transpose(1, 2).flatten(2), some


def borders(lab: Tensor, labels: Tensor, count: int) -> Tensor:
    r"""What lies between each two pieces of a picture that touch.

    Args:
        lab: The picture in :data:`opmask.LAB`, with shape :math:`(B, 3, H, W)`.
        labels: The number of the piece of each pixel, with shape :math:`(B, H, W)`.
        count: How many pieces :math:`n` there are.

    Returns:
        For the pieces :math:`i` and :math:`j`, with shape :math:`(B, n, n, 5)`: how many pairs of
        neighbouring pixels lie one in each; by how much LAB is higher in :math:`i` than in
        :math:`j` there, on average; and the mean of the sum of these steps without their signs. 0
        where pieces do not touch.

    Example:
        >>> lab = torch.tensor([0.0, 0.2, 0.5]).expand(1, 3, 1, 3)
        >>> borders(lab, torch.tensor([[[0, 1, 1]]]), 2)[0, 1, 0].round(decimals=2)
        tensor([1.0000, 0.2000, 0.2000, 0.2000, 0.6000])
    """
    batch = labels.shape[0]
    first = torch.arange(batch, device=labels.device).view(-1, 1, 1) * count**2
    table = lab.new_zeros(batch * count**2, 5)
    below = labels[:, 1:], labels[:, :-1], lab[:, :, 1:] - lab[:, :, :-1]
    beside = labels[..., 1:], labels[..., :-1], lab[..., 1:] - lab[..., :-1]
    for one, other, step in below, beside:
        differs = (one != other).to(lab.dtype)[:, None]
        size = step.abs().sum(1, keepdim=True)
        for a, b, sign in (one, other, 1), (other, one, -1):
            values = torch.cat([torch.ones_like(size), sign * step, size], 1) * differs
            at = (first + a * count + b).flatten()
            table = add_rows(table, at, values.permute(0, 2, 3, 1).reshape(-1, 5))
    pairs = table.view(batch, count, count, 5)
    return torch.cat([pairs[..., :1], pairs[..., 1:] / pairs[..., :1].clamp_min(1)], -1)
