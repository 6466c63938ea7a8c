r"""The paper's two operators, addition and multiplication by channel, and a gate around others.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from opmask.color import ColorSpace
from opmask.operators.base import MaskRange, Operator

__all__ = ["Add", "Gated", "Mul"]


class _Channelwise(Operator):
    """One mask for each chosen channel of a colour space."""

    operation: str
    change: Callable[[Tensor, Tensor], Tensor]
    pixelwise = True

    def __init__(
        self, space: ColorSpace, channels: tuple[str, ...], range: MaskRange, prefix: str
    ) -> None:
        super().__init__()
        channels = channels or space.channels
        unknown = [c for c in channels if c not in space.channels]
        if unknown:
            raise ValueError(
                f"'channels' must be drawn from {space.name}'s {space.channels}, got {unknown}."
            )
        if len(set(channels)) < len(channels):
            raise ValueError(f"'channels' must name each channel once, got {list(channels)}.")
        self.space = space
        self.ranges = {f"{prefix}{c}_{self.operation}": range for c in channels}
        self.places = [channels.index(c) if c in channels else None for c in space.channels]
        """For each channel of the space the number of its mask, if it has one."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        if self.places == [*range(image.shape[1])]:
            return self.change(image, mask)
        # In slices, which compilers fuse. (The exporter to ONNX gets index_add wrong.)
        return torch.cat(self.by_channel(image.split(1, 1), mask.split(1, 1)), 1)

    def by_channel(self, channels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Operator.by_channel`."""
        places = zip(channels, self.places, strict=True)
        return [x if i is None else self.change(x, masks[i]) for x, i in places]


class Add(_Channelwise):
    r"""Adds a mask to each of some channels of a colour space.

    .. math:: y_c = x_c + m_c

    Args:
        space: The colour space to work in.
        *channels: The channels to change, by name. All of them if none is named.
        range: The range of every mask, in units of the space.
        prefix: Goes before each mask name, such as `"hls_"`, to keep the names in a retoucher
            apart.

    Raises:
        ValueError: If a channel is unknown or named twice.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022), equation 2

    Example:
        >>> import opmask
        >>> list(Add(opmask.LAB, "a", "b").ranges)
        ['a_add', 'b_add']
    """

    operation = "add"
    change = staticmethod(torch.add)

    def __init__(
        self,
        space: ColorSpace,
        *channels: str,
        range: MaskRange = MaskRange(0.0, low=-1.0, high=1.0),
        prefix: str = "",
    ) -> None:
        super().__init__(space, channels, range, prefix)


class Mul(_Channelwise):
    r"""Multiplies each of some channels of a colour space by a mask.

    .. math:: y_c = x_c \, m_c

    Where a channel is 0, the mask has no effect: this *pivot* is part of what the colour space
    means (see :mod:`opmask.color`).

    Args:
        space: The colour space to work in.
        *channels: The channels to change, by name. All of them if none is named.
        range: The range of every mask, as a factor.
        prefix: Goes before each mask name, such as `"hls_"`, to keep the names in a retoucher
            apart.

    Raises:
        ValueError: If a channel is unknown or named twice.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022), equation 2

    Example:
        >>> import opmask
        >>> list(Mul(opmask.HLS, "s", prefix="hls_").ranges)
        ['hls_s_mul']
    """

    operation = "mul"
    change = staticmethod(torch.mul)

    def __init__(
        self,
        space: ColorSpace,
        *channels: str,
        range: MaskRange = MaskRange(1.0, low=0.0, high=2.0),
        prefix: str = "",
    ) -> None:
        super().__init__(space, channels, range, prefix)


class Gated(Operator):
    r"""Operators that act only where one more mask, the gate, is open.

    Each mask :math:`m` of the operators, with identity :math:`i`, acts as

    .. math:: i + g\,(m - i), \qquad g \in [0, 1]

    The gate comes last in `ranges`. It starts half open; with the other masks at their identity
    any gate does nothing.

    Args:
        *operators: The operators to gate, all in one colour space, applied in order.
        prefix: Goes before the name of the mask `"gate"`.

    Raises:
        ValueError: If there is no operator, a mask name occurs twice, or the operators' spaces
            differ.
        TypeError: If one of them is no :class:`Operator`.

    Example:
        >>> import opmask
        >>> list(Gated(Mul(opmask.LAB, "l"), Add(opmask.LAB, "l")).ranges)
        ['l_mul', 'l_add', 'gate']
    """

    def __init__(self, *operators: Operator, prefix: str = "") -> None:
        super().__init__()
        ranges = join_ranges(operators, owner="Gated")
        if any(op.space != operators[0].space for op in operators):
            spaces = [op.space.name for op in operators]
            raise ValueError(f"'operators' must share one colour space, got {spaces}.")
        gate = f"{prefix}gate"
        if gate in ranges:
            raise ValueError(
                f"mask names must be unique, but {gate!r} is used twice. Pass prefix=."
            )
        self.operators = nn.ModuleList(operators)
        self.space = operators[0].space
        self.ranges = {**ranges, gate: MaskRange(0.5, low=0.0, high=1.0)}
        self.pixelwise = all(op.pixelwise for op in operators)
        self.gates = (*(name for op in operators for name in op.gates), gate)
        identity = torch.tensor([r.identity for r in ranges.values()]).view(-1, 1, 1)
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
        *rest, gate = masks
        for operator in self.operators:
            ranges = operator.ranges.values()  # type: ignore[union-attr]
            own, rest = rest[: len(ranges)], rest[len(ranges) :]
            effective = [
                r.identity + gate * (m - r.identity) for r, m in zip(ranges, own, strict=True)
            ]
            channels = operator.by_channel(channels, effective)  # type: ignore[operator]
        return [*channels]

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        masks, gate = mask[:, :-1], mask[:, -1:]
        identity = self.identity.to(mask.dtype)
        effective = identity + gate * (masks - identity)
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
