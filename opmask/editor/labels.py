r"""What the masks of a retoucher are called on the page, and how far their controls go.

Names that people know: the channel of the colour space, and what is done to it. Masks of operators
that do not work channel by channel are called by their names, in the operator's `unit`.

Data flow: `(Retoucher, name) -> Label -> page`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from opmask.operators import Operator
from opmask.retouch import Retoucher

__all__ = ["Label", "label"]

CHANNELS = {
    "lab": {"l": "Lightness", "a": "Green\u2013red", "b": "Blue\u2013yellow"},
    "hls": {"h": "Hue", "l": "Lightness", "s": "Saturation"},
    "hsv": {"h": "Hue", "s": "Saturation", "v": "Value"},
    "rgb": {"r": "Red", "g": "Green", "b": "Blue"},
    "linear": {"r": "Red", "g": "Green", "b": "Blue"},
}
"""By the beginning of the name of a colour space, what its channels are called."""

OPERATIONS = {"mul": "factor", "add": "shift"}

CIE = {"l": (100.0, "L*"), "a": (128.0, "a*"), "b": (128.0, "b*")}
"""What 1 is in each channel of :data:`opmask.LAB`."""


@dataclass(frozen=True)
class Label:
    r"""What a mask is called, and how far its controls go.

    Args:
        title: What it changes.
        operation: How, in a word; empty for operators of one's own.
        reach: The largest offset of the control, in operator units.
        limit: The distance from the identity at which the colours of its picture end, likewise.
        scale: What 1 is in `unit`.
        unit: The unit in which offsets are shown.
    """

    title: str
    operation: str
    reach: float
    limit: float
    scale: float = 1.0
    unit: str = ""


def label(retoucher: Retoucher, name: str) -> Label:
    r"""What one mask of a retoucher is called.

    Args:
        retoucher: The retoucher.
        name: The name of the mask.

    Returns:
        The label.

    Example:
        >>> import opmask
        >>> found = label(opmask.lab_retoucher(), "a_add")
        >>> found.title, found.operation, found.reach * found.scale, found.unit
        ('Green–red', 'shift', 64.0, 'a*')
    """
    operator = next(op for op in retoucher.operators if name in op.ranges)
    bounds = operator.ranges[name]
    far = max(bounds.high - bounds.identity, bounds.identity - bounds.low)
    far = far if math.isfinite(far) else 1.0
    title, operation, scale, unit = _words(_owner(operator, name), name)
    return Label(title, operation, far / 2, far / 4, scale, unit)


def _owner(operator: Operator, name: str) -> Operator:
    """The operator that declares a mask: the one itself, or one in it."""
    inner = [op for op in getattr(operator, "operators", ()) if name in op.ranges]
    return _owner(inner[0], name) if inner else operator


def _words(operator: Operator, name: str) -> tuple[str, str, float, str]:
    """Title, operation, scale and unit."""
    channel, kind = ["", *name.split("_")][-2:]
    space = operator.space.name
    known = next((c for start, c in CHANNELS.items() if space.startswith(start)), {})
    if channel not in known or kind not in OPERATIONS:
        return name.replace("_", " ").capitalize(), "", *operator.unit
    scale, unit = 1.0, ""
    if kind == "mul":
        scale, unit = 100.0, "%"
    elif space == "lab":
        scale, unit = CIE[channel]
    return known[channel], OPERATIONS[kind], scale, unit
