r"""From operators to their description and back, for checkpoints and for edits.

Data flow: `Retoucher -> describe_operator -> OperatorAbout -> build_retoucher -> Retoucher`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import msgspec

from opmask import operators as shipped
from opmask.checkpoints.metadata import OperatorAbout, convert_arguments
from opmask.color import spaces
from opmask.operators import Operator
from opmask.operators.base import STRUCTURE
from opmask.retouch import Retoucher

__all__ = ["SPACES", "build_retoucher", "describe_operator"]

SPACES = {s.name: s for s in vars(spaces).values() if isinstance(s, spaces.ColorSpace)}
"""The colour spaces of opmask by name."""

KINDS: dict[str, type[Operator]] = {
    name: kind
    for name in shipped.__all__
    if issubclass(kind := getattr(shipped, name), Operator) and kind is not Operator
}
"""The operators of opmask by name."""


def describe_operator(operator: Operator) -> OperatorAbout:
    """An operator as a file describes it: its class, space, masks and parameters."""
    kind = type(operator)
    known = KINDS.get(kind.__name__) is kind and operator.space in SPACES.values()
    inner: Any = operator.operators if known and hasattr(operator, "operators") else []
    ranges = {
        mask: (repr(float(r.identity)), repr(float(r.low)), repr(float(r.high)))
        for mask, r in operator.ranges.items()
    }
    return OperatorAbout(
        kind.__name__ if known else f"{kind.__module__}.{kind.__qualname__}",
        operator.space.name,
        ranges,
        [describe_operator(op) for op in inner],
        # As a file gives them back, with lists for tuples.
        msgspec.json.decode(msgspec.json.encode(operator.arguments)) if known else {},
        operator.prefix if known else "",
    )


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
        ValueError: If an operator is none of opmask's and no retoucher is handed in, the masks
            of that one are others, or an operator cannot be built with its parameters.
        TypeError: If `retoucher` is no retoucher.
    """
    if retoucher is not None and not isinstance(retoucher, Retoucher):
        raise TypeError(f"'retoucher' must be a Retoucher, got {type(retoucher).__name__}.")
    if retoucher is None:
        return Retoucher(*map(_build_operator, operators))
    stored = {name: r for about in operators for name, r in about.mask_ranges().items()}
    if retoucher.ranges != stored:
        raise ValueError(
            f"'retoucher' must have the masks of the file {stored}, got {retoucher.ranges}."
        )
    for about, found in zip(operators, map(describe_operator, retoucher.operators), strict=False):
        # Older files say nothing of arguments.
        if found.type == about.type and about.arguments not in ({}, found.arguments):
            raise ValueError(
                f"'retoucher' must have the {about.type} of the file, with {about.arguments}, got "
                f"one with {found.arguments}."
            )
    return retoucher


def _build_operator(about: OperatorAbout) -> Operator:
    if about.type not in KINDS or about.space not in SPACES:
        raise ValueError(
            f"the file's operator {about.type} in {about.space} is none of opmask's. "
            "Pass retoucher= one with it."
        )
    about = _completed(about)
    kind, takes = KINDS[about.type], inspect.signature(KINDS[about.type]).parameters
    keywords: dict[str, Any] = convert_arguments(kind, about.arguments, leave=STRUCTURE)
    inner = [_build_operator(operator) for operator in about.operators]
    positional: list[Any] = [SPACES[about.space]] if "space" in takes else []
    positional += inner if "operators" in takes else keywords.pop("channels", ())
    taken = {name for operator in inner for name in operator.ranges}
    ranges = {name: r for name, r in about.mask_ranges().items() if name not in taken}
    if "range" in takes:  # one for all masks
        keywords["range"] = next(iter(ranges.values()))
    elif "ranges" in takes:
        keywords["ranges"] = {n.removeprefix(about.prefix): r for n, r in ranges.items()}
    if "prefix" in takes:
        keywords["prefix"] = about.prefix
    built = kind(*positional, **keywords)
    if built.ranges != about.mask_ranges() or built.space != SPACES[about.space]:
        raise ValueError(
            f"operator {about.type} of the file must have the masks {list(built.ranges)} in "
            f"{built.space.name}, got {list(about.ranges)} in {about.space}."
        )
    return built


def _completed(about: OperatorAbout) -> OperatorAbout:
    """The description with prefix and channels, which older files leave to the mask names."""
    masks = list(about.ranges)
    if about.type == "Gated":
        return msgspec.structs.replace(about, prefix=masks[-1].removesuffix("gate"))
    if about.type not in ("Add", "Mul") or about.arguments:
        return about
    # Names are {prefix}{channel}_{operation}; all masks of one operator share the prefix.
    stems = [name.removesuffix(f"_{about.type.lower()}") for name in masks]
    known = SPACES[about.space].channels
    channels = [next((c for c in known if s.endswith(c)), s) for s in stems]
    prefix = stems[0].removesuffix(channels[0])
    return msgspec.structs.replace(about, prefix=prefix, arguments={"channels": channels})
