r"""The solver behind :func:`opmask.perturb.fit_masks`: a few constants for each of many regions.

The regions are fitted at once, each with its own damping, by the method of Levenberg and
Marquardt. ``Problem`` -> ``minimise`` -> constants.

References:
    | An Algorithm for Least-Squares Estimation of Nonlinear Parameters (Marquardt, 1963)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

if TYPE_CHECKING:
    from opmask.retouch import Retoucher

STEPS = 10
"""How many steps are taken at most."""

GAIN = 1e-2
"""Steps end once none changes the error of a region by this share of it."""

UNSEEN = 1e-9
"""An error, in squared units of RGB, that is not worth a step: 0.008 of an 8-bit level."""

CLOSE = 1e-5
"""How close a colour is to white, black or its target that counts as equal."""

RIDGE = 1e-6
"""The weight of the squared distance from the identity beside the squared error in RGB."""


@dataclass(frozen=True)
class Bounds:
    """What is known of the masks of a retoucher, each with shape (M,)."""

    identity: Tensor
    low: Tensor
    high: Tensor

    @property
    def scale(self) -> Tensor:
        """Half of each range; 1 if it has no end."""
        half = (self.high - self.low) / 2
        return torch.where(half.isfinite(), half, 1)

    def clamp(self, values: Tensor) -> Tensor:
        """The values, put into their ranges."""
        return torch.minimum(torch.maximum(values, self.low), self.high)


@dataclass(frozen=True)
class Problem:
    """What is to be minimised.

    Args:
        retoucher: What the constants are for.
        image: The images that it changes, with shape (B, 3, H, W), RGB in [0, 1].
        owner: The number of the region of each pixel, from 1 on, with shape (B, H, W); 0 is
            outside of all.
        places: At which pixels of each region the error is taken, with shape (R, P), as places in
            the flattened batch.
        weight: How much each counts, with shape (R, 1, P); those of a region sum to 1.
        target: What they should become, with shape (R, 3, P), RGB in [0, 1].
        bounds: The ranges of the masks.
    """

    retoucher: Retoucher
    image: Tensor
    owner: Tensor
    places: Tensor
    weight: Tensor
    target: Tensor
    bounds: Bounds

    def render(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """What constants (R, M) give, (R, 3, P), and the masks that say so, (B, M, H, W)."""
        masks = torch.cat([self.bounds.identity[None], values])[self.owner].movedim(-1, 1)
        planes = dict(zip(self.retoucher.ranges, masks.split(1, 1), strict=True))
        return pixels_at(self.retoucher(self.image, planes), self.places), masks

    def error(self, output: Tensor, values: Tensor) -> Tensor:
        """What is minimised, for each region, (R,)."""
        away = (values - self.bounds.identity) / self.bounds.scale
        squares = self.weight * (output - self.target) ** 2
        return squares.sum((1, 2)) + RIDGE * (away**2).sum(1)

    @torch.enable_grad()
    def slopes(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Half the gradient of the error, (R, M), and Gauss and Newton's Hessian, (R, M, M)."""
        values = values.detach().requires_grad_()
        output, masks = self.render(values)
        error = self.error(output, values).sum() / 2
        (gradient,) = torch.autograd.grad(error, values, retain_graph=True)
        # The colour of a pixel depends on its own masks only, so that one backward pass gives the
        # slopes of a channel at all pixels. Where an operator looks at neighbours too they are
        # not exact; but the gradient is, and it decides where the steps end.
        slope = torch.cat([self._slope(channel.sum(), masks) for channel in output.unbind(1)], 2)
        # White that is to be white says nothing, however far beyond white it was pushed.
        clipped = (self.target - 0.5).abs() > 0.5 - CLOSE
        told = ~(clipped & ((output - self.target).abs() < CLOSE))
        hessian = (slope * (self.weight * told).flatten(1)[:, None]) @ slope.mT
        return gradient, hessian + torch.diag(RIDGE / self.bounds.scale**2)

    def _slope(self, total: Tensor, masks: Tensor) -> Tensor:
        return pixels_at(torch.autograd.grad(total, masks, retain_graph=True)[0], self.places)


def minimise(problem: Problem) -> Tensor:
    """The constants of each region, with shape (R, M)."""
    values = problem.bounds.identity.repeat(len(problem.places), 1)
    least = problem.error(problem.render(values)[0], values)
    damping = torch.full_like(least, 1e-6)
    for _ in range(STEPS):
        gradient, hessian = problem.slopes(values)
        curvature = hessian.diagonal(dim1=1, dim2=2)
        damped = hessian + torch.diag_embed(damping[:, None] * curvature)
        tried = solve_within(damped, gradient, values, problem.bounds)
        error = problem.error(problem.render(tried)[0], tried)
        settled = (error - least).abs() <= GAIN * least + UNSEEN
        better = error < least
        values = torch.where(better[:, None], tried, values)
        least = torch.where(better, error, least)
        damping = torch.where(better, damping / 10, damping * 100)
        if settled.all():
            break
    return values


def solve_within(hessian: Tensor, gradient: Tensor, values: Tensor, bounds: Bounds) -> Tensor:
    """Where a Newton step leads; of what leaves its range the worst is put on its bound first."""
    low, high, scale = bounds.low - values, bounds.high - values, bounds.scale
    step = torch.zeros_like(values)
    fixed = torch.zeros_like(values, dtype=torch.bool)
    for _ in range(values.shape[1] + 1):
        free = ~fixed[:, :, None] & ~fixed[:, None]
        system = torch.where(free, hessian, 0) + torch.diag_embed(fixed.to(values.dtype))
        known = torch.where(fixed, step, 0)
        rest = -gradient - (hessian @ known[..., None])[..., 0]
        step = torch.linalg.solve(system, torch.where(fixed, known, rest))
        within = torch.minimum(torch.maximum(step, low), high)
        beyond = (step - within).abs() / scale
        worst = one_hot(beyond.argmax(1), values.shape[1]).bool() & (beyond > 0)
        if not worst.any():
            break
        step, fixed = torch.where(worst, within, step), fixed | worst
    return bounds.clamp(values + step)


def pixels_at(images: Tensor, places: Tensor) -> Tensor:
    """The pixels at places of the flattened batch: (B, C, H, W), (R, P) -> (R, C, P)."""
    size = images[0, 0].numel()
    return images.flatten(2)[places // size, :, places % size].movedim(-1, 1)
