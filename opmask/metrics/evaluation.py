r"""Scores a model on composites, and writes the table.

Data flow: `(model, batches of samples) -> a row of values for each image -> average -> table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from opmask.losses import LPIPS
from opmask.markdown import markdown_table
from opmask.metrics.definitions import PROTOCOLS
from opmask.metrics.localization import add_mask_iou, iou_sweep, localization_iou
from opmask.metrics.protocols import score, to_array, to_uint8
from opmask.metrics.results import COLUMNS
from opmask.perturb import CompositeBatch

__all__ = ["evaluate", "score_outputs", "to_markdown", "untouched"]

HEADLINE = ("mse", "psnr", "ssim", "lpips_vgg", "lpips_alex", "iou")
"""The values of the short table."""


@torch.no_grad()
def evaluate(
    model: nn.Module | None,
    batches: Iterable[CompositeBatch],
    *,
    guided: bool = False,
    protocol: str = "opmask",
    lpips: Iterable[LPIPS] | None = (),
    levels: Sequence[float] = (),
    pictures: tuple[Callable[[Tensor], np.ndarray], Callable[[Tensor], np.ndarray]] | None = None,
    add_threshold: float | None = None,
) -> list[dict[str, float]]:
    r"""Scores a model on batches of samples, image by image.

    Args:
        model: Maps a composite to :class:`opmask.Retouched`; `None` scores the composites
            themselves. It is evaluated in the mode that it is in.
        batches: The samples, images with shape :math:`(B, 3, H, W)` in :math:`[0, 1]`, on the
            model's device, see :func:`opmask.perturb.collate`. See :func:`untouched` for scoring
            what a model does to photos that nobody changed.
        guided: Whether the model is given the region.
        protocol: As for :func:`score`.
        lpips: The networks to score with, as in :func:`score`; none by default, as they take
            longer than most models.
        levels: Thresholds in levels of 255 at which localisation is scored besides.
        pictures: What makes the arrays that are scored, of outputs and of real images: by
            default rounding to 8 bits, or nothing where the protocol does not round. For the
            reference's lossier pictures see :func:`reference_panel`.
        add_threshold: Where the add masks, with gates multiplied in, are cut for
            :func:`add_mask_iou`. Default: that is not scored.

    Returns:
        For each image the row of :func:`score_outputs`, and `add_iou` with `add_threshold` for a
        model that has add masks. See :func:`average`.

    Example:
        >>> from opmask.datasets import Composites, SyntheticScenes
        >>> from opmask.perturb import Perturber, collate
        >>> samples = Composites(SyntheticScenes(2), Perturber())
        >>> batches = torch.utils.data.DataLoader(samples, batch_size=2, collate_fn=collate)
        >>> [row["iou"] for row in evaluate(None, batches)]
        [0.0, 0.0]
    """
    networks = None if lpips is None else tuple(lpips)
    rows = []
    for batch in batches:
        inputs = (batch.composite, batch.region) if guided else (batch.composite,)
        output, masks = (batch.composite, {}) if model is None else model(*inputs)
        made = score_outputs(
            output, batch, protocol=protocol, lpips=networks, levels=levels, pictures=pictures
        )
        if add_threshold is not None and any(name.endswith("_add") for name in masks):
            if (retoucher := getattr(model, "retoucher", None)) is not None:
                masks = retoucher.effective(masks)
            found = add_mask_iou(masks, batch.region, add_threshold).tolist()
            made = [{**row, "add_iou": share} for row, share in zip(made, found, strict=True)]
        rows += made
    return rows


def score_outputs(
    output: Tensor,
    batch: CompositeBatch,
    *,
    protocol: str = "opmask",
    lpips: Iterable[LPIPS] | None = (),
    levels: Sequence[float] = (),
    pictures: tuple[Callable[[Tensor], np.ndarray], Callable[[Tensor], np.ndarray]] | None = None,
) -> list[dict[str, float]]:
    r"""Scores what was made of a batch of samples, whatever made it.

    Args:
        output: The images to score, with shape :math:`(B, 3, H, W)`, in :math:`[0, 1]`.
        batch: The samples, as for :func:`evaluate`.
        protocol: As for :func:`evaluate`, like the other arguments.
        lpips: As there.
        levels: As there.
        pictures: As there.

    Returns:
        For each image the values of :func:`score`, `fmse` and `fpsnr` only where there is a
        region; `iou` of :func:`localization_iou`; `iou@8` and so on, the IoU of :func:`iou_sweep`
        at each of `levels`; and `foreground`, the share of the image that the region takes.

    Example:
        >>> from opmask.perturb import CompositeBatch
        >>> black = torch.zeros(1, 3, 16, 16)
        >>> region = torch.ones(1, 1, 16, 16)
        >>> batch = CompositeBatch(black, black + 0.5, region, (None,))
        >>> score_outputs(black + 0.5, batch)[0]["iou"]
        1.0
    """
    plain = to_uint8 if PROTOCOLS[protocol].rounded else to_array
    of_output, of_real = pictures or (plain, plain)
    found = {"iou": localization_iou(output, batch.composite, batch.region)}
    sweep = iou_sweep(output, batch.composite, batch.region, levels)
    found.update({f"iou@{level:g}": overlaps for level, overlaps in sweep.items()})
    found["foreground"] = (batch.region > 0.5).double().mean((1, 2, 3))
    columns = {name: values.tolist() for name, values in found.items()}
    arrays = zip(
        of_output(output), of_real(batch.real), batch.region[:, 0].cpu().numpy(), strict=True
    )
    rows = []
    for place, (mine, real, region) in enumerate(arrays):
        inside = region if (region > 0.5).any() else None
        values = score(mine, real, inside, protocol=protocol, lpips=lpips)
        rows.append({**values, **{name: column[place] for name, column in columns.items()}})
    return rows


def untouched(batch: CompositeBatch) -> CompositeBatch:
    r"""The samples of a batch as photos that nobody changed, to see whether a model does no harm.

    Args:
        batch: The samples.

    Returns:
        The samples with the real image as composite and an empty region. Their localisation IoU is
        1 where a model changes nothing, and 0 where it changes anything.

    Example:
        >>> from opmask.perturb import CompositeBatch
        >>> black = torch.zeros(1, 3, 4, 4)
        >>> batch = CompositeBatch(black + 1, black, torch.ones(1, 1, 4, 4), (None,))
        >>> untouched(batch).composite.max()
        tensor(0.)
    """
    return batch._replace(composite=batch.real, region=torch.zeros_like(batch.region))


def to_markdown(rows: Sequence[Mapping[str, str | float]]) -> str:
    r"""Writes rows of results as a Markdown table.

    Args:
        rows: For each model its name under `model`, and some of `mse`, `psnr`, `ssim`,
            `lpips_vgg`, `lpips_alex` and `iou`.

    Returns:
        The table of those values that every row has, ending in a line break. For more, with
        intervals, see :func:`results_table`.

    Example:
        >>> row = {"model": "om", "mse": 99.84, "psnr": 30.59, "ssim": 0.96, "iou": 0.5}
        >>> print(to_markdown([row]))
        | model | MSE | PSNR | SSIM | IoU |
        |---|---:|---:|---:|---:|
        | om | 99.84 | 30.59 | 0.9600 | 0.500 |
        <BLANKLINE>
    """
    columns = {name: COLUMNS[name] for name in HEADLINE if all(name in row for row in rows)}
    cells = (
        [row["model"], *(f"{row[name]:.{decimals}f}" for name, (_, decimals) in columns.items())]
        for row in rows
    )
    return markdown_table(["model", *(title for title, _ in columns.values())], cells) + "\n"
