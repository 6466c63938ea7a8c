r"""A stage of a retoucher: consecutive operators between one colour conversion in and one out.

Data flow: `image, masks -> from_rgb -> operators in order -> to_rgb -> image`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from opmask.color import ColorSpace
from opmask.color.blocks import in_blocks, is_plain
from opmask.color.lab import channels_of
from opmask.operators import Operator
from opmask.operators.base import split_masks

__all__ = ["Finish", "Stage"]

Finish = Callable[[Tensor], Tensor]


class Stage(nn.Module):
    r"""Consecutive operators of one colour space, between one conversion in and one out.

    Args:
        space: The colour space of all of them.
        operators: The operators, in order.
    """

    def __init__(self, space: ColorSpace, operators: list[Operator]) -> None:
        super().__init__()
        self.space = space
        self.operators = nn.ModuleList(operators)
        self.names = [name for op in operators for name in op.ranges]
        self.counts = [len(op.ranges) for op in operators]

    def forward(
        self, image: Tensor, masks: Mapping[str, Tensor], finish: Finish | None = None
    ) -> Tensor:
        r"""Applies the operators.

        Args:
            image: The image, with shape :math:`(B, 3, H, W)`, RGB.
            masks: The masks by name, each broadcastable to shape :math:`(B, 1, H, W)`.
            finish: What is done with the result, in the same pass.

        Returns:
            The new image, with the shape of `image`, RGB, unbounded but for what `finish` does.
        """
        shape = (image.shape[0], 1, *image.shape[-2:])
        planes = [masks[name].expand(shape) for name in self.names]
        if torch.compiler.is_compiling():
            return self._by_channel(image, planes, finish)

        def apply(image: Tensor, *planes: Tensor) -> Tensor:
            x = self.space.from_rgb(image)
            stack = _joined(planes) if is_plain(*planes) else torch.cat(planes, 1)
            for operator, part in split_masks(self.operators, stack):
                x = operator(x, part)
            x = self.space.to_rgb(x)
            return x if finish is None else finish(x)

        learns = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        if all(op.pixelwise for op in self.operators) and not learns:
            return in_blocks(apply, image, *planes)
        return apply(image, *planes)

    def _by_channel(self, image: Tensor, planes: list[Tensor], finish: Finish | None) -> Tensor:
        """The same in a form of which compilers make one loop."""
        channels = channels_of(self.space.from_rgb, image.unbind(1))
        rest = [plane[:, 0] for plane in planes]
        for operator, count in zip(self.operators, self.counts, strict=True):
            channels, rest = operator.by_channel(channels, rest[:count]), rest[count:]  # type: ignore[operator]
        channels = channels_of(self.space.to_rgb, channels)
        return torch.stack(channels if finish is None else [finish(c) for c in channels], 1)

    def extra_repr(self) -> str:
        """The colour space, for printing."""
        return self.space.name


def _joined(planes: tuple[Tensor, ...]) -> Tensor:
    """Planes (B, 1, H, W) as one (B, M, H, W): a view if they lie side by side in memory."""
    (first, *others), steps = planes, [plane.storage_offset() for plane in planes]
    step = steps[1] - steps[0] if others else 0
    memory = first.untyped_storage().data_ptr()
    if (
        torch.is_grad_enabled()
        or step <= 0
        or steps != [*range(steps[0], steps[0] + step * len(planes), step)]
        or any(plane.untyped_storage().data_ptr() != memory for plane in others)
        or any((p.stride(), p.dtype) != (first.stride(), first.dtype) for p in others)
    ):
        return torch.cat(planes, 1)
    strides = first.stride()
    shape = (len(first), len(planes), *first.shape[2:])
    return first.as_strided(shape, (strides[0], step, *strides[2:]))
