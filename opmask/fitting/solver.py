r"""The solver behind :func:`opmask.fit_masks`: a few constants for each of many regions.

All regions are fitted at once, and each drops out when it is done. Linear regression in the
operators' colour space comes first, and is good enough for most regions; the method of Levenberg
and Marquardt, in RGB, does the rest, for any operators. ``Problem`` -> ``minimise`` -> constants.

References:
    | An Algorithm for Least-Squares Estimation of Nonlinear Parameters (Marquardt, 1963)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from opmask.color import HLS, HSV

if TYPE_CHECKING:
    from opmask.fitting.together import Images
    from opmask.retouch.retoucher import Retoucher, Stage

MAX_STEPS = 10
"""How many steps are taken at most."""

TOLERANCE = 2e-2
"""A region is done once a step changes its error, or misses its forecast,
by this share at most."""

INVISIBLE_ERROR = 1e-9
"""An error, in squared units of RGB, that is not worth a step: 0.008 of an 8-bit level."""

SAME_COLOR = 1e-5
"""How close a colour is to white, black or its target that counts as equal."""

RIDGE = 1e-6
"""The weight of the squared distance from the identity beside the squared error in RGB."""

DAMPING = 1e-6
"""The damping of the first step, as a share of the curvature."""

DIFFERENCE_STEP = 1 / 1024
"""How far apart, as a share of half the range, two settings are from which a slope is taken."""

LINEARITY_TOLERANCE = 1e-3
"""How far operators that count as linear may be from it, in units of their colour space."""


@dataclass(frozen=True)
class MaskBounds:
    """What is known of the masks of a retoucher, each with shape (M,)."""

    identity: Tensor
    low: Tensor
    high: Tensor

    @property
    def scale(self) -> Tensor:
        """Half the width of each range; 1 if it has no end."""
        half = (self.high - self.low) / 2
        return torch.where(half.isfinite(), half, 1)

    def clamp(self, values: Tensor) -> Tensor:
        """The values, put into their ranges."""
        return torch.minimum(torch.maximum(values, self.low), self.high)

    def repeat(self, times: int) -> MaskBounds:
        """The same masks again and again."""
        return MaskBounds(*(end.repeat(times) for end in (self.identity, self.low, self.high)))


@dataclass(frozen=True)
class Problem:
    """What is to be minimised.

    Args:
        retoucher: What the constants are for.
        pixels: Pixels of each region, with shape (R, 3, P), RGB in [0, 1].
        target: What they should become, with the shape and range of `pixels`.
        weight: How much each counts, with shape (R, 1, P); the weights of a region sum to 1.
        bounds: The ranges of the masks.
        images: The images, if a pixel depends on more than its own colour and masks. All regions
            of an image are then a row, in the place of a region.
    """

    retoucher: Retoucher
    pixels: Tensor
    target: Tensor
    weight: Tensor
    bounds: MaskBounds
    images: Images | None = None

    def select(self, rows: Tensor) -> Problem:
        """The problem of some regions."""
        pixels, target, weight = self.pixels[rows], self.target[rows], self.weight[rows]
        images = self.images and self.images.select(rows)
        return replace(self, pixels=pixels, target=target, weight=weight, images=images)

    def masks(self, values: Tensor) -> Tensor:
        """Masks with constants (R, M): for the pixels, (R, M, 1, P), or for whole images."""
        if self.images is None:
            return values[:, :, None, None].expand(-1, -1, 1, self.pixels.shape[2])
        return self.images.masks(values)

    def render(self, masks: Tensor, clips: bool = True) -> Tensor:
        """What masks make of the pixels, (R, 3, P), in [0, 1] if it clips."""
        image = self.pixels[:, :, None] if self.images is None else self.images.image
        planes = dict(zip(self.retoucher.ranges, masks.split(1, 1), strict=True))
        output = (self.retoucher if clips else self.retoucher.unclipped)(image, planes)
        return output[:, :, 0] if self.images is None else self.images.pixels_of(output)

    def error(self, output: Tensor, values: Tensor) -> Tensor:
        """What is minimised, for each region, (R,)."""
        away = (values - self.bounds.identity) / self.bounds.scale
        squares = self.weight * (output - self.target) ** 2
        return squares.sum((1, 2)) + RIDGE * (away**2).sum(1)

    def error_of(self, values: Tensor) -> Tensor:
        """The error that constants (R, M) leave, (R,)."""
        return self.error(self.render(self.masks(values)), values)

    @torch.enable_grad()
    def gradient_and_hessian(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Half the gradient of the error, (R, M), and Gauss and Newton's Hessian, (R, M, M)."""
        values = values.detach().requires_grad_()
        masks = self.masks(values)
        output = self.render(masks)
        error = self.error(output, values).sum() / 2
        (gradient,) = torch.autograd.grad(error, values, retain_graph=True)
        slope = slopes_at(output, masks) if self.images is None else self.differences(values)
        # White that is to be white says nothing, however far beyond white it was pushed.
        clipped = (self.target - 0.5).abs() > 0.5 - SAME_COLOR
        informative = ~(clipped & ((output - self.target).abs() < SAME_COLOR))
        return gradient, self.hessian(slope, informative)

    @torch.no_grad()
    def differences(self, values: Tensor) -> Tensor:
        """The slopes of the colours by each constant, (R, M, 3P), one constant after the other."""
        bounds, start = self.bounds, self.render(self.masks(values), clips=False)
        # Towards the identity, which never leaves a range.
        ways = torch.where(values > bounds.identity, -1, 1) * bounds.scale
        slopes = []
        for k, way in enumerate(ways.unbind(1)):
            moved = values.clone()
            moved[:, k] += DIFFERENCE_STEP * way
            change = self.render(self.masks(moved), clips=False) - start
            slopes.append(change.flatten(1) / (DIFFERENCE_STEP * way[:, None]))
        return torch.stack(slopes, 1)

    def hessian(self, slope: Tensor, informative: Tensor | float = 1.0) -> Tensor:
        """Gauss and Newton's Hessian, (R, M, M), of slopes (R, M, 3P)."""
        weight = (self.weight * informative).expand_as(self.target).flatten(1)[:, None]
        return (slope * weight) @ slope.mT + torch.diag(RIDGE / self.bounds.scale**2)


