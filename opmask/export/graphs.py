r"""What is exported: a model, or a part of it, as a module that takes and returns plain tensors.

Exporters want positions instead of dictionaries of masks, and names for them. Each module here
has `inputs` and `outputs`, the names of what its `forward` takes and returns.

Data flow: `(model, parts) -> build_graph -> Predictor | Painter | Both -> exporter`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from opmask.operators import MaskRange
from opmask.retouch import Retoucher
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.sizes import SMALLEST

__all__ = [
    "Both",
    "Graph",
    "Painter",
    "Parts",
    "Predictor",
    "Size",
    "base_side",
    "build_graph",
    "draw_inputs",
]

Size = tuple[int, int]
Parts = Literal["predictor", "retoucher", "both"]

IMAGE, REGION, IMAGE_OUT = "image", "region", "image_out"


class Predictor(nn.Module):
    """Maps an image, and a region if the model takes one, to its masks, at any size."""

    def __init__(self, model: OperatorMaskWrapper) -> None:
        super().__init__()
        self.model = model
        self.inputs = [IMAGE, REGION] if model.region else [IMAGE]
        self.outputs = [*model.retoucher.ranges]
        # A model with a working size of its own resizes, and then pads by itself.
        self.multiple = 1 if model.size else model.multiple_of
        least = 1 if model.size else model.size_rule.least
        self.smallest = max(SMALLEST, least - self.multiple + 1)  # what is padded to the least

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Takes (B, 3, H, W), and (B, 1, H, W); returns each mask, with shape (B, 1, H, W)."""
        height, width = inputs[0].shape[-2:]
        # The wrapper pads by -s % m, from which torch.export cannot tell that the sum of both is
        # a multiple. With these amounts it can, and the wrapper finds nothing left to pad. (Only
        # of positive numbers, because ONNX rounds quotients to 0.)
        m = self.multiple
        rows, columns = ((s + m - 1) // m * m - s for s in (height, width))
        padded = [F.pad(x, (0, columns, 0, rows), mode="replicate") for x in inputs]
        masks = self.model.predict(*padded)
        return tuple(mask[..., :height, :width] for mask in masks.values())


class Painter(nn.Module):
    """Maps an image and its masks to the retouched image."""

    multiple = smallest = 1

    def __init__(self, retoucher: Retoucher) -> None:
        super().__init__()
        self.retoucher = retoucher
        self.inputs = [IMAGE, *retoucher.ranges]
        self.outputs = [IMAGE_OUT]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Takes (B, 3, H, W) and masks of (B, 1, H, W); returns (B, 3, H, W)."""
        image, *masks = inputs
        return (self.retoucher(image, dict(zip(self.inputs[1:], masks, strict=True))),)


class Both(nn.Module):
    """Maps an image, and a region if the model takes one, to the retouched image and the masks."""

    def __init__(self, model: OperatorMaskWrapper) -> None:
        super().__init__()
        self.predictor, self.painter = Predictor(model), Painter(model.retoucher)
        self.inputs = self.predictor.inputs
        self.outputs = [*self.painter.outputs, *self.predictor.outputs]
        self.multiple, self.smallest = self.predictor.multiple, self.predictor.smallest

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Takes what the predictor takes; returns (B, 3, H, W) and masks of (B, 1, H, W)."""
        masks = self.predictor(*inputs)
        return (*self.painter(inputs[0], *masks), *masks)


Graph = Predictor | Painter | Both


def build_graph(model: OperatorMaskWrapper | Retoucher, parts: Parts) -> Graph:
    r"""The part of a model that is to be exported, with flat inputs and outputs.

    Args:
        model: The model; a retoucher on its own has the part `"retoucher"` alone.
        parts: `"predictor"`, `"retoucher"` or `"both"`.

    Returns:
        A module around the parts of `model` itself.

    Raises:
        TypeError: If `model` is of another kind.
        ValueError: If `parts` is none of the three or `model` does not have it, or a mask is
            called like another input or output.

    Example:
        >>> import opmask
        >>> build_graph(opmask.lab_retoucher(), "retoucher").inputs
        ['image', 'l_mul', 'a_mul', 'b_mul', 'l_add', 'a_add', 'b_add']
    """
    if parts not in get_args(Parts):
        raise ValueError(f"'parts' must be one of {get_args(Parts)}, got {parts!r}.")
    if not isinstance(model, OperatorMaskWrapper | Retoucher):
        raise TypeError(
            "'model' must be an OperatorMaskWrapper or a Retoucher, got "
            f"{type(model).__name__}. Hand in the model itself, not compiled or wrapped."
        )
    retoucher = model if isinstance(model, Retoucher) else model.retoucher
    taken = {IMAGE, REGION, IMAGE_OUT} & retoucher.ranges.keys()
    if taken:
        raise ValueError(
            f"masks must not be called {sorted(taken)}, like inputs or outputs of the file. "
            "Pass prefix= to their operator."
        )
    if parts == "retoucher":
        return Painter(retoucher)
    if isinstance(model, Retoucher):
        raise ValueError(
            f"'parts' must be 'retoucher' for a Retoucher, which predicts nothing, got {parts!r}."
        )
    return Predictor(model) if parts == "predictor" else Both(model)


def base_side(graph: Graph) -> int:
    """A height or width that needs no padding, in pixels, not much above 64."""
    return math.ceil(max(64, graph.smallest) / graph.multiple) * graph.multiple


def draw_inputs(
    graph: Graph, ranges: Mapping[str, MaskRange], batch: int, size: Size, seed: int = 0
) -> tuple[Tensor, ...]:
    r"""Random inputs of a graph, to trace it or to compare it with what was made of it.

    Args:
        graph: The graph.
        ranges: The ranges of the masks among its inputs.
        batch: How many images.
        size: Their height and width, in pixels.
        seed: Of the random numbers.

    Returns:
        A tensor for each input, with shape :math:`(B, 3, H, W)` or :math:`(B, 1, H, W)`: the
        image in :math:`[0, 1]`, the region -1, 0 or 1, masks at most 1 from their identity.

    Example:
        >>> import opmask
        >>> retoucher = opmask.Retoucher(opmask.Add(opmask.LAB, "l"))
        >>> [x.shape for x in draw_inputs(Painter(retoucher), retoucher.ranges, 2, (16, 24))]
        [torch.Size([2, 3, 16, 24]), torch.Size([2, 1, 16, 24])]
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = []
    for name in graph.inputs:
        noise = torch.rand(batch, 3 if name == IMAGE else 1, *size, generator=generator)
        if name == REGION:
            noise = (3 * noise).floor() - 1
        elif name != IMAGE:
            r = ranges[name]
            low, high = max(r.low, r.identity - 1), min(r.high, r.identity + 1)
            noise = low + (high - low) * noise
        inputs.append(noise)
    return tuple(inputs)
