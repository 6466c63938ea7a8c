r"""Operators that are made of operators: gated, side by side, with fewer or coarser masks.

Ranges and prefixes of inner masks are given to the operators that have them.

Data flow: `(image, masks of all of them) -> image`, in their common colour space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from opmask.color import RGB
from opmask.operators.base import MaskRange, Operator, join_ranges, split_masks
from opmask.operators.smooth import Grid

__all__ = [
    "Frozen",
    "Gated",
    "LowResolution",
    "Parallel",
    "Tied",
]


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
        self.spreads = any(op.spreads for op in operators)
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


class _Several(Operator):
    """What operators share that are made of operators and have no mask besides theirs."""

    any_space = False

    def __init__(self, operators: tuple[Operator, ...]) -> None:
        super().__init__()
        self.ranges = join_ranges(operators, owner=type(self).__name__)
        spaces = [op.space for op in operators]
        common = all(space == spaces[0] for space in spaces)
        if not (common or self.any_space):
            raise ValueError(
                f"'operators' must share one colour space, got {[space.name for space in spaces]}."
            )
        self.space = spaces[0] if common else RGB
        self.operators = nn.ModuleList(operators)
        self.pixelwise = all(op.pixelwise for op in operators)
        self.spreads = any(op.spreads for op in operators)
        self.gates = tuple(name for op in operators for name in op.gates)

    def effective(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Operator.effective`."""
        found: dict[str, Tensor] = {}
        for operator in self.operators:
            found |= operator.effective(masks)  # type: ignore[operator]
        return found

    def cascade(self, image: Tensor, masks: Tensor) -> Tensor:
        """The operators one after the other, with a stack of all of their masks."""
        for operator, part in split_masks(self.operators, masks):
            image = operator(image, part)
        return image


class Parallel(_Several):
    r"""Operators side by side: each acts on the image itself, and their changes are added up.

    .. math:: y = x + \sum_i \left( f_i(x) - x \right)

    The order does not matter. Operators may work in different colour spaces: changes are then
    added in :data:`opmask.RGB`, and otherwise in the space that all share.

    Args:
        *operators: The operators.

    Raises:
        ValueError: If there is no operator, or a mask name occurs twice.
        TypeError: If one of them is no :class:`Operator`.

    Example:
        >>> import opmask
        >>> both = Parallel(opmask.Mul(opmask.RGB, "r"), opmask.Add(opmask.RGB, "r"))
        >>> masks = torch.tensor([0.5, 0.1]).view(1, 2, 1, 1)
        >>> both(torch.full((1, 3, 1, 1), 0.4), masks).flatten()
        tensor([0.3000, 0.4000, 0.4000])
    """

    any_space = True

    def __init__(self, *operators: Operator) -> None:
        super().__init__(operators)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        result = image
        for operator, part in split_masks(self.operators, mask):
            result = result + self._change(operator, image, part)
        return result

    def _change(self, operator: Operator, image: Tensor, mask: Tensor) -> Tensor:
        """What one operator would change, in the space of all."""
        space = operator.space
        if space == self.space:
            return operator(image, mask) - image
        before = space.from_rgb(image)
        # Not minus the image: so the rounding of the two conversions is no change.
        return space.to_rgb(operator(before, mask)) - space.to_rgb(before)


