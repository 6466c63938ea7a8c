r"""The regions of an image fitted together, for operators that look at neighbours.

Where such an operator acts, a mask of one region may change the colours of the next. So an image
with :math:`R` regions becomes one with :math:`R M` constants, and the solver treats it as it
treats a region: ``Problem`` of regions -> ``join`` -> ``Problem`` of images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from opmask.fitting.solver import Problem

__all__ = ["Images", "Together", "join"]


@dataclass(frozen=True)
class Images:
    """Whole images, whose masks are constant in each of their regions.

    Args:
        image: The images, with shape (I, 3, H, W), RGB in [0, 1].
        owner: The number of the region of each pixel within its image, from 1 on, with shape
            (I, H, W); 0 is outside of all.
        places: Where the chosen pixels are in each image, with shape (I, P).
        identity: The identities of the masks, with shape (M,).
    """

    image: Tensor
    owner: Tensor
    places: Tensor
    identity: Tensor

    def select(self, rows: Tensor) -> Images:
        """Some of the images."""
        return Images(self.image[rows], self.owner[rows], self.places[rows], self.identity)

    def masks(self, values: Tensor) -> Tensor:
        """Masks, (I, M, H, W), with constants (I, R * M), region by region."""
        count = len(self.identity)
        outside = self.identity.expand(len(values), 1, count)
        table = torch.cat([outside, values.unflatten(1, (-1, count))], 1)
        owner = self.owner.flatten(1)[..., None].expand(-1, -1, count)
        return table.gather(1, owner).mT.unflatten(2, self.owner.shape[1:])

    def pixels_of(self, planes: Tensor) -> Tensor:
        """The chosen pixels of planes (I, C, H, W), (I, C, P)."""
        return planes.flatten(2).gather(2, self.places[:, None].expand(-1, planes.shape[1], -1))


@dataclass(frozen=True)
class Together:
    """A problem of images, and where each region went.

    Args:
        problem: The problem; each row is an image.
        row: The row of each region, with shape (R,).
        rank: Its number within the row, from 0 on, likewise.
    """

    problem: Problem
    row: Tensor
    rank: Tensor

    def apart(self, found: Tensor) -> Tensor:
        """The constants of each region, (R, M), of those of images."""
        images = self.problem.images
        assert images is not None
        return found.unflatten(1, (-1, len(images.identity)))[self.row, self.rank]


def join(
    problem: Problem,
    composite: Tensor,
    real: Tensor,
    inside: Tensor,
    counts: Tensor,
    places: Tensor,
) -> Together:
    """Makes one problem of each image of the problem of its regions.

    Args:
        problem: The problem of each region by itself.
        composite: The images, with shape (B, 3, H, W), RGB in [0, 1].
        real: What they should become, likewise.
        inside: Where regions are in the flattened batch, one after the other.
        counts: The size of each region, with shape (R,).
        places: Where the chosen pixels of each are in the flattened batch, with shape (R, P).

    Returns:
        The problem of images.
    """
    size = composite[0, 0].numel()
    number = places[:, 0] // size
    shown, row, regions = number.unique_consecutive(return_inverse=True, return_counts=True)
    rank = torch.arange(len(row), device=row.device) - (regions.cumsum(0) - regions)[row]
    most = int(regions.max())

    def by_image(values: Tensor) -> Tensor:
        """From (R, P) to (I, most * P); what an image has fewer is 0."""
        table = values.new_zeros(len(shown), most, values.shape[1])
        table[row, rank] = values
        return table.flatten(1)

    owner = torch.zeros_like(composite[:, 0], dtype=torch.long)
    owner.view(-1)[inside] = (rank + 1).repeat_interleave(counts)
    bounds = problem.bounds
    images = Images(composite[shown], owner[shown], by_image(places % size), bounds.identity)
    joined = replace(
        problem,
        pixels=images.pixels_of(composite[shown]),
        target=images.pixels_of(real[shown]),
        weight=by_image(problem.weight[:, 0])[:, None],
        bounds=bounds.repeat(most),
        images=images,
    )
    return Together(joined, row, rank)
