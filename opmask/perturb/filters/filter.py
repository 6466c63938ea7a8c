r"""The photo filters with which regions are changed.

The filters are those of pilgram: those of CSSgram, and the six filter functions of CSS, which
have an amount. They round to 8 bits after every step, and that is part of what they do: so they
work on 8-bit images. The results are pilgram's, bit for bit, on every device and without pilgram.

8-bit image -> ``Filter`` -> 8-bit image, for :func:`opmask.perturb.composite.composite`.

References:
    | pilgram (Akazawa, 2019), https://github.com/akiomik/pilgram
    | CSSgram (Vergara, 2015), https://github.com/una/CSSgram
    | Filter Effects Module Level 1 (W3C, 2018), https://www.w3.org/TR/filter-effects-1/
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from opmask.color import to_levels
from opmask.perturb.filters.css import css_pipeline
from opmask.perturb.filters.cssgram import cssgram_pipeline
from opmask.perturb.filters.lookup import LookupPipeline

FILTERS: tuple[str, ...] = (
    "1977",
    "brannan",
    "brooklyn",
    "clarendon",
    "earlybird",
    "gingham",
    "hudson",
    "inkwell",
    "kelvin",
    "lark",
    "lofi",
    "maven",
    "mayfair",
    "moon",
    "nashville",
    "reyes",
    "rise",
    "slumber",
    "stinson",
    "valencia",
    "walden",
    "willow",
    "xpro2",
)
"""The 23 filters that the paper draws from."""

OTHER_FILTERS: tuple[str, ...] = ("aden", "perpetua", "toaster")
"""The filters of pilgram that the paper leaves out."""

CSS_FILTERS: tuple[str, ...] = (
    "brightness",
    "contrast",
    "grayscale",
    "hue_rotate",
    "saturate",
    "sepia",
)
"""The filters of CSS, which have an amount; the paper draws from all of them but brightness."""


LARGEST_AMOUNT = 1e6
"""Beyond, single precision would overflow in some filters."""


def apply_filter(images: Tensor, name: str, amount: float | None = None) -> Tensor:
    r"""Applies a photo filter, exactly as pilgram does.

    Args:
        images: The RGB images, with shape :math:`(B, 3, H, W)`: ``uint8`` in 0-255, or floating
            point in :math:`[0, 1]`, which is rounded to 8 bits first.
        name: One of :data:`FILTERS`, :data:`OTHER_FILTERS` or :data:`CSS_FILTERS`.
        amount: The strength of a CSS filter, as in CSS: a factor of at least 0 for brightness,
            contrast and saturate, with 1 the identity; the share of at least 0 that is taken away
            by grayscale and sepia, with 0 the identity and all of it from 1 on; degrees for
            hue_rotate. By default pilgram's, 0 degrees and otherwise 1. The other filters have
            none, so leave it out.

    Returns:
        The filtered images, with the type, shape and range of `images`; those in floating point
        are multiples of 1/255.

    Raises:
        ValueError: If the shape is wrong, images in floating point are not in :math:`[0, 1]`,
            there is no such filter, it takes no amount, or the amount is out of bounds.
        TypeError: If the images are neither 8-bit nor floating point.

    Example:
        >>> apply_filter(torch.full((1, 3, 1, 1), 128, dtype=torch.uint8), "inkwell").flatten()
        tensor([151, 151, 151], dtype=torch.uint8)
        >>> grey = torch.full((1, 3, 1, 1), 100, dtype=torch.uint8)
        >>> apply_filter(grey, "brightness", 1.5).flatten()
        tensor([150, 150, 150], dtype=torch.uint8)
    """
    check_filter(name, amount)
    if images.is_floating_point():
        filtered = apply_filter(_to_eight_bit(images), name, amount)
        return (filtered.double() / 255).to(images.dtype)
    check_eight_bit(images, "images", "(B, 3, H, W)")
    pipeline, (height, width) = filter_pipeline(name, amount), images.shape[2:]
    keys = pipeline.keys(height, width, images.device)
    return pipeline.run(images.flatten(2), keys).view(images.shape)


@dataclass(frozen=True)
class Filter:
    r"""One photo filter, as a perturbation: a callable that always does the same.

    Args:
        name: One of :data:`FILTERS`, :data:`OTHER_FILTERS` or :data:`CSS_FILTERS`.
        amount: The strength of a CSS filter, see :func:`apply_filter`.

    Raises:
        ValueError: If there is no such filter, it takes no amount, or the amount is out of bounds.

    Example:
        >>> Filter("moon")(torch.full((3, 1, 1), 128, dtype=torch.uint8)).flatten()
        tensor([156, 156, 156], dtype=torch.uint8)
        >>> Filter("sepia", 0.5).to_dict()
        {'filter': 'sepia', 'amount': 0.5}
    """

    name: str
    amount: float | None = None

    def __post_init__(self) -> None:
        check_filter(self.name, self.amount)

    def __call__(self, image: Tensor) -> Tensor:
        r"""Filters an image.

        Args:
            image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.

        Returns:
            The filtered image, with the type, shape and range of `image`.

        Raises:
            ValueError: If the shape is wrong.
            TypeError: If the image is not 8-bit.
        """
        check_eight_bit(image, "image", "(3, H, W)")
        return apply_filter(image[None], self.name, self.amount)[0]

    def to_dict(self) -> dict[str, Any]:
        """The filter as plain values, for JSON."""
        amount = {} if self.amount is None else {"amount": self.amount}
        return {"filter": self.name, **amount}


def check_filter(name: str, amount: float | None) -> None:
    """Raises ``ValueError`` if there is no such filter, or it does not take that amount."""
    known = FILTERS + OTHER_FILTERS + CSS_FILTERS
    if name not in known:
        close = difflib.get_close_matches(name, known)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}."
        raise ValueError(f"'name' must be that of a filter, got {name!r}. {hint}")
    if amount is None:
        return
    if name not in CSS_FILTERS:
        raise ValueError(f"'amount' must be None for filter {name!r}, got {amount}.")
    if not math.isfinite(amount):
        raise ValueError(f"'amount' must be finite, got {amount}.")
    if abs(amount) > LARGEST_AMOUNT:
        raise ValueError(f"'amount' must be at most {LARGEST_AMOUNT:g} in size, got {amount}.")
    if name != "hue_rotate" and amount < 0:
        raise ValueError(f"'amount' must be at least 0 for filter {name!r}, got {amount}.")


def _to_eight_bit(images: Tensor) -> Tensor:
    low, high = (extreme.item() for extreme in torch.aminmax(images))
    if not 0 <= low <= high <= 1:  # so is NaN caught
        raise ValueError(
            f"'images' must be in [0, 1], got {low:g} to {high:g}. Divide 8-bit levels by 255."
        )
    return to_levels(images.double())


def check_eight_bit(image: Tensor, argument: str, shape: str) -> None:
    """Raises unless an image, or batch of them, is RGB in 0-255, ``uint8``, of the given shape."""
    if not isinstance(image, Tensor):
        raise TypeError(
            f"'{argument}' must be a tensor, got {type(image).__name__}. Of a file "
            "opmask.datasets.read_image makes one."
        )
    if image.dtype != torch.uint8:
        raise TypeError(
            f"'{argument}' must be 8-bit (torch.uint8), got {image.dtype}. "
            f"Pass the 8-bit photo: filters round to 8 bits after every step."
        )
    if image.ndim != shape.count(",") + 1 or image.shape[-3] != 3:
        raise ValueError(f"'{argument}' must have shape {shape}, got {tuple(image.shape)}.")


@lru_cache(maxsize=256)
def filter_pipeline(name: str, amount: float | None) -> LookupPipeline:
    """The look-up pipeline of a filter that passed :func:`check_filter`."""
    if name not in CSS_FILTERS:
        return cssgram_pipeline(name)
    default = 0.0 if name == "hue_rotate" else 1.0
    return css_pipeline(name, default if amount is None else amount)