def slopes_at(output: Tensor, masks: Tensor) -> Tensor:
    """Slopes of the colours of pixels (R, 3, P) by their own masks, (R, M, 3P)."""
    # Where they depend on no others, one backward pass gives those of a channel at all pixels.
    totals = [channel.sum() for channel in output.unbind(1)]
    planes = [torch.autograd.grad(total, masks, retain_graph=True)[0] for total in totals]
    return torch.cat([plane[:, :, 0] for plane in planes], 2)


def minimise(problem: Problem) -> Tensor:
    """The constants of each region, with shape (R, M)."""
    values, least, done = initial_values(problem)
    found, rows = values, torch.arange(len(values), device=values.device)
    damping = torch.full_like(least, DAMPING)
    for _ in range(MAX_STEPS):
        open_rows = (~done).nonzero().flatten()
        if not len(open_rows):
            break
        problem, rows = problem.select(open_rows), rows[open_rows]
        values, least, damping = values[open_rows], least[open_rows], damping[open_rows]
        tried, forecast = levenberg_marquardt_step(problem, values, least, damping)
        error = problem.error_of(tried)
        better = error < least
        # A short step is always forecast well, and tells nothing of how far it is yet to go.
        foreseen = better & (damping <= DAMPING) & ((error - forecast).abs() <= TOLERANCE * error)
        done = foreseen | ((error - least).abs() <= TOLERANCE * least) | (error < INVISIBLE_ERROR)
        values = torch.where(better[:, None], tried, values)
        least = torch.where(better, error, least)
        damping = torch.where(better, damping / 10, damping * 100)
        found = found.index_copy(0, rows, values)
    return found


