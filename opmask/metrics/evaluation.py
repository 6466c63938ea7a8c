r"""Scores a model on composites, and writes the table.

Data flow: `(model, batches of samples) -> a row of values for each image -> average -> table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from opmask.losses import LPIPS
from opmask.metrics.localization import localization_iou
from opmask.metrics.protocols import score, to_uint8

if TYPE_CHECKING:
    from opmask.datasets import Sample

__all__ = ["evaluate", "to_markdown"]

COLUMNS = {
    "mse": ("MSE", 2),
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "lpips_vgg": ("LPIPS (VGG)", 4),
    "lpips_alex": ("LPIPS (Alex)", 4),
    "iou": ("IoU", 3),
}
"""What the table shows: the heading and the number of decimals of each value."""


@torch.no_grad()
def evaluate(
    model: nn.Module | None,
    batches: Iterable[Sample],
    *,
    guided: bool = False,
    protocol: str = "opmask",
    lpips: Iterable[LPIPS] | None = (),
) -> list[dict[str, float]]:
    r"""Scores a model on batches of samples, image by image.

    Args:
        model: Maps a composite to :class:`opmask.Retouched`; `None` scores the composites
            themselves. It is evaluated in the mode that it is in.
        batches: Samples as a data loader collates them, images with shape :math:`(B, 3, H, W)` in
            :math:`[0, 1]`, on the model's device.
        guided: Whether the model is given the region.
        protocol: That of :func:`score`. The images are rounded to 8 bits in both; the reference's
            lossier pictures are those of :func:`reference_panel`.
        lpips: The networks to score with, as in :func:`score`; none by default, as they take
            longer than most models.

    Returns:
        For each image `mse`, `psnr`, `ssim` of :func:`score`, its `lpips_vgg` and `lpips_alex` if
        there are such networks, and `iou` of :func:`localization_iou`. See :func:`average`.

    Example:
        >>> from opmask.datasets import Composites, SyntheticScenes
        >>> from opmask.perturb import Perturber
        >>> samples = Composites(SyntheticScenes(2), Perturber())
        >>> batches = torch.utils.data.DataLoader(samples, batch_size=2)
        >>> [row["iou"] for row in evaluate(None, batches)]
        [0.0, 0.0]
    """
    networks = None if lpips is None else tuple(lpips)
    rows = []
    for batch in batches:
        inputs = (batch.composite, batch.region) if guided else (batch.composite,)
        output = batch.composite if model is None else model(*inputs).image
        found = localization_iou(output, batch.composite, batch.region)
        pairs = zip(to_uint8(output), to_uint8(batch.real), found.tolist(), strict=True)
        rows += [
            {**score(mine, real, protocol=protocol, lpips=networks), "iou": overlap}
            for mine, real, overlap in pairs
        ]
    return rows


def to_markdown(rows: Sequence[Mapping[str, str | float]]) -> str:
    r"""Writes rows of results as a Markdown table.

    Args:
        rows: For each model its name under `model`, and some of `mse`, `psnr`, `ssim`,
            `lpips_vgg`, `lpips_alex` and `iou`.

    Returns:
        The table of the values that every row has, ending in a line break.

    Example:
        >>> row = {"model": "om", "mse": 99.84, "psnr": 30.59, "ssim": 0.96, "iou": 0.5}
        >>> print(to_markdown([row]))
        | model | MSE | PSNR | SSIM | IoU |
        |---|---:|---:|---:|---:|
        | om | 99.84 | 30.59 | 0.9600 | 0.500 |
        <BLANKLINE>
    """
    columns = {name: COLUMNS[name] for name in COLUMNS if all(name in row for row in rows)}
    lines = ["| model | " + " | ".join(title for title, _ in columns.values()) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for row in rows:
        cells = [f"{row[name]:.{decimals}f}" for name, (_, decimals) in columns.items()]
        lines.append(f"| {row['model']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
