"""Fitted masks: those of a retoucher that best undo what was done, by regions or free."""

from opmask.fitting.fit import fit_masks, fit_record

__all__ = [
    "fit_masks",
    "fit_record",
]
