r"""Figures of matplotlib, made without pyplot, so that no global state is touched.

Data flow: `new_figure -> Figure -> write_figure -> file`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opmask.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DPI", "new_figure", "write_figure"]

DPI = 100


def new_figure(width: int, height: int) -> Figure:
    """An empty white figure of so many pixels."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Drawing pictures needs matplotlib, which is not installed. "
            "Run: pip install 'opmask[train]'"
        ) from error
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Writes a figure; a failure leaves the picture before it whole."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
