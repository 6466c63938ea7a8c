r"""What an operator is: one editing operation that declares the masks it needs.

Data flow: `logits -> MaskRange.from_logits -> mask -> Operator.forward(image, mask) -> image`, all
in the operator's own colour space. An operator declares its colour space and its masks as data;
only `forward` is code, and the :class:`~opmask.Retoucher` does the bookkeeping.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from opmask.color import ColorSpace
from opmask.operators.checks import check_mapping, check_number

__all__ = ["MaskRange", "Operator", "got_instead", "join_ranges", "split_masks"]

STRUCTURE = {"space", "operators", "range", "ranges", "prefix"}
"""Arguments of operators that stand for themselves; all others are their own parameters."""


@dataclass(frozen=True)
class MaskRange:
    r"""The values that a mask may take, and the one at which its operator does nothing.

    Args:
        identity: The value :math:`i` at which the operator leaves the image as it is, in operator
            units.
        low: The lower bound :math:`l`, or minus infinity.
        high: The upper bound :math:`h`, or infinity.

    Raises:
        ValueError: If `identity` does not lie strictly between `low` and `high`.
        TypeError: If one of them is no number.

    Example:
        >>> import torch
        >>> masks = MaskRange(1.0, low=0.0, high=2.0).from_logits(torch.tensor([-9.0, 0.0, 9.0]))
        >>> masks.round(decimals=2).tolist()
        [0.0, 1.0, 2.0]
    """

    identity: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        for name in ("identity", "low", "high"):
            check_number(name, getattr(self, name))
        if not self.low < self.identity < self.high:
            raise ValueError(f"'identity' must lie strictly between 'low' and 'high', got {self}.")

    def from_logits(self, logits: Tensor) -> Tensor:
        r"""Maps logits to mask values so that 0 is the identity.

        .. math:: l + (h - l)\,\sigma(z + \operatorname{logit} p), \qquad p = \frac{i - l}{h - l}

        where both ends are bounded, and :math:`\operatorname{clamp}(i + z, l, h)` where one is
        not. The paper's heads are the special cases `MaskRange(0.0)` (no activation) and
        `MaskRange(1.0, low=0.0)` (its ReLU, up to the bias of the last layer).

        Args:
            logits: The unbounded logits :math:`z`, of any shape.

        Returns:
            The mask, with the shape of `logits`, in :math:`[l, h]`.
        """
        if math.isinf(self.low) or math.isinf(self.high):
            return (self.identity + logits).clamp(self.low, self.high)
        share = (self.identity - self.low) / (self.high - self.low)
        # As a difference from the identity, so that logits 0 give it to the last bit where it is
        # halfway between the bounds, and to a rounding error elsewhere.
        start = math.log(share / (1 - share))
        change = torch.sigmoid(logits + start if start else logits) - share
        return self.identity + (self.high - self.low) * change

    def scale(self, mask: Tensor, strength: float = 1.0, offset: float = 0.0) -> Tensor:
        r"""Moves a mask away from the identity, or back to it.

        .. math:: \operatorname{clamp}(i + s\,(m - i) + o, l, h)

        Args:
            mask: The mask :math:`m`, of any shape, in operator units.
            strength: The factor :math:`s`: 0 gives the identity, 1 the mask, 2 doubles its effect.
            offset: The constant :math:`o`, in operator units.

        Returns:
            The new mask, with the shape of `mask`, in :math:`[l, h]`.

        Raises:
            ValueError: If `strength` or `offset` is not finite.
        """
        if not (math.isfinite(strength) and math.isfinite(offset)):
            raise ValueError(f"a mask is scaled by finite numbers, got {strength} and {offset}.")
        scaled = self.identity + strength * (mask - self.identity) + offset
        return scaled.clamp(self.low, self.high)


class Operator(nn.Module, ABC):
    r"""One editing operation with per-pixel masks.

    Subclass it, declare `space` and `ranges`, and write `forward`;
    :func:`opmask.testing.check_operator` checks the result. An operator with parameters of its own
    keeps them under their names, declares what depends on them, and then lets this class do the
    rest, as :class:`opmask.operators.ToneCurve` does.

    Args:
        ranges: Other ranges for some of the masks, by the names that the operator declares.
        prefix: Goes before each mask name, such as `"sky_"`, to keep the names in a retoucher
            apart.

    Raises:
        ValueError: If `ranges` names a mask that the operator does not have, or moves the identity
            of one.
        TypeError: If `ranges` does not map names to ranges, or `prefix` is no text.

    Attributes:
        space: The colour space in which `forward` works.
        ranges: The name and range of each mask, in the order of the channels that `forward` gets.
        gates: The masks that only say where the others act; see :meth:`opmask.Retoucher.edit`.
        pixelwise: Whether each pixel of the result depends on that pixel and its masks alone.
            Large photos are then retouched in strips, which takes little memory. An operator that
            looks at neighbours, such as a blur, must leave it False.
        spreads: Whether a mask acts also beside where it is off its identity, as one that is
            smoothed does.
        unit: What a mask of 1 is to people, such as `(360.0, "°")` for a turn. The editor shows
            it.

    Example:
        >>> import opmask
        >>> class Exposure(opmask.Operator):
        ...     space = opmask.LINEAR_RGB
        ...     ranges = {"exposure": opmask.MaskRange(identity=0.0, low=-2.0, high=2.0)}
        ...
        ...     def forward(self, image, mask):
        ...         return image * 2**mask
        >>> opmask.Retoucher(Exposure())
        Retoucher(
          (stages): ModuleList(
            (0): Stage(
              linear_rgb
              (operators): ModuleList(
                (0): Exposure(exposure)
              )
            )
          )
        )
        >>> Exposure(ranges={"exposure": opmask.MaskRange(0.0, -1.0, 4.0)}, prefix="sky_").ranges
        {'sky_exposure': MaskRange(identity=0.0, low=-1.0, high=4.0)}
    """

    space: ColorSpace
    ranges: Mapping[str, MaskRange]
    gates: tuple[str, ...] = ()
    pixelwise: bool = False
    spreads: bool = False
    unit: tuple[float, str] = (1.0, "")

    def __init__(self, *, ranges: Mapping[str, MaskRange] | None = None, prefix: str = "") -> None:
        super().__init__()
        # What the class declares, or a subclass has just declared for this object. A class may
        # also leave it until after this call.
        declared, given = (
            check_mapping("ranges", table, 'masks to ranges, as in {"x": MaskRange(0.0)}')
            for table in (getattr(self, "ranges", {}), {} if ranges is None else ranges)
        )
        unknown = [name for name in given if name not in declared]
        if unknown:
            raise ValueError(f"'ranges' must be drawn from {list(declared)}, got {unknown}.")
        for name, r in given.items():
            if not isinstance(r, MaskRange):
                raise TypeError(f"'ranges' must map names to opmask.MaskRange, got {r!r}.")
            # Of a gate it is only where it starts.
            if r.identity != declared[name].identity and name not in self.gates:
                raise ValueError(
                    f"the range of mask {name!r} must keep its identity, "
                    f"{declared[name].identity}, at which nothing is done, got {r.identity}."
                )
        if not isinstance(prefix, str):
            raise TypeError(f"'prefix' must be a text such as 'sky_', got {prefix!r}.")
        self.prefix = prefix
        self.ranges = {f"{prefix}{name}": given.get(name, r) for name, r in declared.items()}
        self.gates = tuple(f"{prefix}{name}" for name in self.gates)

    @abstractmethod
    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        r"""Applies the operator.

        Args:
            image: The image, with shape :math:`(B, 3, H, W)`, in the operator's colour space.
            mask: The masks in the order of `ranges`, with shape :math:`(B, M, H, W)`, in operator
                units.

        Returns:
            The changed image, with the shape of `image`, in the same colour space. Not clipped.
        """

    def by_channel(self, channels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        r"""The same as :meth:`forward`, in a form of which compilers make one loop.

        Args:
            channels: The channels of the image, each with shape :math:`(B, H, W)`, in the
                operator's colour space.
            masks: The masks in the order of `ranges`, each with that shape, in operator units.

        Returns:
            The changed channels, likewise. Not clipped.
        """
        return [*self(torch.stack([*channels], 1), torch.stack([*masks], 1)).unbind(1)]

    def effective(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        r"""What the masks come to, with gates multiplied in.

        Args:
            masks: Masks by name, each with shape :math:`(B, 1, H, W)`, in operator units; those of
                other operators are passed over.

        Returns:
            The operator's masks but for its gates, with the shape and units of `masks`. An
            operator with gates of its own overrides this.
        """
        return {name: masks[name] for name in self.ranges if name not in self.gates}

    @property
    def arguments(self) -> dict[str, Any]:
        """The operator's own parameters by name, such as numbers, texts, tuples and tables.

        They are what its constructor takes besides space, operators, ranges and prefix, and stand
        in files that describe it.
        """
        kept, kinds = vars(self), (bool, int, float, str, tuple, dict)
        names = [n for n in inspect.signature(type(self)).parameters if n not in STRUCTURE]
        return {name: kept[name] for name in names if isinstance(kept.get(name), kinds)}

    def extra_repr(self) -> str:
        """The names of the masks, for printing."""
        return ", ".join(self.ranges)


def join_ranges(operators: tuple[Operator, ...], owner: str) -> dict[str, MaskRange]:
    """The masks of several operators by name, in order; names must be unique."""
    for op in operators:
        if not isinstance(op, Operator):
            raise TypeError(f"'operators' must be opmask.Operator objects, {got_instead(op)}")
        if "training" not in vars(op):
            raise TypeError(f"{type(op).__name__}.__init__ must call super().__init__().")
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


def got_instead(found: object) -> str:
    """What was found where an operator is wanted, and how to make one of it."""
    if isinstance(found, type) and issubclass(found, Operator):
        return f"got the class {found.__name__}. Build it: {found.__name__}()."
    kind = type(found).__name__
    if isinstance(found, list | tuple):
        return f"got a {kind}. Hand them in one by one, by a * before it."
    return f"got {kind}."


def split_masks(operators: nn.ModuleList, mask: Tensor) -> list[tuple[Operator, Tensor]]:
    """Each operator with its own channels of a stack of masks."""
    counts = [len(op.ranges) for op in operators]  # type: ignore[arg-type]
    return list(zip(operators, mask.split(counts, 1), strict=True))  # type: ignore[arg-type]
