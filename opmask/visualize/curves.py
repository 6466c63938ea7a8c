r"""Loss curves over training steps.

Data flow: `losses by name -> save_curves -> picture`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from opmask.visualize.figures import new_figure, write_figure

__all__ = ["save_curves"]


def save_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    path: str | Path,
    *,
    ylabel: str,
) -> None:
    r"""Draw loss curves over training steps, each faint as it is and bold as its moving average.

    The vertical axis is logarithmic if all values are positive.

    Args:
        curves: By name in the legend: the steps and the value at each of them.
        path: The picture to write, `.png` or what else matplotlib writes.
        ylabel: What the values are, with their unit.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a curve has not as many values as steps.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_curves({"om": ([1, 2], [0.2, 0.1])}, Path(folder) / "loss.png", ylabel="loss")
    """
    figure = new_figure(900, 560)
    axes = figure.add_subplot()
    for index, (name, (steps, values)) in enumerate(curves.items()):
        if len(steps) != len(values):
            raise ValueError(
                f"'curves' must have a value for each step, got {len(values)} values for "
                f"{len(steps)} steps of {name!r}."
            )
        axes.plot(steps, values, color=f"C{index}", alpha=0.22, linewidth=0.8)
        axes.plot(steps, _smooth(values), color=f"C{index}", linewidth=1.8, label=name, zorder=3)
    if all(value > 0 for _, values in curves.values() for value in values):
        axes.set_yscale("log")
        # 20 and 0.05 rather than 2 x 10^1 and 5 x 10^-2
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.set(xlabel="training step", ylabel=ylabel)
    axes.grid(which="both", color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", integer=True)
    # Beside the curves, which would else run through the names.
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.tight_layout()
    write_figure(figure, Path(path))


def _smooth(values: Sequence[float]) -> np.ndarray:
    """The mean over a twentieth of the curve around each value, less where it ends."""
    array, half = np.asarray(values, dtype=float), len(values) // 40
    return np.array([array[max(0, i - half) : i + half + 1].mean() for i in range(len(array))])
