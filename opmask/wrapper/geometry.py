"""How the features that masks are read from lie to the image.

Data flow: `tapped layer -> Geometry -> MaskHead`, and `Geometry -> file -> Geometry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

__all__ = ["Geometry"]


@dataclass(frozen=True)
class Geometry:
    r"""Everything about a mask head but its weights, so that it can be rebuilt without probing.

    Args:
        inputs: The number of channels of the features.
        transposed: Whether the convolution is a transposed one.
        kernel_size: The kernel's height and width.
        stride: The stride.
        padding: The padding, or `"same"` or `"valid"`.
        dilation: The dilation.
        output_padding: The output padding of a transposed convolution.
        padding_mode: The padding mode as in :class:`torch.nn.Conv2d`.
        scale: The size of the map over the size of the image, as a numerator and a denominator.
        excess: By how many pixels the map is larger than that on each axis; negative for valid
            convolutions.
        start: Where the image begins in a map with an excess, in pixels of the map.
        shuffle: How many logits in each direction come from one place of the map (sub-pixel
            convolution).
        once: Whether the network may stop where the features are computed: their layer runs once,
            and a run that was cut short there leaves the network as it was.
    """

    inputs: int
    transposed: bool = False
    kernel_size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] | str = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    output_padding: tuple[int, int] = (0, 0)
    padding_mode: str = "zeros"
    scale: tuple[int, int] = (1, 1)
    excess: int = 0
    start: int = 0
    shuffle: int = 1
    once: bool = False

    @classmethod
    def of(cls, layer: nn.Conv2d | nn.ConvTranspose2d) -> Geometry:
        """That of a convolution, on maps of the image's size."""
        transposed = isinstance(layer, nn.ConvTranspose2d)
        names = ("kernel_size", "stride", "padding", "dilation", "output_padding", "padding_mode")
        shared = {name: getattr(layer, name) for name in names}
        return cls(layer.in_channels, transposed, **shared)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Geometry:
        """Rebuilds a geometry from :func:`dataclasses.asdict`, also after a trip through JSON."""
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**arguments)

    def build(self, channels: int) -> nn.Conv2d | nn.ConvTranspose2d:
        """A plain, ungrouped convolution with this geometry, all zero."""
        shared = {
            n: getattr(self, n)
            for n in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        if self.transposed:
            shared["output_padding"] = self.output_padding
        kind = nn.ConvTranspose2d if self.transposed else nn.Conv2d
        layer = kind(self.inputs, channels * self.shuffle**2, **shared)
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        return layer
