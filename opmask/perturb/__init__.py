"""Perturbations: composites made from photos with label maps, each from one integer seed."""

from opmask.perturb.composite import (
    Applied,
    Composite,
    CompositeBatch,
    Perturber,
    RegionChange,
    composite,
    draw,
)
from opmask.perturb.draws import sample_seed
from opmask.perturb.filters import FILTERS, Filter, apply_filter
from opmask.perturb.regions import choose_regions

__all__ = [
    "FILTERS",
    "Applied",
    "Composite",
    "CompositeBatch",
    "Filter",
    "Perturber",
    "RegionChange",
    "apply_filter",
    "choose_regions",
    "composite",
    "draw",
    "sample_seed",
]
