"""Harmonizing photos: images of any kind and size in, the same kind out."""

from opmask.inference.harmonize import harmonize

__all__ = [
    "harmonize",
]
