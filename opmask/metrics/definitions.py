r"""The protocols: what published evaluation code makes of the same two pictures.

They differ in what counts as the peak, in whether all pixels are scored or the region's alone, in
whether the region is soft, and in what was done to the pictures before. Each is defined here, in
one place, by what tells it from the others::

    name of a protocol -> Protocol -> score, and the line under every table
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Levels = np.ndarray
"""An RGB image as float64 with shape (H, W, 3), in 0-255, whole numbers or not."""

IH4_SIZE = 256
"""The height and width, in pixels, at which the tables of iHarmony4 are made."""


def _full_scale(output: Levels, real: Levels) -> float:
    return 255.0


def _range_of_output(output: Levels, real: Levels) -> float:
    return float(output.max() - output.min())


def _largest_of_real(output: Levels, real: Levels) -> float:
    return float(real.max())


@dataclass(frozen=True)
class Protocol:
    r"""How two pictures and a region become numbers.

    With the squared errors :math:`d^2`, the region's weights :math:`w` and the peak :math:`P`:

    .. math:: \mathrm{MSE} = \frac{1}{3HW} \sum d^2 \text{ or } \frac{1}{3HW} \sum w d^2, \quad
        \mathrm{PSNR} = 10 \log_{10} \frac{P^2}{\mathrm{MSE} + \epsilon}, \quad
        \mathrm{fMSE} = \frac{\sum w d^2}{c \sum w + \epsilon_f}

    and fPSNR is the PSNR of fMSE.

    Attributes:
        description: What it does, in one line, which is printed under every table.
        peak: The peak :math:`P` of an output and a real image, in levels.
        epsilon: What is added to the error in PSNR, so that equal images have one. Where the
            published code adds nothing, 1e-9, the paper's.
        soft: Whether the weights are the region as it is, or 0 and 1, cut at one half.
        foreground_only: Whether MSE leaves out the errors outside of the region. SSIM and LPIPS
            then see the output with the real image pasted around the region.
        divisor: The :math:`c` of fMSE: 3, the number of channels, where nothing went wrong.
        fmse_epsilon: The :math:`\epsilon_f` of fMSE.
        jpeg: The JPEG quality of the pictures that are scored, with chroma at half the size.
        rounded: Whether only 8-bit pictures are scored, or also floats.
        similarity: The SSIM: :func:`opmask.metrics.ssim`, or as the paper's script computes it.
        bgr: Whether LPIPS sees blue first.
        interpolation: How its code resizes: `"bicubic"` is Pillow's, with the region by nearest
            neighbour; `"bilinear"` is OpenCV's, the region likewise, which makes it soft.
    """

    description: str
    peak: Callable[[Levels, Levels], float] = _full_scale
    epsilon: float = 1e-9
    soft: bool = False
    foreground_only: bool = False
    divisor: float = 3.0
    fmse_epsilon: float = 0.0
    jpeg: int | None = None
    rounded: bool = True
    similarity: Literal["gaussian", "reference"] = "gaussian"
    bgr: bool = False
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"


PROTOCOLS = {
    "opmask": Protocol(
        "opmask: full image, 8-bit values in float64, PSNR peak 255, SSIM with an 11x11 Gaussian "
        "and range 255, LPIPS on RGB, fMSE over the region cut at one half."
    ),
    # D-14 to D-16: the paper's script.
    "reference": Protocol(
        "reference: the paper's script for HScene and HLIP: full image, 8-bit, PSNR peak 255, "
        "SSIM with a uniform 7x7 window and the range of the output's channel, LPIPS on BGR.",
        similarity="reference",
        bgr=True,
    ),
    "ih4-256": Protocol(
        "ih4-256: iHarmony4 at 256x256: full image, 8-bit, PSNR peak 255, fMSE over the region "
        "cut at one half, no real background pasted."
    ),
    "dovenet": Protocol(
        "dovenet: as DoveNet and BargainNet: full image, 8-bit, PSNR peak the largest less the "
        "smallest value of the output, fMSE over the region cut at one half.",
        peak=_range_of_output,
    ),
    "idih": Protocol(
        "idih: as iDIH, CDTNet and DucoNet: full image, not rounded, PSNR peak the largest value "
        "of the real image, 1e-6 added to the error, fMSE weighted by the soft region.",
        peak=_largest_of_real,
        epsilon=1e-6,
        soft=True,
        fmse_epsilon=1e-6,
        rounded=False,
        interpolation="bilinear",
    ),
    "masked": Protocol(
        "masked: as PCT-Net and AICT: MSE and PSNR count errors of the soft region only, over all "
        "pixels, not rounded, PSNR peak 255, 1e-6 added to the error.",
        epsilon=1e-6,
        soft=True,
        foreground_only=True,
        fmse_epsilon=1e-6,
        rounded=False,
        interpolation="bilinear",
    ),
    "masked-dccf": Protocol(
        "masked-dccf: as DCCF: MSE and PSNR count errors of the soft region only, over all "
        "pixels, not rounded, PSNR peak the largest value of the real image, 1e-6 added.",
        peak=_largest_of_real,
        epsilon=1e-6,
        soft=True,
        foreground_only=True,
        fmse_epsilon=1e-6,
        rounded=False,
        interpolation="bilinear",
    ),
    # Pasting the real image around a region of 0 and 1 leaves exactly the region's errors.
    "rainnet-leak": Protocol(
        "rainnet-leak: as RainNet and HDNet: the real background is pasted into the output "
        "before scoring, which hides every error there; 8-bit, PSNR peak 255.",
        foreground_only=True,
    ),
    # D-18: the mask's three channels are summed, after the error was averaged over channels.
    "reference-ih4": Protocol(
        "reference-ih4: the paper's script for iHarmony4: both pictures through JPEG of quality "
        "100 with chroma at half the size, full image, PSNR peak 255, fMSE a third of the proper "
        "value (and fPSNR 4.77 dB too high).",
        divisor=9.0,
        jpeg=100,
        interpolation="bilinear",
    ),
}
"""The protocols by name."""


def through_jpeg(levels: Levels, quality: int) -> Levels:
    """A picture of whole levels as it comes back from a JPEG with chroma at half the size."""
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(buffer, "JPEG", quality=quality, subsampling=2)
    with Image.open(buffer) as picture:
        return np.asarray(picture, dtype=np.float64)
