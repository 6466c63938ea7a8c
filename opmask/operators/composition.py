r"""Operators that are made of operators: gated, side by side, or with coarse masks.

Ranges and prefixes of inner masks are given to the operators that have them.

Data flow: `(image, masks of all of them) -> image`, in their common colour space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from opmask.color import RGB
from opmask.operators.base import MaskRange, Operator, join_ranges, split_masks
from opmask.operators.checks import check_count
from opmask.operators.smooth import Grid

__all__ = ["Composite", "Gated", "LowResolution", "Parallel"]


class Composite(Operator):
    """What operators share that are made of operators: their masks come first, then own ones."""

    any_space = False

    def __init__(
        self,
        operators: tuple[Operator, ...],
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__(ranges=ranges, prefix=prefix)
        inner = join_ranges(operators, owner=type(self).__name__)
        for name in self.ranges:
            if name in inner:
                raise ValueError(
                    f"mask names must be unique, but {name!r} is used twice. Pass prefix=."
                )
        self.ranges = {**inner, **self.ranges}
        spaces = [op.space for op in operators]
        common = all(space == spaces[0] for space in spaces)
        if not (common or self.any_space):
            names = [space.name for space in spaces]
            raise ValueError(
                f"'operators' must share one colour space, got {names}. Put those of each space "
                f"into a {type(self).__name__} of their own."
            )
        self.space = spaces[0] if common else RGB
        self.operators = nn.ModuleList(operators)
        self.pixelwise = all(op.pixelwise for op in operators)
        self.spreads = any(op.spreads for op in operators)
        self.gates = (*(name for op in operators for name in op.gates), *self.gates)

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


class Gated(Composite):
    r"""Operators that act only where one more mask, the gate, is open.

    Each mask :math:`m` of the operators, with identity :math:`i`, acts as

    .. math:: i + g\,(m - i), \qquad g \in [0, 1]

    The gate comes last in `ranges`. It starts half open; with the other masks at their identity
    any gate does nothing. A gate within a gate stays as it is: both multiply.

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
        super().__init__(operators, ranges, prefix)
        gate = self.ranges[self.gates[-1]]
        if not 0 <= gate.low < gate.high <= 1:
            raise ValueError(f"the range of the gate must be within 0 and 1, got {gate}.")
        inner = {name: r for op in operators for name, r in op.ranges.items()}
        identity = torch.tensor([r.identity for r in inner.values()]).view(-1, 1, 1)
        self.register_buffer("identity", identity, persistent=False)
        self.identity: Tensor
        # Gates within: of them the identity is only where they start.
        self.nested = len(self.gates) > 1
        factors = torch.tensor([name in self.gates for name in inner]).view(-1, 1, 1)
        self.register_buffer("factors", factors, persistent=False)
        self.factors: Tensor

    def effective(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :meth:`Operator.effective`."""
        gate, inner = masks[self.gates[-1]], super().effective(masks)
        identity = {name: self.ranges[name].identity for name in inner}
        return {name: identity[name] + gate * (m - identity[name]) for name, m in inner.items()}

    def by_channel(self, channels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Operator.by_channel`."""
        planes, gate = [*masks[:-1]], masks[-1]
        for operator in self.operators:
            assert isinstance(operator, Operator)
            count = len(operator.ranges)
            own, planes = planes[:count], planes[count:]
            acting = [
                m if name in operator.gates else r.identity + gate * (m - r.identity)
                for (name, r), m in zip(operator.ranges.items(), own, strict=True)
            ]
            channels = operator.by_channel(channels, acting)
        return [*channels]

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        masks, gate = mask[:, :-1], mask[:, -1:]
        acting = self.identity.to(mask.dtype).lerp(masks, gate)
        if self.nested:
            acting = torch.where(self.factors, masks, acting)
        return self.cascade(image, acting)


class Parallel(Composite):
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


class LowResolution(Composite):
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
        self.size = check_count("size", size, 1, 4096)
        self.pixelwise, self.spreads = False, True

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        grid = Grid(mask, self.size)
        return self.cascade(image, grid.spread(grid.means(mask)))
