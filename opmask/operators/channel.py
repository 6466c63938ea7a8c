r"""Arithmetic by channel of a colour space: the paper's two operators, and relatives of them.

Data flow: `(image, mask)`, both in the operator's colour space, `-> image`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from opmask.color import HLS, LAB, ColorSpace
from opmask.operators.base import MaskRange, Operator
from opmask.operators.checks import Color, as_triple, check_color

__all__ = ["Add", "Affine", "HueShift", "Mul"]


def check_space(space: ColorSpace) -> ColorSpace:
    """A colour space."""
    if not isinstance(space, ColorSpace):
        raise TypeError(f"'space' must be a colour space such as opmask.LAB, got {space!r}.")
    return space


def check_channels(space: ColorSpace, channels: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen channels of a colour space; all of them if none is named."""
    check_space(space)
    unknown = [c for c in channels if c not in space.channels]
    if unknown:
        raise ValueError(
            f"'channels' must be drawn from {space.name}'s {space.channels}, got {unknown}."
        )
    if len(set(channels)) < len(channels):
        raise ValueError(f"'channels' must name each channel once, got {list(channels)}.")
    return channels or space.channels


class _Channelwise(Operator):
    """One mask for each chosen channel of a colour space."""

    operation: str
    identity: float
    _change: Callable[[Tensor, Tensor], Tensor]
    pixelwise = True

    def __init__(
        self, space: ColorSpace, channels: tuple[str, ...], range: MaskRange, prefix: str
    ) -> None:
        self.space = space
        self.channels = check_channels(space, channels)
        names = [f"{c}_{self.operation}" for c in self.channels]
        self.ranges = dict.fromkeys(names, MaskRange(self.identity))
        super().__init__(ranges=dict.fromkeys(names, range), prefix=prefix)
        numbers = {c: i for i, c in enumerate(self.channels)}
        self.places = [numbers.get(c) for c in space.channels]
        """For each channel of the space the number of its mask, if it has one."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        if self.places == [*range(image.shape[1])]:
            return self._change(image, mask)
        # In slices, which compilers fuse. (The exporter to ONNX gets index_add wrong.)
        return torch.cat(self.by_channel(image.split(1, 1), mask.split(1, 1)), 1)

    def by_channel(self, channels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Operator.by_channel`."""
        places = zip(channels, self.places, strict=True)
        return [x if i is None else self._change(x, masks[i]) for x, i in places]


class Add(_Channelwise):
    r"""Adds a mask to each of some channels of a colour space.

    .. math:: y_c = x_c + m_c

    Args:
        space: The colour space to work in.
        *channels: The channels to change, by name. All of them if none is named.
        range: The range of every mask, in units of the space.
        prefix: Goes before each mask name, such as `"hls_"`, to keep the names in a retoucher
            apart.

    Raises:
        ValueError: If a channel is unknown or named twice, or `range` moves the identity.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022), equation 2

    Example:
        >>> import opmask
        >>> list(Add(opmask.LAB, "a", "b").ranges)
        ['a_add', 'b_add']
    """

    operation = "add"
    identity = 0.0
    _change = staticmethod(torch.add)

    def __init__(
        self,
        space: ColorSpace,
        *channels: str,
        range: MaskRange = MaskRange(0.0, low=-1.0, high=1.0),
        prefix: str = "",
    ) -> None:
        super().__init__(space, channels, range, prefix)


class Mul(_Channelwise):
    r"""Multiplies each of some channels of a colour space by a mask.

    .. math:: y_c = x_c \, m_c

    Where a channel is 0, the mask has no effect: this *pivot* is part of what the colour space
    means (see :mod:`opmask.color`).

    Args:
        space: The colour space to work in.
        *channels: The channels to change, by name. All of them if none is named.
        range: The range of every mask, as a factor.
        prefix: Goes before each mask name, such as `"hls_"`, to keep the names in a retoucher
            apart.

    Raises:
        ValueError: If a channel is unknown or named twice, or `range` moves the identity.

    References:
        | Semantic-guided Multi-Mask Image Harmonization (Ren and Liu, 2022), equation 2

    Example:
        >>> import opmask
        >>> list(Mul(opmask.HLS, "s", prefix="hls_").ranges)
        ['hls_s_mul']
    """

    operation = "mul"
    identity = 1.0
    _change = staticmethod(torch.mul)

    def __init__(
        self,
        space: ColorSpace,
        *channels: str,
        range: MaskRange = MaskRange(1.0, low=0.0, high=2.0),
        prefix: str = "",
    ) -> None:
        super().__init__(space, channels, range, prefix)


