r"""Another light: what a region went through that was lit, exposed or developed elsewhere.

8-bit pixels of a region -> ``Light`` -> 8-bit pixels, for :func:`opmask.perturb.composite`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from opmask.color import to_levels
from opmask.operators import (
    Contrast,
    Exposure,
    Highlights,
    Operator,
    Saturation,
    Shadows,
    Temperature,
    Tint,
)
from opmask.perturb.filters import check_eight_bit
from opmask.perturb.rng import rounded, uniform

_OPERATORS: dict[str, Operator] = {
    "temperature": Temperature(),
    "tint": Tint(),
    "exposure": Exposure(),
    "contrast": Contrast(),
    "saturation": Saturation(),
    "shadows": Shadows(),
    "highlights": Highlights(),
}
"""The operators of :class:`Light`, in order, by the masks that they read."""

LIGHT: dict[str, tuple[float, float]] = {
    "exposure": (-1.2, 1.2),
    "temperature": (-0.6, 0.6),
    "tint": (-0.3, 0.3),
    "contrast": (0.7, 1.3),
    "saturation": (0.6, 1.4),
    "shadows": (-0.2, 0.3),
    "highlights": (-0.3, 0.2),
}
"""Between which the parts of a :class:`Light` are drawn, in its units."""

_APART = (("temperature", "tint"), ("contrast", "saturation"), ("shadows", "highlights"))


@dataclass(frozen=True)
class Light:
    r"""Another light, exposure and development: seven operators, each with one constant.

    They are applied in the order of the arguments, white balance and exposure in linear light, as
    a camera does, and the result is clipped to RGB once, at the end.

    Args:
        temperature: Of the light, in hundreds of mired, in :math:`[-1, 1]`; above 0 is warmer, see
            :class:`opmask.operators.Temperature`.
        tint: From green, -1, to magenta, 1; see :class:`opmask.operators.Tint`.
        exposure: In stops, in :math:`[-2, 2]`, see :class:`opmask.operators.Exposure`.
        contrast: A factor about mid-grey, in :math:`[0, 2]`, see
            :class:`opmask.operators.Contrast`.
        saturation: A factor, in :math:`[0, 2]`, see :class:`opmask.operators.Saturation`.
        shadows: In units of 100 L*, in :math:`[-0.25, 0.5]`, see
            :class:`opmask.operators.Shadows`.
        highlights: Likewise, in :math:`[-0.5, 0.25]`, see :class:`opmask.operators.Highlights`.

    Raises:
        ValueError: If one of them is out of its range.

    Example:
        >>> grey = torch.full((3, 1, 1), 128, dtype=torch.uint8)
        >>> Light(exposure=1.0)(grey).flatten()
        tensor([176, 176, 176], dtype=torch.uint8)
    """

    temperature: float = 0.0
    tint: float = 0.0
    exposure: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    shadows: float = 0.0
    highlights: float = 0.0

    def __post_init__(self) -> None:
        for name, operator in _OPERATORS.items():
            allowed, value = operator.ranges[name], getattr(self, name)
            if not allowed.low <= value <= allowed.high:
                raise ValueError(
                    f"'{name}' must be in [{allowed.low:g}, {allowed.high:g}], got {value}."
                )

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        r"""Changes the light of an image.

        Args:
            image: The RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255.

        Returns:
            The changed image, with the type, shape and range of `image`.

        Raises:
            ValueError: If the shape is wrong.
            TypeError: If the image is not 8-bit.
        """
        check_eight_bit(image, "image", "(3, H, W)")
        x = image[None].double() / 255  # float64: no device and no number of threads shows
        for name, operator in _OPERATORS.items():
            value = getattr(self, name)
            if value != operator.ranges[name].identity:
                mask = x.new_full((1, 1, 1, 1), value).expand(1, 1, *x.shape[2:])
                x = operator.space.to_rgb(operator(operator.space.from_rgb(x), mask))
        return to_levels(x[0])

    def to_dict(self) -> dict[str, Any]:
        """The change as plain values, for JSON; what is at its identity is left out."""
        values = {n: v for n, v in asdict(self).items() if v != _OPERATORS[n].ranges[n].identity}
        return {"light": values}


def draw_light(rng: Random) -> Light:
    r"""Draws a change of light: its exposure, and for half of them each its colour and its tones.

    Args:
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        The change.

    Example:
        >>> from opmask.perturb.rng import make_rng
        >>> round(draw_light(make_rng(0)).exposure, 2)
        0.83
    """
    drawn = {name: rounded(uniform(*bounds, rng)) for name, bounds in LIGHT.items()}
    some = [name for names in _APART for kept in [rng.random() < 0.5] for name in names if kept]
    return Light(**{name: drawn[name] for name in ("exposure", *some)})
