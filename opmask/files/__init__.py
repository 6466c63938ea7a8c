"""Files: read with care, and written whole or not at all."""

from opmask.files.reading import check_regular, shorten
from opmask.files.writing import (
    check_outputs,
    explaining,
    is_leftover,
    remove_leftovers,
    replacing,
)

__all__ = [
    "check_outputs",
    "check_regular",
    "explaining",
    "is_leftover",
    "remove_leftovers",
    "replacing",
    "shorten",
]
