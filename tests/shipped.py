"""The operators of opmask's table, as they are built with as little as they need."""

import opmask
from opmask import Operator, operators

NAMES = [n for n in operators.__all__ if n not in ("MaskRange", "Operator")]
WITH = {"Add": [opmask.LAB], "Mul": [opmask.LAB], "Gated": [opmask.Add(opmask.LAB)]}
AROUND = ("Frozen", "LowResolution", "Parallel", "Tied")
"""Operators without a mask of their own: ranges and prefix go to the one in them."""


def build(name: str, **options) -> Operator:
    """An operator built with nothing, one colour space or one operator."""
    if name in AROUND:
        inner = {key: options.pop(key) for key in ("ranges", "prefix") if key in options}
        return getattr(operators, name)(operators.Exposure(**inner), **options)
    return getattr(operators, name)(*WITH.get(name, []), **options)
