r"""OpenCV, where it is installed and gives the bits that opmask's own forms give.

opmask does without it. Where it is there, it does the same several times as fast: conversions to
8-bit LAB (:mod:`opmask.color.opencv_lab`) and resizing (:mod:`opmask.perturb.resize`). It is first
imported when a composite needs it; ``pip install 'opmask[fast]'`` brings it.

Operation + probe -> ``opencv_if_equal`` -> the module ``cv2``, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

__all__ = ["opencv_if_equal", "probe"]


@cache
def opencv_if_equal(
    own: Callable[..., Tensor], theirs: Callable[..., Tensor], *rest: int
) -> ModuleType | None:
    r"""OpenCV, if it does the same as a form of our own: tried once for each, on :func:`probe`.

    Builds of OpenCV may round in their own ways, and then it is not used.

    Args:
        own: The form of our own, of an image of ``uint8`` with shape :math:`(3, H, W)`.
        theirs: The same with OpenCV, which is its first argument.
        rest: What both take besides.

    Returns:
        The module ``cv2``, or None if it is not installed or rounds otherwise.
    """
    cv2 = installed_opencv()
    if cv2 is None:
        return None
    return cv2 if torch.equal(own(probe(), *rest), theirs(cv2, probe(), *rest)) else None


def installed_opencv() -> ModuleType | None:
    """The module ``cv2``, or None if it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def probe() -> Tensor:
    r"""An image of many colours, ``uint8``, with shape :math:`(3, 96, 64)`."""
    levels = np.random.default_rng(0).integers(0, 256, (3, 96, 64), dtype=np.uint8)
    levels[:, ::2] //= 16  # dark colours, where curves have their knees
    return torch.from_numpy(levels)
