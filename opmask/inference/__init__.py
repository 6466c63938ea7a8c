"""Harmonizing photos: images of any kind and size in, the same kind out, and edits between."""

from opmask.inference.edit import Adjustment, Edit, Source
from opmask.inference.plan import harmonize, plan

__all__ = [
    "Adjustment",
    "Edit",
    "Source",
    "harmonize",
    "plan",
]
