r"""What models take: networks, images, and regions that say where an image was changed.

Data flow: `(image, region) -> check_inputs -> with_region -> backbone`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = [
    "SMALLEST",
    "check_backbone",
    "check_image",
    "check_inputs",
    "precision",
    "with_region",
]

SMALLEST = 16
"""The smallest height or width that a model accepts, in pixels."""

OUTERMOST = (
    "DistributedDataParallel",
    "DataParallel",
    "OptimizedModule",
    "RecursiveScriptModule",
    "ScriptModule",
)


def check_image(image: Tensor, name: str = "image", channels: int = 3) -> None:
    """Raises unless `image` is a floating-point batch of images with that many channels."""
    if not isinstance(image, Tensor):
        raise TypeError(f"'{name}' must be a tensor, got {type(image).__name__}.")
    if not image.is_floating_point():
        raise TypeError(
            f"'{name}' must be floating point in [0, 1], got {image.dtype}. "
            "Divide 8-bit values by 255."
        )
    if image.ndim != 4 or image.shape[1] != channels:
        raise ValueError(
            f"'{name}' must have shape (B, {channels}, H, W), got {tuple(image.shape)}."
        )
    if 0 in image.shape:
        raise ValueError(f"'{name}' must hold at least one image, got {tuple(image.shape)}.")


def precision(network: nn.Module, image: Tensor) -> torch.dtype:
    """The data type in which a network takes an image: that of its first parameter."""
    for parameter in network.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    return image.dtype  # a replica of nn.DataParallel has no parameters


def with_region(x: Tensor, region: Tensor | None) -> Tensor:
    """A network's input with the region as one more channel; -1, unknown, if there is none."""
    plane = torch.full_like(x[:, :1], -1.0) if region is None else region.to(x.dtype)
    return torch.cat([x, plane], 1)


def check_inputs(image: Tensor, region: Tensor | None, takes_region: bool) -> None:
    """Raises unless a model that takes a region, or not, can work with these two."""
    check_image(image)
    if min(image.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"'image' must be at least {SMALLEST}x{SMALLEST} pixels, "
            f"got {tuple(image.shape[-2:])}."
        )
    if region is None:
        return
    if not takes_region:
        raise ValueError(
            "this model is blind: it was built without region=True, so 'region' must be None. "
            "Use edit(..., region=region) if you only want to confine the masks."
        )
    want = (image.shape[0], 1, *image.shape[-2:])
    if region.shape != want:
        raise ValueError(
            f"'region' must have shape {want} to fit the image, got {tuple(region.shape)}."
        )


def check_backbone(backbone: nn.Module) -> None:
    """Raises unless `backbone` is a network itself, with weights that can learn."""
    kind = type(backbone).__name__
    if not isinstance(backbone, nn.Module):
        raise TypeError(f"'backbone' must be a torch.nn.Module, got {kind}.")
    if kind in OUTERMOST:
        raise TypeError(
            f"'backbone' must be the network itself, got {kind}. Apply {kind} to the wrapper."
        )
    if not any(p.is_floating_point() for p in backbone.parameters()):
        raise ValueError(
            f"'backbone' must have parameters to learn masks with, but {kind} has none."
        )
    if any(t.is_meta for t in (*backbone.parameters(), *backbone.buffers())):
        raise ValueError(
            "'backbone' must have weights, which are read to find the layer for the masks, but "
            f"{kind} is on the meta device. Build it elsewhere, or load its weights first."
        )
    if any(p.is_inference() for p in backbone.parameters()):
        raise ValueError(
            f"'backbone' must be able to learn, but {kind} was built in torch.inference_mode. "
            "Build it outside."
        )
