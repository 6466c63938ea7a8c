"""Fitted masks: the constants of a retoucher that best undo what was done to each region."""

from opmask.fitting.fit import fit_masks, fit_record

__all__ = [
    "fit_masks",
    "fit_record",
]
