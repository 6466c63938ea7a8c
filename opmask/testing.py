r"""The operator contract as one public assertion, for operators that users write themselves.

Data flow: `Operator -> check_operator -> None`, or an `AssertionError` that says which rule was
broken. It uses :mod:`torch.testing` and :func:`torch.autograd.gradcheck`, in the operator's own
colour space.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from opmask.operators import MaskRange, Operator

__all__ = ["check_operator"]


def check_operator(operator: Operator) -> None:
    r"""Checks that an operator keeps the contract on which the library relies.

    Checked are: names and ranges; shape; identity masks leave any image as it is; dtype (float32
    and float64) and finiteness over the whole range; no change in place; no effect of one image of
    a batch on another, nor, if the operator is pixelwise, of one pixel; no effect of masks beside
    where they are off their identity, unless the operator spreads them; gradients against finite
    differences; finite results and gradients for black, white, greys, pure colours and colours out
    of gamut, with masks at their identity and at the ends of their ranges; that a deep copy
    computes the same.

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
        raise TypeError(f"'operator' must be an opmask.Operator, got {type(operator).__name__}.")
    _check_declaration(operator)
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(2, 3, 6, 5, generator=generator, dtype=torch.float64)
    image = operator.space.from_rgb(rgb)
    mask = _random_masks(operator, generator, image)
    _check_identity(operator, image)
    _check_output(operator, image, mask)
    _check_independence(operator, image, mask)
    _check_gradients(operator, image, mask)
    _check_hard_colors(operator)
    torch.testing.assert_close(
        copy.deepcopy(operator)(image, mask),
        operator(image, mask),
        msg="a deep copy must act alike",
    )


def _check_declaration(operator: Operator) -> None:
    ranges = getattr(operator, "ranges", None)
    assert ranges, "'ranges' must name at least one mask"
    for name, mask_range in ranges.items():
        rule = f"'ranges' must map names to MaskRange, got {name!r}: {mask_range!r}"
        assert isinstance(name, str), rule
        assert isinstance(mask_range, MaskRange), rule


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
    output = operator(image.clone(), _constant_masks(values, image))
    same = output.shape == image.shape
    assert same, f"shape must stay {tuple(image.shape)}, got {tuple(output.shape)}"
    torch.testing.assert_close(
        output, image, rtol=0, atol=1e-6,
        msg=lambda m: f"masks at their identity {values} must leave the image as it is. {m}",
    )  # fmt: skip


def _check_output(operator: Operator, image: Tensor, mask: Tensor) -> None:
    for dtype in (torch.float32, torch.float64):
        x, m = image.to(dtype), mask.to(dtype)
        before = x.clone(), m.clone()
        y = operator(x, m)
        assert y.shape == x.shape, f"shape must stay {tuple(x.shape)}, got {tuple(y.shape)}"
        assert y.dtype == dtype, f"dtype must stay {dtype}, got {y.dtype}"
        assert y.isfinite().all(), "the result must be finite for masks within their range"
        assert torch.equal(x, before[0]), "the image must not be changed in place"
        assert torch.equal(m, before[1]), "the mask must not be changed in place"


def _check_independence(operator: Operator, image: Tensor, mask: Tensor) -> None:
    torch.testing.assert_close(
        operator(image[:1], mask[:1]), operator(image, mask)[:1],
        msg=lambda m: f"an image must not depend on the others of its batch. {m}",
    )  # fmt: skip
    if operator.pixelwise:
        torch.testing.assert_close(
            operator(image[..., 2:3, 1:2], mask[..., 2:3, 1:2]),
            operator(image, mask)[..., 2:3, 1:2],
            msg=lambda m: f"with 'pixelwise' a pixel must not depend on its neighbours. {m}",
        )
    if not operator.spreads:
        values = [r.identity for r in operator.ranges.values()]
        half = torch.cat([_constant_masks(values, image)[..., :2], mask[..., 2:]], -1)
        torch.testing.assert_close(
            operator(image, half)[..., :2], image[..., :2], rtol=0, atol=1e-6,
            msg=lambda m: "without 'spreads' a pixel whose own masks are at their identity must "
            f"stay as it is. {m}",
        )  # fmt: skip


def _check_gradients(operator: Operator, image: Tensor, mask: Tensor) -> None:
    inputs = (image[:1, :, :2, :2].clone(), mask[:1, :, :2, :2].clone())
    for tensor in inputs:
        tensor.requires_grad_()
    right = torch.autograd.gradcheck(operator, inputs, raise_exception=False)
    assert right, "gradients must agree with finite differences, for the image and every mask"


HARD = [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (-0.5, 1.5, 0.3), (1.5, 1.5, 1.5)]
PURE = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 0), (-0.5, -0.5, -0.5)]


def _check_hard_colors(operator: Operator) -> None:
    """Where roots, quotients and angles may fail."""
    rgb = torch.tensor(HARD + PURE, dtype=torch.float32).T.reshape(1, 3, 1, -1)
    image = operator.space.from_rgb(rgb)
    ranges = operator.ranges.values()
    ends = [_bounds(r) for r in ranges]
    for values in ([r.identity for r in ranges], *map(list, zip(*ends, strict=True))):
        x, m = (t.requires_grad_() for t in (image.clone(), _constant_masks(values, image)))
        y = operator(x, m)
        found = (y, *torch.autograd.grad(y.sum(), (x, m), materialize_grads=True))
        assert all(t.isfinite().all() for t in found), (
            "results and gradients must be finite for black, white, greys, pure colours and "
            f"colours out of gamut, with masks at {values}"
        )
