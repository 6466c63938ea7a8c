r"""How far an output is from the real image, and whether the right region was changed.

Per image, never per batch, because the papers average per-image values::

    output, real -> mse, psnr, ssim          output, image, region -> localization_iou, iou_sweep
    map of the region, region -> localization_scores
    8-bit output, real, region -> score -> average over the data set
    LAB of the paper's code -> reference_panel -> 8-bit output
    masks, fitted masks -> mask_error
    model, batches of samples -> evaluate -> results_table, write_scores
"""

from __future__ import annotations

from opmask.metrics.definitions import PROTOCOLS, Protocol
from opmask.metrics.evaluation import evaluate, score_outputs, to_markdown, untouched
from opmask.metrics.image import mse, psnr, psnr_from_mse, ssim
from opmask.metrics.localization import (
    add_mask_iou,
    best_threshold,
    effective_change,
    iou,
    iou_sweep,
    localization_iou,
)
from opmask.metrics.masks import MaskError, mask_error
from opmask.metrics.protocols import average, score, to_uint8
from opmask.metrics.reference import reference_panel, reference_rgb_panel
from opmask.metrics.region_maps import localization_scores
from opmask.metrics.results import (
    Interval,
    bootstrap,
    interval,
    paired_difference,
    results_table,
    write_scores,
)

__all__ = [
    "PROTOCOLS",
    "Interval",
    "MaskError",
    "Protocol",
    "add_mask_iou",
    "average",
    "best_threshold",
    "bootstrap",
    "effective_change",
    "evaluate",
    "interval",
    "iou",
    "iou_sweep",
    "localization_iou",
    "localization_scores",
    "mask_error",
    "mse",
    "paired_difference",
    "psnr",
    "psnr_from_mse",
    "reference_panel",
    "reference_rgb_panel",
    "results_table",
    "score",
    "score_outputs",
    "ssim",
    "to_markdown",
    "to_uint8",
    "untouched",
    "write_scores",
]
