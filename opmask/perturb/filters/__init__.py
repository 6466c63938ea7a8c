"""The photo filters, as exact look-up pipelines of tables and matrices, and ``.cube`` files."""

from opmask.perturb.filters.cube import Cube
from opmask.perturb.filters.filter import (
    CSS_FILTERS,
    FILTERS,
    OTHER_FILTERS,
    Filter,
    apply_filter,
    check_eight_bit,
    filter_pipeline,
)

__all__ = [
    "CSS_FILTERS",
    "FILTERS",
    "OTHER_FILTERS",
    "Cube",
    "Filter",
    "apply_filter",
    "check_eight_bit",
    "filter_pipeline",
]
