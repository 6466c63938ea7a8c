"""Operators: the editing operations that masks steer."""

from opmask.operators.base import MaskRange, Operator
from opmask.operators.channel import Add, Gated, Mul

__all__ = ["Add", "Gated", "MaskRange", "Mul", "Operator"]
