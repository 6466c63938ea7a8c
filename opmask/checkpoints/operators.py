r"""From operators to their description and back, for checkpoints and for edits.

Data flow: `Retoucher -> describe_operator -> OperatorAbout -> build_retoucher -> Retoucher`.
"""

from __future__ import annotations

from collections.abc import Sequence

from opmask.checkpoints.metadata import OperatorAbout
from opmask.color import spaces
from opmask.operators import Add, Gated, Mul, Operator
from opmask.retouch import Retoucher

__all__ = ["SPACES", "build_retoucher", "describe_operator"]

SPACES = {s.name: s for s in vars(spaces).values() if isinstance(s, spaces.ColorSpace)}
"""The colour spaces of opmask by name."""

CHANNELWISE: dict[str, type[Add] | type[Mul]] = {"Add": Add, "Mul": Mul}


def describe_operator(operator: Operator) -> OperatorAbout:
    """An operator as a file describes it: its class, space and masks."""
    name = type(operator).__name__
    inner = []
    if type(operator) is Gated:
        inner = [describe_operator(op) for op in operator.operators]  # type: ignore[arg-type]
    elif type(operator) not in CHANNELWISE.values() or operator.space not in SPACES.values():
        name = f"{type(operator).__module__}.{type(operator).__qualname__}"
    ranges = {
        mask: (repr(float(r.identity)), repr(float(r.low)), repr(float(r.high)))
        for mask, r in operator.ranges.items()
    }
    return OperatorAbout(name, operator.space.name, ranges, inner)


def build_retoucher(
    operators: Sequence[OperatorAbout], retoucher: Retoucher | None = None
) -> Retoucher:
    r"""The retoucher of a description.

    Args:
        operators: What the file says of each operator, in order.
        retoucher: A retoucher to take instead, needed where operators are a user's own.

    Returns:
        The retoucher, with the masks of the description.

    Raises:
        ValueError: If an operator is none of opmask's and no retoucher is handed in, or the masks
            of that one are others.
        TypeError: If `retoucher` is no retoucher.
    """
    if retoucher is not None and not isinstance(retoucher, Retoucher):
        raise TypeError(f"'retoucher' must be a Retoucher, got {type(retoucher).__name__}.")
    retoucher = retoucher or Retoucher(*map(_build_operator, operators))
    stored = {name: r for about in operators for name, r in about.mask_ranges().items()}
    if retoucher.ranges != stored:
        raise ValueError(
            f"'retoucher' must have the masks of the file {stored}, got {retoucher.ranges}."
        )
    return retoucher


def _build_operator(about: OperatorAbout) -> Operator:
    if about.type == "Gated":
        gate = list(about.ranges)[-1]
        return Gated(*map(_build_operator, about.operators), prefix=gate.removesuffix("gate"))
    if about.type not in CHANNELWISE or about.space not in SPACES:
        raise ValueError(
            f"the file's operator {about.type} in {about.space} is none of opmask's. "
            "Pass retoucher= one with it."
        )
    kind, space = CHANNELWISE[about.type], SPACES[about.space]
    # Names are {prefix}{channel}_{operation}; all masks of one operator share prefix and range.
    stems = [name.removesuffix(f"_{kind.operation}") for name in about.ranges]
    channels = [next((c for c in space.channels if s.endswith(c)), s) for s in stems]
    prefix = stems[0].removesuffix(channels[0])
    return kind(space, *channels, range=next(iter(about.mask_ranges().values())), prefix=prefix)
