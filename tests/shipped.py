"""The operators of opmask's table, as they are built with as little as they need."""

import opmask
from opmask import Operator, operators

NAMES = [n for n in operators.__all__ if n not in ("MaskRange", "Operator")]
WITH = {"Add": [opmask.LAB], "Mul": [opmask.LAB], "Gated": [opmask.Add(opmask.LAB)]}


def build(name: str, **options) -> Operator:
    """An operator built with nothing, one colour space or one operator."""
    return getattr(operators, name)(*WITH.get(name, []), **options)
