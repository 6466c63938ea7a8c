r"""GrabCut over a refined region, with OpenCV: the colours inside and around say where it ends.

Data flow: `photo, region that was told, refined region -> GrabCut -> mean of refined and cut`.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from opmask.color import to_levels
from opmask.color.opencv import installed_opencv

__all__ = ["cut", "cut_labels", "need_opencv"]

ROUNDS = 5
"""How often GrabCut learns the colours and cuts."""


def need_opencv() -> ModuleType:
    """OpenCV, or an error that says how to get it."""
    cv2 = installed_opencv()
    if cv2 is None:
        raise ImportError(
            "GrabCut needs OpenCV, which is not installed. Run: pip install 'opmask[fast]'"
        )
    return cv2


def cut_labels(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    r"""What GrabCut finds.

    Args:
        pixels: The photo, ``uint8``, with shape :math:`(h, w, 3)`; the order of the channels does
            not matter.
        labels: What is inside and outside, for sure or probably, as OpenCV's ``GC_FGD``,
            ``GC_BGD``, ``GC_PR_FGD`` and ``GC_PR_BGD``, ``uint8``, with shape :math:`(h, w)`.

    Returns:
        What is inside, ``bool``, with the shape of `labels`; `None` if all was inside to begin
        with, or nothing, as GrabCut needs both sides.

    Raises:
        ImportError: If OpenCV is not installed.

    References:
        "GrabCut": Interactive Foreground Extraction using Iterated Graph Cuts (Rother et al.,
        2004)
    """
    cv2 = need_opencv()
    labels = labels.copy()
    inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if inside.all() or not inside.any():
        return None
    cv2.setRNGSeed(0)  # its clusters begin at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, labels, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def cut(image: Tensor, told: Tensor, refined: Tensor) -> Tensor:
    r"""The mean of a refined region and of what GrabCut makes of it.

    GrabCut models the colours inside and outside, and cuts where both these and the edges of the
    picture say so. In boxes it begins with the half where the refined region is strongest: a gate
    is often unsure of a thing as a whole, and yet surer of it than of what is around it. Around
    strokes it begins with the refined region. What was told stays: it adds nothing outside or to
    soft edges, and takes nothing away from strokes.

    Args:
        image: The photo, with shape :math:`(3, h, w)`, sRGB in :math:`[0, 1]`.
        told: The region as it was told, with shape :math:`(1, h, w)`: 1 inside, 0 outside, soft
            between, -1 unknown.
        refined: What :func:`opmask.inference.refine.refined_region` made of it, with shape
            :math:`(1, h, w)`, in :math:`[0, 1]`.

    Returns:
        The region, with the shape of `refined`; that itself where it is empty or all there is, as
        GrabCut needs both sides, and where GrabCut finds nothing.

    Raises:
        ImportError: If OpenCV is not installed.
    """
    cv2 = need_opencv()
    strokes = bool((told < 0).any())
    start = 0.5 if strokes else refined[told > 0].median().item()
    probably = (refined[0] >= start).cpu().numpy()
    outside = (told[0] == 0).cpu().numpy()
    sure = (told[0] > 0).cpu().numpy() & strokes
    labels = np.where(probably, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    labels[outside], labels[sure] = cv2.GC_BGD, cv2.GC_FGD
    pixels = to_levels(image).permute(1, 2, 0).contiguous().cpu().numpy()
    found = cut_labels(pixels, labels.astype(np.uint8))
    if found is None or not found.any():
        return refined
    mean = (refined + torch.from_numpy(found).to(refined)) / 2
    return torch.where(told < 0, mean, mean.minimum(told.clamp_min(0)))
