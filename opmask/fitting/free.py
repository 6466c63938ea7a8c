r"""The solver of :func:`opmask.fit_masks` without regions: masks that are free at every pixel.

Masks are found at a coarse resolution first, then at finer ones. At each, steps of Gauss and
Newton are taken: the retoucher is made linear about the present masks, pixel by pixel, and
the total variation quadratic; conjugate gradients solve the linear system, which couples
neighbours. ``FreeProblem`` -> ``minimise`` -> masks.

References:
    | Nonlinear Total Variation Based Noise Removal Algorithms (Rudin, Osher and Fatemi, 1992)
    | An Algorithm for Least-Squares Estimation of Nonlinear Parameters (Marquardt, 1963)
    | Convergence of an Iterative Method for Total Variation Denoising (Dobson and Vogel, 1997)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.fitting.solver import SAME_COLOR, MaskBounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from opmask.retouch import Retoucher

RIDGE = 1e-3
"""The weight of the squared distance from the identity: enough that operators which could cancel
each other, as warming and desaturating do on wood, stay out of where nothing was done."""

COARSEST = 8
"""The long side of the coarsest masks, in mask pixels, at most."""

TOLERANCE, MAX_STEPS = 1e-2, 15
"""A resolution is done once a step takes less than this share off what is minimised, or after so
many steps."""

PATIENT_TOLERANCE, PATIENT_MAX_STEPS = 1e-3, 100
"""The same where masks act on neighbours. Slopes are rough there, and steps short."""

INVISIBLE_ERROR = 1e-9
"""What is minimised, in squared units of RGB, that is not worth a step."""

SOLVES = 30
"""How many conjugate gradients a step takes at most."""

ACCURACY = 1e-2
"""By which factor the residual of the linear system shrinks at least, if that takes less."""

DAMPING = 1e-3
"""The damping of the first step, as a share of the curvature."""

MOST_DAMPING = 1e6
"""The damping at which there is nothing more to be gained."""

ROUNDING = 1e-2
"""The jump between pixels, as a share of half the range, below which the total variation is
quadratic."""


class Linear(NamedTuple):
    """The retoucher about some masks, in units of half their ranges.

    Args:
        slope: The slopes of colours by masks, with shape (3, M, H, W).
        gradient: Half the gradient of the squared error by masks, with shape (M, h, w).
        error: The squared error of each pixel, with shape (H, W).
    """

    slope: Tensor
    gradient: Tensor
    error: Tensor


@dataclass(frozen=True)
class FreeProblem:
    """What is to be minimised, for masks of one resolution.

    Args:
        retoucher: What the masks are for.
        image: The image to change, with shape (1, 3, H, W), RGB in [0, 1].
        target: What it should become, with the shape and range of `image`.
        bounds: The ranges of the masks.
        smoothness: The weight of the total variation.
        size: The height and width of the masks.
        pixelwise: Whether what a pixel becomes depends on its own colour and masks alone.
    """

    retoucher: Retoucher
    image: Tensor
    target: Tensor
    bounds: MaskBounds
    smoothness: float
    size: tuple[int, int]
    pixelwise: bool = True

    @cached_property
    def weights(self) -> tuple[Tensor, Tensor]:
        """The linear interpolation of rows, (H, h), and of columns, (W, w)."""
        pairs = zip(self.image.shape[-2:], self.size, strict=True)
        down, across = (interpolation(full, small).to(self.image) for full, small in pairs)
        return down, across

    @property
    def step_size(self) -> float:
        """How many pixels lie between neighbouring values of a mask."""
        return (self.image[0, 0].numel() / (self.size[0] * self.size[1])) ** 0.5

    def enlarge(self, values: Tensor) -> Tensor:
        """From (..., h, w) to the size of the image."""
        if values.shape[-2:] == self.image.shape[-2:]:
            return values
        down, across = self.weights
        return down @ values @ across.T

    def gather(self, planes: Tensor) -> Tensor:
        """The transpose of `enlarge`."""
        if self.size == tuple(self.image.shape[-2:]):
            return planes
        down, across = self.weights
        return down.T @ planes @ across

    def masks(self, values: Tensor) -> Tensor:
        """Masks in operator units, (M, H, W), of values (M, h, w) in halves of their ranges."""
        b = self.bounds
        planes = self.enlarge(values) * b.scale[:, None, None] + b.identity[:, None, None]
        return torch.minimum(torch.maximum(planes, b.low[:, None, None]), b.high[:, None, None])

    def render(self, masks: Tensor) -> Tensor:
        """What masks (M, H, W) make of the image, (3, H, W)."""
        named = zip(self.retoucher.ranges, masks[:, None, None], strict=True)
        return self.retoucher(self.image, dict(named))[0]

    def clamp(self, values: Tensor) -> Tensor:
        """The values, put into their ranges."""
        b = self.bounds
        low, high = ((end - b.identity) / b.scale for end in (b.low, b.high))
        return torch.minimum(torch.maximum(values, low[:, None, None]), high[:, None, None])

    def penalty(self, values: Tensor) -> Tensor:
        """What values cost by themselves: their total variation, and the distance from 0."""
        jumps = variation(values).square().sum(0)
        rounded = (jumps + ROUNDING**2).sqrt() - ROUNDING
        area = self.step_size**2
        total = self.smoothness * self.step_size * rounded.sum()
        return total + RIDGE * area * values.square().sum()

    def error(self, values: Tensor) -> Tensor:
        """The squared error of each pixel, (H, W)."""
        return (self.render(self.masks(values)) - self.target[0]).square().sum(0)

    @torch.enable_grad()
    def linearise(self, values: Tensor) -> Linear:
        """The retoucher about some values."""
        masks = self.masks(values).detach().requires_grad_()
        output = self.render(masks)
        rest = output - self.target[0]
        scale = self.bounds.scale[:, None, None]
        (gradient,) = torch.autograd.grad(rest.square().sum() / 2, masks, retain_graph=True)
        # As in the solver for regions: one backward pass a channel gives the slopes at all
        # pixels, and where operators look at neighbours only the gradient is exact.
        slopes = [torch.autograd.grad(c.sum(), masks, retain_graph=True)[0] for c in output]
        clipped = (self.target[0] - 0.5).abs() > 0.5 - SAME_COLOR
        informative = ~(clipped & (rest.abs() < SAME_COLOR))
        slope = torch.stack(slopes) * scale * informative[:, None]
        rest = rest.detach()
        return Linear(slope, self.gather(gradient * scale), rest.square().sum(0))


def minimise(
    retoucher: Retoucher,
    image: Tensor,
    target: Tensor,
    bounds: MaskBounds,
    start: Tensor,
    smoothness: float,
    sizes: list[tuple[int, int]],
    pixelwise: bool,
) -> Tensor:
    """Masks (M, H, W) in operator units, from constants (M,), through masks of some sizes."""
    values = ((start - bounds.identity) / bounds.scale)[:, None, None]
    for size in sizes:
        problem = FreeProblem(retoucher, image, target, bounds, smoothness, size, pixelwise)
        values = F.interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
        values = refine(problem, values)
    return problem.masks(values)


@torch.no_grad()
def refine(problem: FreeProblem, values: Tensor) -> Tensor:
    """Better values of one resolution."""
    count = problem.image[0, 0].numel()
    tolerance, steps = TOLERANCE, MAX_STEPS
    if not problem.pixelwise:
        tolerance, steps = PATIENT_TOLERANCE, PATIENT_MAX_STEPS
    damping = torch.full_like(values[0], DAMPING)
    linear = problem.linearise(values)
    least = linear.error.sum() + problem.penalty(values)
    for _ in range(steps):
        if least < INVISIBLE_ERROR * count or damping.min() > MOST_DAMPING:
            break
        tried = problem.clamp(values + newton_step(problem, linear, values, damping))
        error = problem.error(tried)
        total = error.sum() + problem.penalty(tried)
        worse = (error > linear.error + INVISIBLE_ERROR)[None, None].to(values.dtype)
        worse = F.adaptive_max_pool2d(worse, problem.size)[0, 0] > 0
        if not total < least:  # nor where it is not a number
            damping = damping * torch.where(worse, 100.0, 10.0).to(damping)
            continue
        done = least - total < tolerance * least
        damping = damping * torch.where(worse, 10.0, 0.1).to(damping)
        values, least = tried, total
        if done:
            break
        linear = problem.linearise(values)
    return values


def newton_step(problem: FreeProblem, linear: Linear, values: Tensor, damping: Tensor) -> Tensor:
    """The step, (M, h, w), that Gauss and Newton would take, damped."""
    area, half = problem.step_size**2, problem.smoothness * problem.step_size / 2
    # The total variation as a quadratic form, with weights from the present jumps.
    weight = half / (variation(values).square().sum(0) + ROUNDING**2).sqrt()
    curvature = problem.gather(linear.slope.square().sum(0))
    own = RIDGE * area + damping * (curvature + curvature.mean())
    gradient = linear.gradient + RIDGE * area * values + divergence(weight * variation(values))
    free = ~held(problem, values, gradient)

    def curved(step: Tensor) -> Tensor:
        seen = (linear.slope * problem.enlarge(step)).sum(1, keepdim=True)
        data = problem.gather((linear.slope * seen).sum(0))
        return free * (data + own * step + divergence(weight * variation(step)))

    inverse = block_inverses(problem, linear, own + stiffness(weight), free)

    def conditioned(rest: Tensor) -> Tensor:
        return free * torch.einsum("hwkm,mhw->khw", inverse, rest)

    return conjugate_gradients(curved, conditioned, -gradient * free)


def held(problem: FreeProblem, values: Tensor, gradient: Tensor) -> Tensor:
    """Which values are at an end of their range, and would leave it."""
    ahead = problem.clamp(values - gradient.sign())
    return (ahead == values) & (gradient != 0)


def block_inverses(problem: FreeProblem, linear: Linear, own: Tensor, free: Tensor) -> Tensor:
    """The inverse of what the system is at each mask pixel by itself, (h, w, M, M)."""
    count = len(own)
    outer = torch.einsum("ckhw,cmhw->kmhw", linear.slope, linear.slope)
    blocks = problem.gather(outer) * (free[:, None] & free)
    blocks = blocks.permute(2, 3, 0, 1) + torch.diag_embed(own.permute(1, 2, 0))
    identity = torch.eye(count, dtype=own.dtype, device=own.device)
    return torch.cholesky_solve(identity.expand_as(blocks), torch.linalg.cholesky_ex(blocks)[0])


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor], conditioned: Callable[[Tensor], Tensor], rest: Tensor
) -> Tensor:
    """The solution of a linear system, roughly."""
    found = torch.zeros_like(rest)
    way = conditioned(rest)
    size = first = (rest * way).sum()
    for _ in range(SOLVES):
        if size <= ACCURACY**2 * first or size <= 0:
            break
        turned = apply(way)
        share = size / (way * turned).sum()
        found, rest = found + share * way, rest - share * turned
        better = conditioned(rest)
        size, before = (rest * better).sum(), size
        way = better + size / before * way
    return found


def variation(values: Tensor) -> Tensor:
    """The jumps to the next row and column, (2M, h, w), from (M, h, w); 0 at the far edges."""
    down = F.pad(values.diff(dim=-2), (0, 0, 0, 1))
    across = F.pad(values.diff(dim=-1), (0, 1))
    return torch.cat([down, across])


def divergence(jumps: Tensor) -> Tensor:
    """The transpose of `variation`."""
    down, across = jumps.chunk(2)
    down, across = down[..., :-1, :], across[..., :-1]
    lost = F.pad(down, (0, 0, 1, 0)) + F.pad(across, (1, 0))
    return lost - F.pad(down, (0, 0, 0, 1)) - F.pad(across, (0, 1))


def stiffness(weight: Tensor) -> Tensor:
    """The diagonal of the quadratic form with weights (h, w)."""
    down, across = weight[:-1], weight[:, :-1]
    rows = F.pad(down, (0, 0, 1, 0)) + F.pad(down, (0, 0, 0, 1))
    return rows + F.pad(across, (1, 0)) + F.pad(across, (0, 1))


def interpolation(full: int, small: int) -> Tensor:
    """The weights, (full, small), by which linear interpolation enlarges a line of values."""
    lines = torch.eye(small)[:, None]
    return F.interpolate(lines, full, mode="linear", align_corners=False)[:, 0].T.contiguous()


def mask_sizes(height: int, width: int, longest: int | None) -> list[tuple[int, int]]:
    """The sizes of masks, from the coarsest to those whose long side is at most `longest`."""
    full = max(height, width)
    sides = [full if longest is None else min(longest, full)]
    while sides[0] > COARSEST:
        sides.insert(0, -(-sides[0] // 2))
    return [(max(1, round(height * s / full)), max(1, round(width * s / full))) for s in sides]
