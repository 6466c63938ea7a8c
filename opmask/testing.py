r"""The operator contract as one public assertion, for operators that users write themselves.

Data flow: `Operator -> check_operator -> None`, or an `AssertionError` that says which rule was
broken. It uses :mod:`torch.testing` and :func:`torch.autograd.gradcheck`, in the operator's own
colour space.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from opmask.color import ColorSpace
from opmask.operators import MaskRange, Operator
from opmask.operators.base import got_instead

__all__ = ["check_operator"]


def check_operator(operator: Operator) -> None:
    r"""Checks that an operator keeps the contract on which the library relies.

    Checked are: space, names, ranges, gates and unit; shape, for images of any size; identity
    masks leave any image as it is, also colours out of gamut; dtype (float32 and float64) and
    finiteness over the whole range; no change in place; equal results for equal arguments; no
    effect of one image of a batch on another, nor, if the operator is pixelwise, of one pixel; no
    effect of masks beside where they are off their identity, unless the operator spreads them;
    every mask has an effect; gradients against finite differences; finite results and gradients
    for black, white, greys, pure colours and colours out of gamut, with masks at their identity
    and at the ends of their ranges; that `by_channel`, which compilers see, and a deep copy
    compute the same.

    Args:
        operator: The operator to check.

    Raises:
        AssertionError: If a rule is broken; the message names it.
        TypeError: If `operator` is no :class:`opmask.Operator`.

    Example:
        >>> import opmask
        >>> check_operator(opmask.Add(opmask.LAB))
    """
    if not isinstance(operator, Operator):
        raise TypeError(f"'operator' must be an opmask.Operator, {got_instead(operator)}")
    _check_declaration(operator)
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(2, 3, 6, 5, generator=generator, dtype=torch.float64)
    image = operator.space.from_rgb(rgb)
    mask = _random_masks(operator, generator, image)
    _check_identity(operator, image)
    _check_output(operator, image, mask)
    _check_twins(operator, image, mask)
    _check_independence(operator, image, mask)
    _check_gradients(operator, image, mask)
    _check_effects(operator, generator)
    _check_hard_colors(operator)


def _check_declaration(operator: Operator) -> None:
    assert "training" in vars(operator), "'__init__' must call super().__init__()"
    space = getattr(operator, "space", None)
    assert isinstance(space, ColorSpace), f"'space' must be an opmask.ColorSpace, got {space!r}"
    ranges = getattr(operator, "ranges", None)
    assert ranges, "'ranges' must name at least one mask"
    for name, mask_range in ranges.items():
        rule = f"'ranges' must map names to MaskRange, got {name!r}: {mask_range!r}"
        assert isinstance(name, str), rule
        assert isinstance(mask_range, MaskRange), rule
    strange = [gate for gate in operator.gates if gate not in ranges]
    assert not strange, f"'gates' must be drawn from {list(ranges)}, got {strange}"
    kinds = tuple(type(part) for part in operator.unit)
    assert kinds in ((float, str), (int, str)), (
        f"'unit' must be a number and a text, such as (100.0, '%'), got {operator.unit!r}"
    )


def _apply(operator: Callable[..., Tensor], image: Tensor, mask: Tensor) -> Tensor:
    """What an operator makes of an image, which must be another one."""
    kind = f"images of shape {tuple(image.shape)} and {image.dtype}"
    try:
        output = operator(image, mask)
    except Exception as error:
        raise AssertionError(f"{kind} must be accepted, got {error!r}") from error
    is_tensor = isinstance(output, Tensor)
    assert is_tensor, f"the result must be a tensor, got {type(output).__name__}"
    same = output.shape == image.shape
    assert same, f"shape must stay {tuple(image.shape)}, got {tuple(output.shape)}"
    return output


def _assert_close(
    output: Tensor,
    wanted: Tensor,
    rule: str,
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    torch.testing.assert_close(
        output, wanted, rtol=rtol, atol=atol, msg=lambda found: f"{rule}. {found}"
    )


def _bounds(r: MaskRange) -> tuple[float, float]:
    """The ends of a range, or what is 1 from the identity where it has none."""
    low = r.identity - 1 if math.isinf(r.low) else r.low
    return low, r.identity + 1 if math.isinf(r.high) else r.high


def _constant_masks(values: Sequence[float], image: Tensor) -> Tensor:
    shape = (image.shape[0], len(values), *image.shape[-2:])
    return image.new_tensor(values).view(1, -1, 1, 1).expand(shape).clone()


def _random_masks(operator: Operator, generator: torch.Generator, image: Tensor) -> Tensor:
    """Masks from all over their ranges, or within 1 of the identity where unbounded."""
    masks = []
    for r in operator.ranges.values():
        low, high = _bounds(r)
        shape = (image.shape[0], 1, *image.shape[-2:])
        share = torch.rand(shape, generator=generator, dtype=image.dtype)
        masks.append(low + (high - low) * (0.02 + 0.96 * share))
    return torch.cat(masks, 1)


def _check_identity(operator: Operator, image: Tensor) -> None:
    values = [r.identity for r in operator.ranges.values()]
    hard = _hard_colors(operator)
    for x, tolerance in ((image, 1e-6), (image[:, :, :1, :1], 1e-6), (hard, 1e-5)):
        output = _apply(operator, x.clone(), _constant_masks(values, x))
        rule = f"masks at their identity {values} must leave the image as it is"
        _assert_close(output, x, rule, rtol=tolerance, atol=tolerance)


def _check_output(operator: Operator, image: Tensor, mask: Tensor) -> None:
    for dtype in (torch.float32, torch.float64):
        x, m = image.to(dtype), mask.to(dtype)
        before = x.clone(), m.clone()
        y = _apply(operator, x, m)
        assert y.dtype == dtype, f"dtype must stay {dtype}, got {y.dtype}"
        assert y.isfinite().all(), "the result must be finite for masks within their range"
        assert torch.equal(x, before[0]), "the image must not be changed in place"
        assert torch.equal(m, before[1]), "the mask must not be changed in place"


def _check_twins(operator: Operator, image: Tensor, mask: Tensor) -> None:
    def by_channel(image: Tensor, mask: Tensor) -> Tensor:
        return torch.stack(operator.by_channel(image.unbind(1), mask.unbind(1)), 1)

    twins: dict[str, Callable[..., Tensor]] = {
        "equal arguments must give equal results": operator,
        "'by_channel' must compute what 'forward' does": by_channel,
        "a deep copy must act alike": copy.deepcopy(operator),
    }
    wanted = _apply(operator, image, mask)
    for rule, twin in twins.items():
        _assert_close(_apply(twin, image, mask), wanted, rule)


def _check_independence(operator: Operator, image: Tensor, mask: Tensor) -> None:
    output = _apply(operator, image, mask)
    pairs = zip(image.split(1), mask.split(1), strict=True)
    alone = torch.cat([_apply(operator, *pair) for pair in pairs])
    _assert_close(alone, output, "an image must not depend on the others of its batch")
    if operator.pixelwise:
        pixel = ..., slice(2, 3), slice(1, 2)
        rule = "with 'pixelwise' a pixel must not depend on its neighbours"
        _assert_close(_apply(operator, image[pixel], mask[pixel]), output[pixel], rule)
    if not operator.spreads:
        values = [r.identity for r in operator.ranges.values()]
        rest, rows, columns = _constant_masks(values, image), *map(torch.arange, image.shape[-2:])
        rule = "without 'spreads' a pixel whose own masks are at their identity must stay as it is"
        for left in (columns < 2, columns > 2, rows[:, None] < 2, rows[:, None] > 2):
            output = _apply(operator, image, torch.where(left, rest, mask))
            _assert_close(torch.where(left, output, image), image, rule, rtol=0, atol=1e-6)


def _check_gradients(operator: Operator, image: Tensor, mask: Tensor) -> None:
    inputs = (image[:1, :, :2, :2].clone(), mask[:1, :, :2, :2].clone())
    _apply(operator, *inputs)
    for tensor in inputs:
        tensor.requires_grad_()
    right = torch.autograd.gradcheck(operator, inputs, raise_exception=False)
    assert right, "gradients must agree with finite differences, for the image and every mask"


def _check_effects(operator: Operator, generator: torch.Generator) -> None:
    """Each mask must change something, somewhere between black and white."""
    rgb = torch.rand(1, 3, 32, 32, generator=generator, dtype=torch.float64)
    image = operator.space.from_rgb(rgb ** torch.arange(1, 9).repeat(4))
    mask = _random_masks(operator, generator, image).requires_grad_()
    change = operator(image, mask).square().sum()
    (slope,) = torch.autograd.grad(change, mask)
    idle = [n for n, s in zip(operator.ranges, slope[0], strict=True) if not s.any()]
    assert not idle, f"each mask must have an effect, but {idle} have none that gradients show"


HARD = [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (-0.5, 1.5, 0.3), (1.5, 1.5, 1.5)]
PURE = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (-0.5, -0.5, -0.5)]


def _hard_colors(operator: Operator) -> Tensor:
    """Where roots, quotients and angles may fail, (1, 3, 1, N), in the operator's space."""
    rgb = torch.tensor(HARD + PURE, dtype=torch.float32).T.reshape(1, 3, 1, -1)
    return operator.space.from_rgb(rgb)


def _check_hard_colors(operator: Operator) -> None:
    image, ranges = _hard_colors(operator), operator.ranges.values()
    ends = [_bounds(r) for r in ranges]
    for values in ([r.identity for r in ranges], *map(list, zip(*ends, strict=True))):
        x, m = (t.requires_grad_() for t in (image.clone(), _constant_masks(values, image)))
        y = operator(x, m)
        found = (y, *torch.autograd.grad(y.sum(), (x, m), materialize_grads=True))
        assert all(t.isfinite().all() for t in found), (
            "results and gradients must be finite for black, white, greys, pure colours and "
            f"colours out of gamut, with masks at {values}"
        )
