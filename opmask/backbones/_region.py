r"""Networks that are told the region take it apart from the image, or as its last channel.

They paint whole images; what was not changed is to be pasted back.

Data flow: `image (B, 3, H, W), region (B, 1, H, W)` or `(B, 4, H, W) -> split -> image, region`,
or `-> join -> (B, 4, H, W)`; and `output of a network, image, region -> paste -> image`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from opmask.color import check_image, check_region

__all__ = ["join", "paste", "split"]


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
    check_region(region, image)
    return image, region.to(image.dtype)


def paste(output: Tensor, image: Tensor, region: Tensor) -> Tensor:
    r"""The output inside the region, and the image around it.

    .. math:: r y + (1 - r) x

    Args:
        output: What a network made of the image, :math:`y`, with shape :math:`(B, 3, H, W)`, in
            image units.
        image: The image :math:`x` before, with the shape of `output`, in :math:`[0, 1]`.
        region: Where it was changed, :math:`r`, with shape :math:`(B, 1, H, W)`, bool or in
            :math:`[0, 1]`, soft where the two are to blend.

    Returns:
        The image, with shape :math:`(B, 3, H, W)`, in image units; not clamped.

    Raises:
        TypeError: If an image or the region is not floating point (the region may be bool).
        ValueError: If the shapes do not fit.

    Example:
        >>> image, region = torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)
        >>> region[..., 0] = 1
        >>> paste(image + 0.5, image, region)[0, 0]
        tensor([[0.5000, 0.0000],
                [0.5000, 0.0000]])
    """
    check_image(output, "output")
    check_image(image)
    if image.shape != output.shape:
        raise ValueError(
            f"'image' must have the shape of 'output', {tuple(output.shape)}, "
            f"got {tuple(image.shape)}."
        )
    check_region(region, image)
    inside = region.to(output.dtype)
    return output * inside + image * (1 - inside)
