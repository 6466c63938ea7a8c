"""Degradations of the real image: noise, blur and JPEG."""

from opmask.perturb.degrade.degradations import (
    JPEG,
    Degradation,
    GaussianBlur,
    GaussianNoise,
    LaplaceNoise,
    MotionBlur,
    PoissonNoise,
)
from opmask.perturb.degrade.sampling import degradation_from_dict, degrade, draw_degradation

__all__ = [
    "JPEG",
    "Degradation",
    "GaussianBlur",
    "GaussianNoise",
    "LaplaceNoise",
    "MotionBlur",
    "PoissonNoise",
    "degradation_from_dict",
    "degrade",
    "draw_degradation",
]
