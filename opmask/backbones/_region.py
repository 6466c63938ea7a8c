r"""Networks that are told the region take it apart from the image, or as its last channel.

Data flow: `image (B, 3, H, W), region (B, 1, H, W)` or `(B, 4, H, W) -> split -> image, region`,
or `-> join -> (B, 4, H, W)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opmask.color import check_image

__all__ = ["join", "split"]


def join(image: Tensor, region: Tensor | None, channels: int) -> Tensor:
    """Image and region as one tensor of so many channels, once both are right."""
    if region is None and image.ndim == 4 and image.shape[1] == channels:
        check_image(image, channels=channels)
        return image
    return torch.cat(split(image, region, channels - 1), 1)


def split(image: Tensor, region: Tensor | None, channels: int = 3) -> tuple[Tensor, Tensor]:
    """The image, with so many channels, and the region in its precision, once both are right."""
    if region is None:
        if image.ndim == 4 and image.shape[1] == channels:
            raise ValueError(
                f"'region' must be given, or be one more channel of 'image', got {channels} "
                "channels and no region. Pass region=, or region=True to a wrapper."
            )
        check_image(image, channels=channels + 1)
        return image[:, :channels], image[:, channels:]
    check_image(image, channels=channels)
    wanted = (image.shape[0], 1, *image.shape[2:])
    if region.shape != wanted:
        raise ValueError(
            f"'region' must have shape {wanted}, that of 'image' with one channel, "
            f"got {tuple(region.shape)}."
        )
    return image, region.to(image.dtype)