class Frozen(_Several):
    r"""Operators of whose masks some are constants, so that fewer are left to predict or edit.

    At the identities of the others the image must still stay as it is. So a mask is frozen at its
    own identity, which switches a part of an operator off, or it is one that acts through others,
    such as a gate.

    Args:
        *operators: The operators, all in one colour space, applied in order.
        values: The constants by the names of their masks, in operator units.

    Raises:
        ValueError: If there is no operator, a mask name occurs twice, the operators' spaces
            differ, or `values` names a mask that there is not, is out of its range, leaves no mask
            free, or changes the image by itself.
        TypeError: If one of them is no :class:`Operator`.

    Example:
        >>> import opmask
        >>> list(Frozen(opmask.Mul(opmask.LAB), values={"a_mul": 1.0, "b_mul": 1.0}).ranges)
        ['l_mul']
    """

    def __init__(self, *operators: Operator, values: Mapping[str, float] | None = None) -> None:
        super().__init__(operators)
        self.values = {name: float(value) for name, value in (values or {}).items()}
        for name, value in self.values.items():
            r = self.ranges.get(name)
            if r is None or not (math.isfinite(value) and r.low <= value <= r.high):
                raise ValueError(
                    f"'values' must be within the ranges of masks {dict(self.ranges)}, got "
                    f"{value} for {name!r}."
                )
        self.names = list(self.ranges)
        acting = {n: v for n, v in self.values.items() if n not in self.gates}
        moved = any(value != self.ranges[name].identity for name, value in acting.items())
        self.ranges = {n: r for n, r in self.ranges.items() if n not in self.values}
        self.gates = tuple(name for name in self.gates if name in self.ranges)
        if not self.ranges:
            raise ValueError(f"'values' must leave a mask free, got all of {self.names}.")
        if moved and not self._keeps_images():
            raise ValueError(
                "'values' must leave images as they are while the other masks are at their "
                f"identity, got {self.values}. Freeze masks at their own identity."
            )

    def _keeps_images(self) -> bool:
        """Whether the identity of the free masks is one."""
        rgb = torch.linspace(0.1, 0.9, 192, device="cpu").view(1, 8, 8, 3).permute(0, 3, 1, 2)
        image = self.space.from_rgb(rgb)
        identity = image.new_tensor([r.identity for r in self.ranges.values()]).view(1, -1, 1, 1)
        output = self(image, identity.expand(-1, -1, 8, 8))
        return bool((output - image).abs().max() < 1e-4)

    def effective(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Operator.effective`."""
        like = masks[next(iter(self.ranges))]
        frozen = {name: torch.full_like(like, value) for name, value in self.values.items()}
        found = super().effective({**masks, **frozen})
        return {name: mask for name, mask in found.items() if name in self.ranges}

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        free = dict(zip(self.ranges, mask.split(1, 1), strict=True))
        like, values = mask[:, :1], self.values
        masks = [free[n] if n in free else torch.full_like(like, values[n]) for n in self.names]
        return self.cascade(image, torch.cat(masks, 1))


class Tied(_Several):
    r"""Operators of whose masks some are one and the same, such as a factor for a and b of LAB.

    Args:
        *operators: The operators, all in one colour space, applied in order.
        ties: By the name of each new mask, the names of the masks that follow it. They must have
            the same identity; the new range is what their ranges have in common.

    Raises:
        ValueError: If there is no operator, a mask name occurs twice, the operators' spaces
            differ, or `ties` names a mask that there is not, or twice, ties masks of different
            identities, or gates with others.
        TypeError: If one of them is no :class:`Operator`.

    Example:
        >>> import opmask
        >>> chroma = Tied(opmask.Mul(opmask.LAB), ties={"chroma_mul": ("a_mul", "b_mul")})
        >>> list(chroma.ranges)
        ['l_mul', 'chroma_mul']
        >>> masks = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
        >>> chroma(torch.tensor([0.5, 0.1, -0.1]).view(1, 3, 1, 1), masks).flatten()
        tensor([ 0.5000, 0.2000, -0.2000])
    """

    def __init__(
        self, *operators: Operator, ties: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        super().__init__(operators)
        self.ties = {name: tuple(members) for name, members in (ties or {}).items()}
        inner = self.ranges
        tied = [member for members in self.ties.values() for member in members]
        if not set(tied) <= inner.keys() or len(set(tied)) < len(tied):
            raise ValueError(
                f"'ties' must name masks of {list(inner)}, each at most once, got {self.ties}."
            )
        # By the name of each inner mask, that of the one that it follows.
        self.leaders = {name: name for name in inner} | {
            member: name for name, members in self.ties.items() for member in members
        }
        untied = inner.keys() - set(tied)
        taken = sorted(untied & self.ties.keys())
        if taken:
            raise ValueError(f"'ties' must have new names, but {taken} are those of other masks.")
        for name, members in self.ties.items():
            self._check_alike(name, members, inner)
        self.ranges = {
            leader: self._common(leader, inner) for leader in dict.fromkeys(self.leaders.values())
        }
        self.gates = tuple(dict.fromkeys(self.leaders[name] for name in self.gates))
        order = list(self.ranges)
        self.order = [order.index(leader) for leader in self.leaders.values()]

    def _check_alike(
        self, name: str, members: tuple[str, ...], inner: Mapping[str, MaskRange]
    ) -> None:
        kinds = {(inner[member].identity, member in self.gates) for member in members}
        if len(kinds) != 1:
            raise ValueError(
                f"'ties' must tie masks of one identity, gates to gates alone, got {name!r}: "
                f"{members}."
            )

    def _common(self, leader: str, inner: Mapping[str, MaskRange]) -> MaskRange:
        """What the ranges of all that follow a mask have in common."""
        ranges = [inner[name] for name, own in self.leaders.items() if own == leader]
        low, high = max(r.low for r in ranges), min(r.high for r in ranges)
        return MaskRange(ranges[0].identity, low, high)

    def effective(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Operator.effective`."""
        found = super().effective({name: masks[own] for name, own in self.leaders.items()})
        return {self.leaders[name]: mask for name, mask in found.items()}

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        parts = mask.split(1, 1)
        return self.cascade(image, torch.cat([parts[i] for i in self.order], 1))


class LowResolution(_Several):
    r"""Operators with coarse masks: whatever is drawn, what acts is smooth.

    Masks are averaged onto a coarse grid, and spread from there by smooth weights, before the
    operators get them. So neither a network nor a hand can draw edges or texture with them.

    Args:
        *operators: The operators, all in one colour space, applied in order.
        size: The number of nodes of the grid on the image's shorter side. 16 of them smooth about
            like a Gaussian with a standard deviation of 1/20 of it.

    Raises:
        ValueError: If there is no operator, a mask name occurs twice, the operators' spaces
            differ, or `size` is not from 1 to 4096.
        TypeError: If one of them is no :class:`Operator`.

    References:
        | Deep Bilateral Learning for Real-Time Image Enhancement (Gharbi et al., 2017), where
          coefficients are predicted on a grid of 16x16

    Example:
        >>> import opmask
        >>> coarse = LowResolution(opmask.Add(opmask.LAB, "l"), size=4)
        >>> mask = torch.rand(1, 1, 64, 64)
        >>> lighter = coarse(torch.zeros(1, 3, 64, 64), mask)[:, :1]
        >>> bool(lighter.std() < 0.2 * mask.std()), (lighter.mean() - mask.mean()).abs() < 0.05
        (True, tensor(True))
    """

    def __init__(self, *operators: Operator, size: int = 16) -> None:
        super().__init__(operators)
        if not 1 <= size <= 4096:
            raise ValueError(f"'size' must be from 1 to 4096, got {size}.")
        self.size = size
        self.pixelwise, self.spreads = False, True

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        grid = Grid(mask, self.size)
        return self.cascade(image, grid.spread(grid.means(mask)))
