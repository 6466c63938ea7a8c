"""Warnings that point at the line that called opmask, however deep in it they arise."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

__all__ = ["warn"]

WITHIN = str(Path(__file__).parents[1]), str(Path(torch.__file__).parent)
"""Folders whose functions are not the caller's; torch wraps some of ours."""


def warn(message: str) -> None:
    """Warns the caller of opmask.

    Args:
        message: What is said.
    """
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_code.co_filename.startswith(WITHIN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
