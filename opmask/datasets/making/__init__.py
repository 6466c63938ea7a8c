"""Sets in iHarmony4's format, made of photos with label maps."""

from opmask.datasets.making.build import make_iharmony4
from opmask.datasets.making.config import FORMATS, MakingConfig
from opmask.datasets.making.journal import JOURNAL
from opmask.datasets.making.masks import choose_masks, draw_changes
from opmask.datasets.making.sources import photos_by_split, place_of

__all__ = [
    "FORMATS",
    "JOURNAL",
    "MakingConfig",
    "choose_masks",
    "draw_changes",
    "make_iharmony4",
    "photos_by_split",
    "place_of",
]
