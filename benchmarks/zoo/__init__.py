"""The networks of other libraries that `backbones.py` wraps, a module for each field."""

from zoo import diffusion, imaging, medical, restoration, segmentation, tokens
from zoo.case import CASES, Case

__all__ = [
    "CASES",
    "Case",
    "diffusion",
    "imaging",
    "medical",
    "restoration",
    "segmentation",
    "tokens",
]
