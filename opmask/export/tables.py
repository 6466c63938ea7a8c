r"""Colour tables in three dimensions, fitted to what happens to the colours of a photo.

A table holds a new colour for each point of a lattice of colours, red fastest, as ``.cube`` files
do. Between the points colours are interpolated in tetrahedra, as darktable and FFmpeg do by
default. (:class:`opmask.perturb.Cube` does so for 8-bit images alone.)

Data flow: `(colours before, after) -> fit_table -> table`, and
`(table, colours) -> look_up -> colours`.

References:
    | Color Space Conversion by Tetrahedral Interpolation (Sakamoto and Itooka, 1981)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["fit_table", "lattice", "look_up"]

SMOOTH = 0.1
"""What a difference of two neighbouring points' corrections counts, beside a pixel's error."""

TRUST = 1e-4
"""What a correction itself counts, so that points without pixels keep their first colour."""

ROUNDS = 30
"""The steps of conjugate gradients; more change no figure."""


def lattice(size: int) -> Tensor:
    r"""The colours at the points of a table.

    Args:
        size: The points :math:`n` along each axis.

    Returns:
        The colours, with shape :math:`(n^3, 3)`, in :math:`[0, 1]`, red fastest.

    Example:
        >>> lattice(2)[:3].tolist()
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    axis = torch.linspace(0, 1, size)
    return torch.cartesian_prod(axis, axis, axis).flip(1)


def look_up(table: Tensor, colors: Tensor) -> Tensor:
    r"""Looks up colours.

    Args:
        table: The table, with shape :math:`(n^3, 3)`.
        colors: The colours, with shape :math:`(P, 3)`, in :math:`[0, 1]`.

    Returns:
        The new colours, with the shape of `colors`.

    Example:
        >>> colors = torch.rand(5, 3)
        >>> torch.testing.assert_close(look_up(lattice(9), colors), colors)
    """
    return _interpolate(table, *_corners(colors, _size(table)))


def fit_table(start: Tensor, before: Tensor, after: Tensor, strength: Tensor) -> Tensor:
    r"""The table :math:`T` that comes nearest to a change of colours, by least squares.

    .. math:: \sum_p \lVert x_p + m_p (T(x_p) - x_p) - y_p \rVert^2

    Corrections of the first table are smooth, and small where there are no pixels.

    Args:
        start: The first table, with shape :math:`(n^3, 3)`.
        before: The colours :math:`x`, with shape :math:`(P, 3)`, in :math:`[0, 1]`.
        after: What became of them, :math:`y`, likewise.
        strength: How much of the table each gets, :math:`m`, with shape :math:`(P, 1)`, in
            :math:`[0, 1]`.

    Returns:
        The table, with shape :math:`(n^3, 3)`, in :math:`[0, 1]`.

    Example:
        >>> before = torch.rand(5000, 3)
        >>> table = fit_table(lattice(5), before, 0.9 * before, torch.ones(5000, 1))
        >>> bool((table - 0.9 * lattice(5)).abs().max() < 0.02)
        True
    """
    size = _size(start)
    index, weight = _corners(before, size)

    def gather(residual: Tensor) -> Tensor:
        shares = (residual * strength)[:, None] * weight[..., None]
        return torch.zeros_like(start).index_add_(0, index.flatten(), shares.flatten(0, 1))

    def apply(correction: Tensor) -> Tensor:
        seen = gather(strength * _interpolate(correction, index, weight))
        return seen + SMOOTH * _roughness(correction, size) + TRUST * correction

    wanted = after - before - strength * (_interpolate(start, index, weight) - before)
    return (start + _conjugate_gradients(apply, gather(wanted))).clamp(0, 1)


def _size(table: Tensor) -> int:
    return round(len(table) ** (1 / 3))


def _corners(colors: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The four points around each colour, and their weights, both of shape (P, 4)."""
    place = colors.clamp(0, 1) * (size - 1)
    cell = place.floor().clamp(max=size - 2)  # the last point closes the last cell
    fraction, order = (place - cell).sort(1, descending=True)
    steps = torch.tensor([1, size, size * size], device=colors.device)
    lowest = (cell.long() * steps).sum(1, keepdim=True)
    index = torch.cat([lowest, lowest + steps[order].cumsum(1)], 1)
    ends = torch.ones_like(fraction[:, :1]), fraction, torch.zeros_like(fraction[:, :1])
    return index, -torch.cat(ends, 1).diff(dim=1)


def _interpolate(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    return (table[index] * weight[..., None]).sum(1)


def _roughness(table: Tensor, size: int) -> Tensor:
    """The gradient of half the squared differences of neighbours."""
    grid = table.view(size, size, size, -1)
    result = torch.zeros_like(grid)
    for axis in range(3):
        difference = grid.diff(dim=axis)
        result.narrow(axis, 1, size - 1).add_(difference)
        result.narrow(axis, 0, size - 1).sub_(difference)
    return result.view_as(table)


def _conjugate_gradients(apply: Callable[[Tensor], Tensor], wanted: Tensor) -> Tensor:
    """Solves `apply(x) = wanted` for each of the three channels, from 0 on."""
    x, residual, direction = torch.zeros_like(wanted), wanted.clone(), wanted.clone()
    energy = residual.square().sum(0)
    for _ in range(ROUNDS):
        image = apply(direction)
        step = energy / (direction * image).sum(0).clamp(min=1e-30)
        x, residual = x + step * direction, residual - step * image
        before, energy = energy, residual.square().sum(0)
        direction = residual + energy / before.clamp(min=1e-30) * direction
    return x
