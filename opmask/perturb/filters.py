r"""The photo filters with which regions are changed.

The filters are those of pilgram, which follows CSSgram. They round to 8 bits after every step, and
that is part of what they do: so they take and give 8-bit images.

8-bit image -> ``Filter`` -> 8-bit image, for :func:`opmask.perturb.composite.composite`.

References:
    | pilgram (Akazawa, 2019), https://github.com/akiomik/pilgram
    | CSSgram (Vergara, 2015), https://github.com/una/CSSgram
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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


def apply_filter(images: Tensor, name: str, amount: float | None = None) -> Tensor:
    r"""Applies a photo filter, exactly as pilgram does.

    Args:
        images: The RGB images, ``uint8``, with shape :math:`(B, 3, H, W)`, in 0-255.
        name: One of :data:`FILTERS` or :data:`OTHER_FILTERS`.
        amount: The strength, for filters that have one. None of these has, so leave it out.

    Returns:
        The filtered images, with the type, shape and range of `images`.

    Raises:
        ValueError: If the shape is wrong, there is no such filter, or it takes no amount.
        TypeError: If the images are not 8-bit.
        ImportError: If pilgram is not installed.

    Example:
        >>> apply_filter(torch.full((1, 3, 1, 1), 128, dtype=torch.uint8), "inkwell").flatten()
        tensor([151, 151, 151], dtype=torch.uint8)
    """
    check_name(name)
    if amount is not None:
        raise ValueError(f"'amount' must be None for filter {name!r}, got {amount}.")
    check_eight_bit(images, "images", "(B, 3, H, W)")
    return torch.stack([_filter_one(image, name) for image in images])


@dataclass(frozen=True)
class Filter:
    r"""One photo filter, as a perturbation: a callable that always does the same.

    Args:
        name: One of :data:`FILTERS` or :data:`OTHER_FILTERS`.

    Raises:
        ValueError: If there is no such filter.

    Example:
        >>> Filter("moon")(torch.full((3, 1, 1), 128, dtype=torch.uint8)).flatten()
        tensor([156, 156, 156], dtype=torch.uint8)
    """

    name: str

    def __post_init__(self) -> None:
        check_name(self.name)

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
        return apply_filter(image[None], self.name)[0]


def check_name(name: str) -> None:
    """Raises ``ValueError``, with the likely names, if there is no filter of that name."""
    known = FILTERS + OTHER_FILTERS
    if name not in known:
        close = difflib.get_close_matches(name, known)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(known)}."
        raise ValueError(f"'name' must be that of a filter, got {name!r}. {hint}")


def check_eight_bit(image: Tensor, argument: str, shape: str) -> None:
    """Raises unless an image, or batch of them, is 8-bit RGB of the given shape."""
    if image.dtype != torch.uint8:
        raise TypeError(
            f"'{argument}' must be 8-bit (torch.uint8), got {image.dtype}. "
            f"Pass the 8-bit photo: filters round to 8 bits after every step."
        )
    if image.ndim != shape.count(",") + 1 or image.shape[-3] != 3:
        raise ValueError(f"'{argument}' must have shape {shape}, got {tuple(image.shape)}.")


def _filter_one(image: Tensor, name: str) -> Tensor:
    try:
        import pilgram
    except ImportError as error:
        raise ImportError(
            "the photo filters need pilgram. Install it with `pip install opmask[train]`."
        ) from error
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
    filtered = getattr(pilgram, "_1977" if name == "1977" else name)(picture)
    return torch.from_numpy(np.array(filtered)).permute(2, 0, 1).contiguous().to(image.device)
