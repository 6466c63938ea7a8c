r"""What every loader checks: that there is a file, and that its tensors fit and are numbers.

Data flow: `path -> check_file -> tensors -> check_shapes, check_finite -> model`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from opmask.files.reading import LONGEST_NAME, shorten, why_unreadable

__all__ = ["check_file", "check_finite", "check_shapes"]


def check_file(path: Path) -> None:
    """Raises unless there is such a file; a pipe or a device is none."""
    if why := why_unreadable(path):
        raise FileNotFoundError(
            f"'path' must be a checkpoint file, got {shorten(path, LONGEST_NAME)!r}: {why}."
        )


def check_shapes(wanted: Mapping[str, Tensor], found: Mapping[str, Sequence[int]]) -> None:
    """Raises unless the shapes in a file are those of a network's tensors, names included."""
    missing, unknown = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    shared = wanted.keys() & found.keys()
    shapes = [name for name in shared if tuple(wanted[name].shape) != tuple(found[name])]
    if missing or unknown or shapes:
        raise ValueError(
            "the checkpoint does not fit the model: "
            f"{len(missing)} tensors missing {_some(missing)}, "
            f"{len(unknown)} unknown {_some(unknown)}, "
            f"{len(shapes)} of another shape {_some(shapes)}."
        )


def _some(names: Collection[str]) -> list[str]:
    return [shorten(name) for name in sorted(names)[:3]]


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raises, beginning with `what`, if a tensor holds a value that is not finite."""
    bad = [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise ValueError(
            f"{what}: {len(bad)} tensors hold values that are not finite, such as "
            f"{shorten(bad[0])!r}."
        )