def initial_values(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Where the steps begin: constants, their error, and whether that is the end of it."""
    values = problem.bounds.identity.repeat(len(problem.pixels), 1)
    least = problem.error(problem.pixels.clamp(0, 1), values)
    done = least <= INVISIBLE_ERROR
    stages = problem.retoucher.stages
    if problem.images is not None or len(stages) > 1:
        return values, least, done
    tried, forecast = linear_regression(problem, stages[0])  # type: ignore[arg-type]
    error = problem.error_of(tried)
    better = error < least
    done |= better & ((error - forecast).abs() <= TOLERANCE * error + INVISIBLE_ERROR)
    return torch.where(better[:, None], tried, values), torch.where(better, error, least), done


def linear_regression(problem: Problem, stage: Stage) -> tuple[Tensor, Tensor]:
    r"""Linear regression in the operators' colour space, (R, M), and the error it forecasts, (R,).

    .. math:: \min_m \lVert J_y (f(x, m) - y) \rVert^2

    with :math:`x`, :math:`y` and the operators' :math:`f` in that space. The slopes :math:`J_y` of
    its way back to RGB are taken at the target, so that differences count by how far they are
    seen, and an exact solution is found at once if :math:`f` is linear in its masks.
    """
    bounds, space = problem.bounds, stage.space
    ways = torch.cat([torch.zeros_like(bounds.scale)[None], torch.diag(bounds.scale)])
    settings = bounds.identity + torch.cat([DIFFERENCE_STEP * ways, bounds.scale[None] / 2])
    changed = _operate(stage, space.from_rgb(problem.pixels[:, :, None]), settings)
    columns, half_way = changed[:, 1:-1] - changed[:, :1], changed[:, -1] - changed[:, 0]
    target = space.from_rgb(problem.target[:, :, None])[:, None]
    away = changed[:, :1] - target
    if space in (HLS, HSV):
        hue = space.channels.index("h")
        away[:, :, hue] -= away[:, :, hue].round()  # the shorter way round
    moves = torch.cat([DIFFERENCE_STEP * away, columns], 1)
    seen = ((space.to_rgb(target + moves) - space.to_rgb(target)) / DIFFERENCE_STEP).flatten(2)
    rest, slope = seen[:, :1], seen[:, 1:] / bounds.scale[:, None]
    weight = problem.weight.expand_as(problem.target).flatten(1)[:, None]
    found = values = bounds.identity.repeat(len(slope), 1)
    hessian = problem.hessian(slope)
    for _ in range(2):  # the second time makes up for rounding, which one colour alone magnifies
        move = found - values
        gradient = (slope * weight * (rest + move[:, None] @ slope)).sum(2)
        found = solve_bounded(hessian, gradient + RIDGE * move / bounds.scale**2, found, bounds)
    output = problem.target + ((found - values)[:, None] @ slope + rest).view_as(problem.target)
    # Where operators are not linear, as a gate is not, slopes at the identity forecast nothing.
    curved = (columns.sum(1) / (2 * DIFFERENCE_STEP) - half_way).abs().amax((1, 2, 3))
    linear = curved < LINEARITY_TOLERANCE
    return found, torch.where(linear, problem.error(output, found), torch.inf)


def _operate(stage: Stage, image: Tensor, settings: Tensor) -> Tensor:
    """What constants (S, M) make of pixels (R, 3, 1, P) in the stage's space, (R, S, 3, 1, P)."""
    count, size = len(image), len(settings)
    masks = settings.repeat(count, 1)[:, :, None, None].expand(-1, -1, 1, image.shape[3])
    image, start = image.repeat_interleave(size, 0), 0
    for operator in stage.operators:
        end = start + len(operator.ranges)  # type: ignore[arg-type]
        image, start = operator(image, masks[:, start:end]), end
    return image.unflatten(0, (count, size))


def levenberg_marquardt_step(
    problem: Problem, values: Tensor, least: Tensor, damping: Tensor
) -> tuple[Tensor, Tensor]:
    """A step of Levenberg and Marquardt: new constants, (R, M), and the error forecast, (R,)."""
    gradient, hessian = problem.gradient_and_hessian(values)
    curvature = hessian.diagonal(dim1=1, dim2=2)
    damped = hessian + torch.diag_embed(damping[:, None] * curvature)
    tried = solve_bounded(damped, gradient, values, problem.bounds)
    move = (tried - values)[:, :, None]
    gain = move.mT @ (2 * gradient[:, :, None] + hessian @ move)
    return tried, least + gain[:, 0, 0]


def solve_bounded(hessian: Tensor, gradient: Tensor, values: Tensor, bounds: MaskBounds) -> Tensor:
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
