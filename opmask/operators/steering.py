r"""Operators with fewer masks than they are made of: some are constants, or follow others.

Data flow: `(image, masks that are left) -> masks of the operators -> image`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import check_mapping, check_number
from opmask.operators.composition import Composite

__all__ = ["Frozen", "Tied"]


class Frozen(Composite):
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
        TypeError: If one of them is no :class:`Operator`, or `values` does not map names to
            numbers.

    Example:
        >>> import opmask
        >>> list(Frozen(opmask.Mul(opmask.LAB), values={"a_mul": 1.0, "b_mul": 1.0}).ranges)
        ['l_mul']
    """

    def __init__(self, *operators: Operator, values: Mapping[str, float] | None = None) -> None:
        super().__init__(operators)
        named = check_mapping(
            "values", {} if values is None else values, 'masks to numbers, as in {"gate": 1.0}'
        )
        self.values = {name: check_number(name, value) for name, value in named.items()}
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


class Tied(Composite):
    r"""Operators of whose masks some are one and the same, such as a factor for a and b of LAB.

    Args:
        *operators: The operators, all in one colour space, applied in order.
        ties: By the name of each new mask, the names of the masks that follow it. They must have
            the same identity; the new range is what their ranges have in common.

    Raises:
        ValueError: If there is no operator, a mask name occurs twice, the operators' spaces
            differ, or `ties` names a mask that there is not, or twice, ties masks of different
            identities, or gates with others.
        TypeError: If one of them is no :class:`Operator`, or `ties` does not map names to names.

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
        example = 'new names to lists of masks, as in {"chroma_mul": ("a_mul", "b_mul")}'
        named = check_mapping("ties", {} if ties is None else ties, example)
        if any(isinstance(members, str) or not members for members in named.values()):
            raise TypeError(f"'ties' must map {example}, got {dict(named)}.")
        self.ties = {name: tuple(members) for name, members in named.items()}
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
