"""Harmonizing photos: images of any kind and size in, the same kind out, and edits between."""

from opmask.files.photo import Photo, read_photo
from opmask.files.saving import write_photo
from opmask.inference.edit import Adjustment, Edit, Source
from opmask.inference.plan import harmonize, plan

__all__ = [
    "Adjustment",
    "Edit",
    "Photo",
    "Source",
    "harmonize",
    "plan",
    "read_photo",
    "write_photo",
]
