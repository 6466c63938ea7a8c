r"""Pixelwise functions in blocks that stay in the cache, with gradients that keep little memory.

On a CPU most of the time of a long pixelwise function goes into moving temporary images to memory
and back. Run on a block of pixels after the other, the same function finds them in the cache. With
gradients only its inputs are kept, and each block is computed again on the way back.

Data flow: `(function, planes) -> in_blocks -> result`; used by the conversions of
:mod:`opmask.color` and by :class:`opmask.Retoucher`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

__all__ = ["convert", "in_blocks", "is_plain", "no_autocast"]

BLOCK = 2**16
"""The pixels of a block: a few images of three channels of them fit into the cache of a core."""

Pixelwise = Callable[..., Tensor]
Block = tuple[slice, slice, slice]


def in_blocks(function: Pixelwise, *planes: Tensor) -> Tensor:
    r"""Applies a pixelwise function, block by block where that pays.

    That is on a CPU in eager mode, for more than a block. Everywhere else, as under
    `torch.compile`, on a GPU or in a transform of :mod:`torch.func`, the function is just called.

    Args:
        function: A differentiable function of tensors of shape :math:`(b, C_i, h, w)`, for any
            :math:`b, h, w`, that gives one of shape :math:`(b, C, h, w)`. Each pixel of the result
            depends on that pixel of the arguments alone. Gradients reach its arguments and nothing
            else that it uses.
        *planes: Its arguments, with shapes :math:`(B, C_i, H, W)`, float32 or float64.

    Returns:
        What the function makes of them, with shape :math:`(B, C, H, W)`.

    Example:
        >>> image = torch.rand(2, 3, 300, 200)
        >>> torch.equal(in_blocks(torch.sqrt, image), image.sqrt())
        True
    """
    first = planes[0]
    if first.numel() <= BLOCK * first.shape[1] or not is_plain(*planes):
        return function(*planes)
    if torch.is_grad_enabled() and any(plane.requires_grad for plane in planes):
        return _Recomputed.apply(function, *planes)
    return _run(function, planes)


def convert(function: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    r"""Converts the colours of an image in its own precision, but computes in at least float32.

    Args:
        function: The conversion, see :func:`in_blocks`, from three channels to three.
        image: The image, with shape :math:`(*, 3, H, W)`, of any floating-point type.

    Returns:
        The converted image, with the shape and type of `image`.

    Raises:
        ValueError: If there are not three channels.
        TypeError: If the image is no tensor of a floating-point type.
    """
    if not (isinstance(image, Tensor) and image.is_floating_point()):
        kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(
            f"'image' must be a floating-point tensor, got {kind}. Divide 8-bit values by 255."
        )
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ValueError(f"'image' must have shape (*, 3, H, W), got {tuple(image.shape)}.")
    planes = image.reshape(math.prod(image.shape[:-3]), *image.shape[-3:])
    with no_autocast(image.device):
        planes = planes.to(torch.promote_types(image.dtype, torch.float32))
        return in_blocks(function, planes).reshape(image.shape).to(image.dtype)


def no_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Switches autocast off where there is one, which meta tensors have not."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def is_plain(*tensors: Tensor) -> bool:
    """Whether these are tensors on a CPU that nothing but autograd looks at.

    Not so under `torch.compile` and other tracers, in transforms of :mod:`torch.func`, for tensors
    with tangents, and for subclasses, such as fake tensors.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state():
        return False
    if torch._C._are_functorch_transforms_active():
        return False
    kinds = all(type(t) in (Tensor, nn.Parameter) and t.device.type == "cpu" for t in tensors)
    return kinds and all(forward_ad.unpack_dual(t).tangent is None for t in tensors)


def _blocks(batch: int, height: int, width: int) -> Iterator[Block]:
    """Some rows of one image each, or a few small images."""
    images = max(1, BLOCK // (height * width))
    rows = max(1, BLOCK // width)
    for first in range(0, batch, images):
        for top in range(0, height, rows):
            yield slice(first, first + images), slice(None), slice(top, top + rows)


def _run(function: Pixelwise, planes: tuple[Tensor, ...]) -> Tensor:
    batch, _, height, width = planes[0].shape
    result = None
    for block in _blocks(batch, height, width):
        part = function(*(plane[block] for plane in planes))
        if result is None:
            result = part.new_empty(batch, part.shape[1], height, width)
        result[block] = part
    assert result is not None  # there are more pixels than in a block
    return result


class _Recomputed(torch.autograd.Function):
    """Keeps the arguments of a pixelwise function only."""

    @staticmethod
    def forward(ctx: Any, function: Pixelwise, *planes: Tensor) -> Tensor:  # noqa: ANN401
        ctx.function = function
        ctx.save_for_backward(*planes)
        return _run(function, planes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        function, planes, needed = ctx.function, ctx.saved_tensors, ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # for gradients of gradients, as one graph
            wanted = [plane for plane, need in zip(planes, needed, strict=True) if need]
            found = torch.autograd.grad(
                function(*planes), wanted, gradient, create_graph=True, allow_unused=True
            )
            return (None, *_scattered(found, needed))
        results = [
            plane.new_empty(plane.shape) if need else None
            for plane, need in zip(planes, needed, strict=True)
        ]
        batch, _, height, width = planes[0].shape
        for block in _blocks(batch, height, width):
            parts = [plane[block].contiguous().detach() for plane in planes]
            leaves = [
                part.requires_grad_() for part, need in zip(parts, needed, strict=True) if need
            ]
            with torch.enable_grad():
                output = function(*parts)
            found = torch.autograd.grad(output, leaves, gradient[block], materialize_grads=True)
            for result, part in zip((r for r in results if r is not None), found, strict=True):
                result[block] = part
        return (None, *results)


def _scattered(
    found: tuple[Tensor | None, ...], needed: tuple[bool, ...]
) -> Iterator[Tensor | None]:
    rest = iter(found)
    return (next(rest) if need else None for need in needed)
