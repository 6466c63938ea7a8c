r"""Composites without the traces that only synthetic ones have.

A filter on 8-bit values leaves levels out, so that the histogram of a region looks like a comb,
and a region that was cut out by a label map ends from one pixel to the next. Real composites show
neither, but a network would find regions by them. Here a composite goes the way that a real one
went: it is blended in, resampled and compressed, and the real image with it.

``Composite`` (exact, native size) -> :class:`Recompression` -> ``Composite`` -> benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.color import to_levels
from opmask.perturb import JPEG, Composite, sample_seed
from opmask.perturb.compositing import RGB_ANTIALIASED
from opmask.perturb.rng import make_rng, uniform

RECOMPRESSION_SCALES = (0.5, 0.9)
"""Between which the factor is drawn by which :class:`Recompression` scales height and width."""

RECOMPRESSION_QUALITY = 90
"""The JPEG quality that :class:`Recompression` has by default."""

_STREAM = 1  # apart from the perturbation's numbers, and from the crop's, which are stream 0
_FADE = 5  # pixels, the side of the window over which a region's edge is blended


@dataclass(frozen=True)
class Recompression:
    r"""Blends a composite in, resamples it and compresses it; the real image likewise.

    .. math:: C' = J\left(R_s\left(I + a \, (C - I)\right)\right), \quad I' = J(R_s(I)), \quad
        a = \max(0, 2 \bar{m} - 1)

    for the composite :math:`C` and the real image :math:`I`, where :math:`\bar{m}` is the mean of
    the region over 5 x 5 pixels (those inside of the image), so that a straight edge fades over
    two pixels inwards, by 0.2, 0.6, 1; :math:`R_s` scales both sides by :math:`s`, bilinearly with
    antialiasing, and rounds to 8 bits; and :math:`J` is JPEG with chroma at half the size. The new
    region is where :math:`R_s(a) \ge 1/2`. What is narrower than three pixels disappears.

    Outside of the region composite and real are equal but for the JPEG blocks that it touches, as
    in photographs that were saved twice. Values depend on the version of Pillow's JPEG.

    Args:
        scale: The factor :math:`s`, in :math:`(0, 1]`.
        quality: The JPEG quality, from 1 to 100.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> from opmask.perturb import draw, composite
        >>> image = torch.full((3, 20, 30), 128, dtype=torch.uint8)
        >>> label_map = torch.ones(20, 30, dtype=torch.int64)
        >>> made = composite(image, label_map, draw(label_map, seed=0))
        >>> Recompression(0.6)(made).composite.shape
        torch.Size([3, 12, 18])
    """

    scale: float
    quality: int = RECOMPRESSION_QUALITY

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"'scale' must be in (0, 1], got {self.scale}.")
        JPEG(self.quality)  # which refuses what is no quality

    def __call__(self, made: Composite, *, size: int | None = None) -> Composite:
        r"""Blends a composite in, resamples it and compresses it.

        Args:
            made: The composite at its native size, with images :math:`(3, H, W)` in
                :math:`[0, 1]`; values outside are clipped.
            size: The height and width to which all is resized at the end, as
                :data:`opmask.perturb.DEFAULT` does. Default: the sides are those of `made` times
                `scale`, rounded.

        Returns:
            The recompressed composite, multiples of 1/255 unless it was resized, with a region of
            0 and 1 and the record of `made`.
        """
        faded = _fade(made.region)
        real = made.real.double().clamp(0, 1)
        composite = real + faded * (made.composite.double().clamp(0, 1) - real)
        planes = self._resample(torch.cat([composite, real, faded]))
        # The reason for float64 up to here: no machine rounds another level.
        codes = to_levels(planes[:6])
        compress, region = JPEG(self.quality), (planes[6:] >= 0.5).float()
        changed, real = compress(codes[:3]), compress(codes[3:])
        if size is not None:
            changed, real, region = RGB_ANTIALIASED.resize(changed, real, region, size)
        to_rgb = RGB_ANTIALIASED.to_rgb
        return Composite(to_rgb(changed), to_rgb(real), region, made.applied)

    def _resample(self, planes: Tensor) -> Tensor:
        size = [max(1, round(side * self.scale)) for side in planes.shape[1:]]
        small = F.interpolate(planes[None], size, mode="bilinear", antialias=True)[0]
        return small.clamp(0, 1)


def draw_recompression(seed: int, quality: int = RECOMPRESSION_QUALITY) -> Recompression:
    r"""Draws how a composite is recompressed, from the seed of its sample.

    Args:
        seed: The seed of the sample, see :func:`opmask.perturb.sample_seed`.
        quality: The JPEG quality, from 1 to 100.

    Returns:
        The recompression, whose scale lies in :data:`RECOMPRESSION_SCALES`.

    Example:
        >>> draw_recompression(7)
        Recompression(scale=0.718..., quality=90)
    """
    return Recompression(
        uniform(*RECOMPRESSION_SCALES, make_rng(sample_seed(seed, 0, _STREAM))), quality
    )


def _fade(region: Tensor) -> Tensor:
    """How much of the change is left: from 1 within a region to 0 at its edge, float64."""
    around = F.avg_pool2d(
        region.double()[None], _FADE, stride=1, padding=_FADE // 2, count_include_pad=False
    )[0]
    return (2 * around - 1).clamp(min=0)
