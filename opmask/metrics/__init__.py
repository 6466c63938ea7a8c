r"""How far an output is from the real image, and whether the right region was changed.

Per image, never per batch, because the papers average per-image values:

    output, real -> mse, psnr, ssim          output, image, region -> localization_iou
    8-bit output, real, region -> score -> average over the data set
    LAB of the paper's code -> reference_panel -> 8-bit output
    model, batches of samples -> evaluate -> average -> to_markdown
"""

from __future__ import annotations

from opmask.metrics.evaluation import evaluate, to_markdown
from opmask.metrics.image import mse, psnr, ssim
from opmask.metrics.localization import effective_change, iou, localization_iou
from opmask.metrics.protocols import average, score, to_uint8
from opmask.metrics.reference import reference_panel, reference_rgb_panel

__all__ = [
    "average",
    "effective_change",
    "evaluate",
    "iou",
    "localization_iou",
    "mse",
    "psnr",
    "reference_panel",
    "reference_rgb_panel",
    "score",
    "ssim",
    "to_markdown",
    "to_uint8",
]
