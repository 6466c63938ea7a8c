"""Perturbations: composites made from photos with label maps, each from one integer seed."""

from opmask.perturb.composite import Perturber, composite
from opmask.perturb.compositing import Compositing
from opmask.perturb.degrade import (
    JPEG,
    Degradation,
    GaussianBlur,
    GaussianNoise,
    LaplaceNoise,
    MotionBlur,
    PoissonNoise,
)
from opmask.perturb.filters import (
    CSS_FILTERS,
    FILTERS,
    OTHER_FILTERS,
    Cube,
    Filter,
    apply_filter,
)
from opmask.perturb.lab import LabScaling, LabScaling8
from opmask.perturb.light import Light
from opmask.perturb.records import Perturbation, PerturbationRecord, RegionChange
from opmask.perturb.regions import choose_regions
from opmask.perturb.rng import sample_seed
from opmask.perturb.sample import Composite, CompositeBatch, collate
from opmask.perturb.settings import (
    DEFAULT,
    LIFELIKE,
    PRESETS,
    REFERENCE,
    REFERENCE_RGB,
    Settings,
    draw,
    draw_filter,
)
from opmask.perturb.transfer import ColorTransfer

__all__ = [
    "CSS_FILTERS",
    "DEFAULT",
    "FILTERS",
    "JPEG",
    "LIFELIKE",
    "OTHER_FILTERS",
    "PRESETS",
    "REFERENCE",
    "REFERENCE_RGB",
    "ColorTransfer",
    "Composite",
    "CompositeBatch",
    "Compositing",
    "Cube",
    "Degradation",
    "Filter",
    "GaussianBlur",
    "GaussianNoise",
    "LabScaling",
    "LabScaling8",
    "LaplaceNoise",
    "Light",
    "MotionBlur",
    "Perturbation",
    "PerturbationRecord",
    "Perturber",
    "PoissonNoise",
    "RegionChange",
    "Settings",
    "apply_filter",
    "choose_regions",
    "collate",
    "composite",
    "draw",
    "draw_filter",
    "sample_seed",
]
