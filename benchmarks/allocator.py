"""One memory allocator for all that take turns: memory that is freed is kept, and taken again.

By default glibc maps large tensors anew each time, and touching fresh pages costs more than many
an operation: whoever takes fewer tensors would seem faster than the arithmetic is.
"""

from __future__ import annotations

import os
import sys

KEPT = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


def keep_memory() -> None:
    """Starts this script once more if the allocator does otherwise; nothing on other systems."""
    if any(os.environ.get(name) != value for name, value in KEPT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEPT})
