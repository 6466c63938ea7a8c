"""Operators: the editing operations that masks steer.

`__all__` is the one table of them. Files describe an operator by its name there.
"""

from opmask.operators.base import MaskRange, Operator
from opmask.operators.channel import Add, Affine, HueShift, Mul
from opmask.operators.composition import Gated

__all__ = ["Add", "Affine", "Gated", "HueShift", "MaskRange", "Mul", "Operator"]
