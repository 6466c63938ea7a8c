r"""Operators that are made of operators: a gate around others.

Data flow: `(image, masks of all of them) -> image`, in their common colour space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from opmask.operators.base import MaskRange, Operator

__all__ = ["Gated", "join_ranges", "split_masks"]


class Gated(Operator):
    r"""Operators that act only where one more mask, the gate, is open.

    Each mask :math:`m` of the operators, with identity :math:`i`, acts as

    .. math:: i + g\,(m - i), \qquad g \in [0, 1]

    The gate comes last in `ranges`. It starts half open; with the other masks at their identity
    any gate does nothing.

    Args:
        *operators: The operators to gate, all in one colour space, applied in order.
        ranges: Another range for the mask `"gate"`, within 0 and 1.
        prefix: Goes before the name of the mask `"gate"`.

    Raises:
        ValueError: If there is no operator, a mask name occurs twice, or the operators' spaces
            differ.
        TypeError: If one of them is no :class:`Operator`.

    Example:
        >>> import opmask
        >>> list(Gated(opmask.Mul(opmask.LAB, "l"), opmask.Add(opmask.LAB, "l")).ranges)
        ['l_mul', 'l_add', 'gate']
    """

    ranges = {"gate": MaskRange(0.5, low=0.0, high=1.0)}
    gates: tuple[str, ...] = ("gate",)

    def __init__(
        self,
        *operators: Operator,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__(ranges=ranges, prefix=prefix)
        inner = join_ranges(operators, owner="Gated")
        if any(op.space != operators[0].space for op in operators):
            spaces = [op.space.name for op in operators]
            raise ValueError(f"'operators' must share one colour space, got {spaces}.")
        if self.gates[0] in inner:
            raise ValueError(
                f"mask names must be unique, but {self.gates[0]!r} is used twice. Pass prefix=."
            )
        self.operators = nn.ModuleList(operators)
        self.space = operators[0].space
        self.ranges = {**inner, **self.ranges}
        self.pixelwise = all(op.pixelwise for op in operators)
        self.gates = (*(name for op in operators for name in op.gates), *self.gates)
        identity = torch.tensor([r.identity for r in inner.values()]).view(-1, 1, 1)
        self.register_buffer("identity", identity, persistent=False)
        self.identity: Tensor

    def effective(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Operator.effective`."""
        gate = masks[self.gates[-1]]
        inner: dict[str, Tensor] = {}
        for operator in self.operators:
            inner |= operator.effective(masks)  # type: ignore[operator]
        identity = {name: self.ranges[name].identity for name in inner}
        return {name: identity[name] + gate * (m - identity[name]) for name, m in inner.items()}

    def by_channel(self, channels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Operator.by_channel`."""
        planes, gate = [*masks[:-1]], masks[-1]
        for operator in self.operators:
            assert isinstance(operator, Operator)
            bounds = [*operator.ranges.values()]
            own, planes = planes[: len(bounds)], planes[len(bounds) :]
            acting = [
                r.identity + gate * (m - r.identity) for r, m in zip(bounds, own, strict=True)
            ]
            channels = operator.by_channel(channels, acting)
        return [*channels]

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        masks, gate = mask[:, :-1], mask[:, -1:]
        effective = self.identity.to(mask.dtype).lerp(masks, gate)
        for operator, part in split_masks(self.operators, effective):
            image = operator(image, part)
        return image


def join_ranges(operators: tuple[Operator, ...], owner: str) -> dict[str, MaskRange]:
    """The masks of several operators by name, in order; names must be unique."""
    for operator in operators:
        if not isinstance(operator, Operator):
            raise TypeError(
                f"'operators' must be opmask.Operator objects, got {type(operator).__name__}."
            )
    names = [name for op in operators for name in op.ranges]
    if not names:
        raise ValueError(f"{owner} needs at least one operator with a mask, got none.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"mask names must be unique across operators, but {repeated} are used twice. "
            "Pass prefix= to one of them."
        )
    return {name: mask_range for op in operators for name, mask_range in op.ranges.items()}


def split_masks(operators: nn.ModuleList, mask: Tensor) -> list[tuple[Operator, Tensor]]:
    """Each operator with its own channels of a stack of masks."""
    counts = [len(op.ranges) for op in operators]  # type: ignore[arg-type]
    return list(zip(operators, mask.split(counts, 1), strict=True))  # type: ignore[arg-type]