class Affine(Operator):
    r"""Scales each of some channels about the value of one colour, the pivot, and shifts it.

    .. math:: y_c = p_c + m_{c,1}\,(x_c - p_c) + m_{c,2}

    The pivot is given in RGB and holds in any space: the scale leaves that colour as it is.

    ========== ========== ===================== ================================
    mask       identity   range                 unit
    ========== ========== ===================== ================================
    `c_scale`  1          :math:`[0, 2]`        a factor
    `c_offset` 0          :math:`[-0.5, 0.5]`   that of channel c of the space
    ========== ========== ===================== ================================

    Args:
        space: The colour space to work in.
        *channels: The channels to change, by name. All of them if none is named.
        pivot: The pivot :math:`p`: a grey, or a colour as a triple, RGB in :math:`[0, 1]`.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If a channel is unknown or named twice, or `pivot` is no colour.

    Example:
        >>> import opmask
        >>> skin = Affine(opmask.LAB, "a", "b", pivot=(0.8, 0.6, 0.5))
        >>> list(skin.ranges)
        ['a_scale', 'a_offset', 'b_scale', 'b_offset']
    """

    pixelwise = True

    def __init__(
        self,
        space: ColorSpace = LAB,
        *channels: str,
        pivot: Color = 0.5,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        self.space, self.pivot = space, check_color("pivot", pivot)
        self.channels = check_channels(space, channels)
        scale, offset = MaskRange(1.0, low=0.0, high=2.0), MaskRange(0.0, low=-0.5, high=0.5)
        self.ranges = {
            name: r
            for c in self.channels
            for name, r in [(f"{c}_scale", scale), (f"{c}_offset", offset)]
        }
        super().__init__(ranges=ranges, prefix=prefix)
        # On the CPU, because models are loaded where tensors have no values.
        point = torch.tensor(as_triple(self.pivot), dtype=torch.float64, device="cpu").view(
            1, 3, 1, 1
        )
        self.center = space.from_rgb(point).flatten().tolist()

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        planes = dict(zip(self.space.channels, image.split(1, 1), strict=True))
        pivots = dict(zip(self.space.channels, self.center, strict=True))
        for i, c in enumerate(self.channels):
            scale, offset = mask[:, 2 * i : 2 * i + 1], mask[:, 2 * i + 1 : 2 * i + 2]
            planes[c] = pivots[c] + scale * (planes[c] - pivots[c]) + offset
        return torch.cat([*planes.values()], 1)


class HueShift(Operator):
    r"""Turns the hue of a colour space that has one, and wraps it.

    .. math:: y_h = (x_h + m) \bmod 1

    The mask `hue_shift` is in turns, within half a turn of its identity 0. The hue stays in
    :math:`[0, 1)`, so that what comes after sees the hue that is meant; :class:`Add` on
    the channel leaves that interval, which ends at red in :data:`opmask.color.HLS_CLAMPED`. It
    keeps lightness and saturation as the space has them; :class:`opmask.operators.HueRotate` keeps
    them as people see them.

    Args:
        space: The colour space to work in, with a channel `"h"` in turns.
        ranges: See :class:`Operator`.
        prefix: See :class:`Operator`.

    Raises:
        ValueError: If the space has no channel `"h"`.

    Example:
        >>> import opmask, torch
        >>> image = opmask.HLS.from_rgb(torch.tensor([1.0, 0.0, 0.2]).view(1, 3, 1, 1))
        >>> output = HueShift(opmask.HLS)(image, torch.full((1, 1, 1, 1), 1 / 3))
        >>> opmask.HLS.to_rgb(output).flatten()
        tensor([0.2000, 1.0000, 0.0000])
    """

    ranges = {"hue_shift": MaskRange(0.0, low=-0.5, high=0.5)}
    pixelwise = True
    unit = (360.0, "°")

    def __init__(
        self,
        space: ColorSpace = HLS,
        *,
        ranges: Mapping[str, MaskRange] | None = None,
        prefix: str = "",
    ) -> None:
        if "h" not in check_space(space).channels:
            raise ValueError(
                f"'space' must have a channel 'h', got {space.name}, {space.channels}."
            )
        self.space = space
        super().__init__(ranges=ranges, prefix=prefix)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """See :meth:`Operator.forward`."""
        planes = dict(zip(self.space.channels, image.split(1, 1), strict=True))
        turned = planes["h"] + mask
        planes["h"] = turned - turned.floor()
        return torch.cat([*planes.values()], 1)
