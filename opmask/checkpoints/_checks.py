r"""What every loader checks: that there is a file, and that its numbers are numbers.

Data flow: `path -> check_file -> tensors -> check_finite -> model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

__all__ = ["check_file", "check_finite"]


def check_file(path: Path) -> None:
    """Raises unless there is such a file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"'path' must be a checkpoint file, but there is no {str(path)!r}."
        )


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raises, beginning with `what`, if a tensor holds a value that is not finite."""
    bad = [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise ValueError(
            f"{what}: {len(bad)} tensors hold values that are not finite, such as {bad[0]!r}."
        )
