r"""Samples side by side: a row for each sample, a column for each image and mask.

Data flow: `PanelRow, PanelRow, ... -> save_panel, panel_image -> picture`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from opmask.visualize.figures import DPI, new_figure, write_figure
from opmask.visualize.masks import limit_of, mask_to_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PanelRow", "panel_image", "save_panel"]

CELL = 256  # pixels, the long side of an image in a panel: a multiple of the usual small sizes
COLUMN = 170  # pixels, the least width of a column: its texts must not meet the neighbour's
GAP = 10  # pixels between cells
GROUP_GAP = 34  # pixels between the images and the masks
LINE = 22  # pixels of a line of a title
BAR = 16  # pixels, the height of a colour bar


@dataclass(frozen=True)
class PanelRow:
    r"""One sample of a panel.

    Args:
        images: By column title: the image, with shape :math:`(3, H, W)` or, for a region,
            :math:`(1, H, W)`, in :math:`[0, 1]`.
        masks: By column title: the signed offset of an operator mask from its identity, with
            shape :math:`(1, H, W)`, in mask units. Empty for a model without masks.

    Example:
        >>> PanelRow({"real": torch.rand(3, 8, 8)}, {"l_add": torch.zeros(1, 8, 8)}).masks.keys()
        dict_keys(['l_add'])
    """

    images: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)


def save_panel(
    rows: Sequence[PanelRow],
    path: str | Path,
    *,
    limit: float | None = None,
    caption: str = "offset from the identity",
    cell: int = CELL,
) -> None:
    r"""Draw samples side by side: a row for each sample, a column for each image and mask.

    Small images are enlarged without smoothing. All rows of a mask share the scale of the colour
    bar below them.

    Args:
        rows: The samples, with the same column titles in the same order.
        path: The picture to write, `.png` or what else matplotlib writes.
        limit: The distance from the identity at which the colours of all masks end, in mask
            units. By default the largest in each column.
        caption: What stands below the colour bars: what the masks hold, and their unit.
        cell: The longer side of an image, in pixels.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are no rows, their titles differ, an image or mask has another shape
            than :class:`PanelRow` says, or `limit` is not positive.

    Example:
        >>> import tempfile
        >>> row = PanelRow({"real": torch.rand(3, 8, 8)}, {"l_add": torch.zeros(1, 8, 8)})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_panel([row, row], Path(folder) / "panel.png")
    """
    write_figure(_panel(rows, limit, caption, cell), Path(path))


def panel_image(
    rows: Sequence[PanelRow],
    *,
    limit: float | None = None,
    caption: str = "offset from the identity",
    cell: int = CELL,
) -> Image.Image:
    r"""The picture that :func:`save_panel` writes, to be shown in a notebook.

    Args:
        rows: The samples, with the same column titles in the same order.
        limit: The distance from the identity at which the colours of all masks end, in mask
            units. By default the largest in each column.
        caption: What stands below the colour bars: what the masks hold, and their unit.
        cell: The longer side of an image, in pixels.

    Returns:
        The picture, of mode RGB.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: As :func:`save_panel`.

    Example:
        >>> panel_image([PanelRow({"real": torch.rand(3, 8, 8)})], cell=100).size
        (190, 142)
    """
    buffer = BytesIO()
    _panel(rows, limit, caption, cell).savefig(buffer, dpi=DPI)
    return Image.open(buffer).convert("RGB")


def _check_rows(rows: Sequence[PanelRow]) -> None:
    if not rows:
        raise ValueError("'rows' must hold at least one sample, got none.")
    titles = [[*row.images, *row.masks] for row in rows]
    for row, found in zip(rows, titles, strict=True):
        if found != titles[0]:
            raise ValueError(f"'rows' must share their titles, got {titles[0]} and {found}.")
        for title, tensor, channels in (
            *((title, image, (1, 3)) for title, image in row.images.items()),
            *((title, mask, (1,)) for title, mask in row.masks.items()),
        ):
            if tensor.ndim != 3 or tensor.shape[0] not in channels:
                raise ValueError(
                    f"{title!r} must have shape (C, H, W) with C in {channels}, "
                    f"got {tuple(tensor.shape)}."
                )


def _panel(rows: Sequence[PanelRow], limit: float | None, caption: str, cell: int) -> Figure:
    """Colour the masks of the rows, each mask by one scale, and lay all out."""
    _check_rows(rows)
    cells = [[*row.images.values()] for row in rows]
    limits = []
    for title in rows[0].masks:
        masks = [row.masks[title] for row in rows]
        limits.append(limit_of(masks, limit))
        for line, mask in zip(cells, masks, strict=True):
            line.append(mask_to_rgb(mask[None], 0.0, limits[-1])[0])
    return _laid_out(cells, [*rows[0].images, *rows[0].masks], limits, caption, cell)


def _laid_out(
    cells: Sequence[Sequence[Tensor]],
    titles: Sequence[str],
    limits: Sequence[float],
    caption: str,
    longer: int,
) -> Figure:
    """Lay the `cells` out on a canvas of exact pixels; the last columns are the masks."""
    first_mask = len(titles) - len(limits)
    sizes = [[_size(cell, longer) for cell in line] for line in cells]
    heights = [max(height for height, _ in line) for line in sizes]
    widths = [max(COLUMN, *(size[1] for size in column)) for column in zip(*sizes, strict=True)]
    lefts = [GAP]
    for i, width in enumerate(widths, start=1):
        lefts.append(lefts[-1] + width + (GROUP_GAP if i == first_mask < len(widths) else GAP))
    names = [wrap(title, width // 10) for title, width in zip(titles, widths, strict=True)]
    tops = [GAP + LINE * max(len(name) for name in names)]
    for height in heights:
        tops.append(tops[-1] + height + GAP)
    canvas = lefts.pop(), tops[-1] + (BAR + 2 * LINE + GAP if limits else 0)

    figure = new_figure(*canvas)
    for left, width, name in zip(lefts, widths, names, strict=True):
        x, y = (left + width / 2) / canvas[0], 1 - (tops[0] - GAP / 2) / canvas[1]
        figure.text(x, y, "\n".join(name), ha="center", va="bottom", fontsize=12)
    for top, line, line_sizes in zip(tops, cells, sizes, strict=False):
        for left, column, cell, size in zip(lefts, widths, line, line_sizes, strict=True):
            centered = left + (column - size[1]) // 2
            enlarged = max(cell.shape[1:]) <= longer
            _picture(_axes(figure, centered, top, size[1], size[0]), cell, enlarged)
    for left, width, limit in zip(lefts[first_mask:], widths[first_mask:], limits, strict=True):
        _bar(_axes(figure, left, tops[-1], width, BAR), limit, caption)
    return figure


def _size(cell: Tensor, longer: int) -> tuple[int, int]:
    """The height and width at which to show an image, in pixels."""
    scale = longer / max(cell.shape[1:])
    return round(scale * cell.shape[1]), round(scale * cell.shape[2])


def _picture(axes: Axes, image: Tensor, enlarged: bool) -> None:
    # A diverged model must not cost its user the panel: NaN is black.
    pixels = image.detach().float().cpu().nan_to_num(0).clamp(0, 1)
    pixels = pixels.expand(3, -1, -1).permute(1, 2, 0)
    # Enlarged pixels stay squares; only a reduction is smoothed.
    axes.imshow(pixels.numpy(), interpolation="nearest" if enlarged else "hanning", aspect="auto")
    axes.set_axis_off()


def _bar(axes: Axes, limit: float, caption: str) -> None:
    ramp = mask_to_rgb(torch.linspace(-1, 1, 255).reshape(1, 1, 1, -1), 0.0, 1.0)[0]
    extent = (-limit, limit, 0.0, 1.0)
    axes.imshow(ramp.permute(1, 2, 0).numpy(), extent=extent, aspect="auto")
    ticks = axes.set_xticks([-limit, 0.0, limit], [f"−{limit:.2g}", "0", f"+{limit:.2g}"])
    # The outer labels stay within the column, away from the neighbours' labels.
    for tick, side in zip(ticks, ("left", "center", "right"), strict=True):
        tick.label1.set(ha=side, fontsize=10)
    axes.set_xlabel(caption, fontsize=10, color="0.35", labelpad=1)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in pixels, from the upper left corner."""
    w, h = figure.get_size_inches() * DPI
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
