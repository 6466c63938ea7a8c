r"""Programs that `torch.export` saved: what they return is known where `opmask` was imported.

Such a program names the type that it returns, :class:`opmask.Retouched`, which torch knows of once
:mod:`opmask.wrapper` is imported. That takes as long as to import torch, so it waits until torch
reads a program.

`torch.export.load` -> torch imports its reader -> :mod:`opmask.wrapper` is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from types import ModuleType

READER = "torch._export.serde"
"""The part of torch that reads programs, which is imported by the first call that needs it."""

WRAPPER = "opmask.wrapper"


class _Watch(MetaPathFinder):
    """Finds no module, but notes that one of the two is searched for, and is gone then."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name not in (READER, WRAPPER):
            return
        # A new list, because the search goes through the old one.
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]
        if name == READER:
            import_module(WRAPPER)


def watch() -> None:
    """Imports :mod:`opmask.wrapper` once torch reads programs, or now if it has read some."""
    if READER in sys.modules:
        import_module(WRAPPER)
    else:
        sys.meta_path.insert(0, _Watch())
