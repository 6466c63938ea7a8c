r"""Curves that are a straight line up to a knee and a power from there on, fast and exact.

The gamma of sRGB and the root of CIE LAB are such curves, and take most of the time of a
conversion. `torch.where` and `pow` are slow on a CPU; a curve needs neither.

Data flow: `channel -> curve -> channel`, for the conversions of :mod:`opmask.color`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

__all__ = ["CUBE", "DECODE", "ENCODE", "OK_CUBE", "OK_ROOT", "ROOT", "Curve", "Signed"]


@dataclass(frozen=True)
class Curve:
    r"""A straight line up to a knee, and a power from there on.

    .. math:: f(v) = k\,(m + s)^p + c + a\,(v - m), \qquad m = \max(v, t)

    Beyond the knee :math:`t` that is the power, below it a straight line of slope :math:`a` that
    meets it there. The gradient at the knee is one of the two.

    Compiled for a CPU, but not exported, the power is a polynomial of a root of :math:`m + s`,
    fitted up to `top`; from there it goes on as a straight line, so that it stays monotone. The
    fits below reach as far as the masks of any ready-made retoucher push a colour: two stops of
    exposure in blue light, then a contrast and a saturation of 2, make a displayed value of 14.

    Args:
        power: The exponent :math:`p`.
        knee: The knee :math:`t`, above :math:`-s`.
        slope: The slope :math:`a` below it.
        scale: The factor :math:`k`.
        shift: The shift :math:`s` before the power.
        offset: The offset :math:`c` after it.
        top: Up to where the polynomial is fitted.
        roots: Of how many square roots, one of the other, it is a polynomial.
        degree: Its degree.
        whole: How often :math:`m + s` itself is a factor of it, so that the error is a share of
            the result; for curves without an offset.
    """

    power: float
    knee: float
    slope: float
    scale: float = 1.0
    shift: float = 0.0
    offset: float = 0.0
    top: float = 800.0
    roots: int = 3
    degree: int = 8
    whole: int = 0
    coefficients: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """Those of the polynomial, the highest first, from nearly the best fit there is."""

    def __post_init__(self) -> None:
        exponent = (self.power - self.whole) * 2**self.roots
        ends = [(end + self.shift) ** (1 / 2**self.roots) for end in (self.knee, self.top)]
        fit = Chebyshev.interpolate(
            lambda root: self.scale * root**exponent + self.offset, self.degree, ends
        )
        coefficients = tuple(float(c) for c in fit.convert(kind=Polynomial).coef[::-1])
        object.__setattr__(self, "coefficients", coefficients)  # as for any frozen class

    def __call__(self, v: Tensor) -> Tensor:
        """The curve at each value, with the shape and type of `v`, float32 or float64."""
        m = v.clamp(min=self.knee)
        return self.above(m) + self.slope * (v - m)

    def above(self, m: Tensor) -> Tensor:
        """The power alone, for values that are at least the knee."""
        if self.power == 3:
            return m * m * m
        compiles = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
        if compiles and m.dtype == torch.float32 and m.device.type == "cpu":
            return self._polynomial(m)
        base = m + self.shift if self.shift else m
        if m.dtype == torch.float64:
            powered = self.scale * base**self.power
        else:  # three times as fast as pow, and good to 1e-6
            powered = torch.exp2(torch.log2(base) * self.power + math.log2(self.scale))
        return powered + self.offset if self.offset else powered

    def each(self, channels: Sequence[Tensor]) -> list[Tensor]:
        """The curve of each channel."""
        return [self(channel) for channel in channels]

    def in_place(self, v: Tensor) -> Tensor:
        """The same without gradients, in place but for the first step."""
        m = v.clamp(min=self.knee)
        rest = v - m
        return self.above_in_place(m).add_(rest, alpha=self.slope)

    def above_in_place(self, m: Tensor) -> Tensor:
        """As :meth:`above`, without gradients; uses `m` up."""
        if self.power == 3:
            return m.mul_(m.square())
        if self.shift:
            m.add_(self.shift)
        if m.dtype == torch.float64:
            m.pow_(self.power).mul_(self.scale)
        else:
            m.log2_().mul_(self.power)
            if self.scale != 1:
                m.add_(math.log2(self.scale))
            m.exp2_()
        return m.add_(self.offset) if self.offset else m

    def _polynomial(self, m: Tensor) -> Tensor:
        inside = m.clamp(max=self.top)
        root = base = inside + self.shift if self.shift else inside
        for _ in range(self.roots):
            root = root.sqrt()
        first, second, *others = self.coefficients
        powered = first * root + second
        for coefficient in others:
            powered = powered * root + coefficient
        if self.whole:
            powered = powered * base**self.whole
        steepness = self.scale * self.power * (self.top + self.shift) ** (self.power - 1)
        return powered + steepness * (m - inside)


_KNEE = 6 / 29

# Where the two pieces of sRGB meet; the standard rounds it to 0.04045, and leaves a step of 2e-9.
_BEND = 0.040448236277107

DECODE = Curve(2.4, _BEND, 1 / 12.92, 1.055**-2.4, 0.055, top=16.0, roots=2, degree=6, whole=2)
"""sRGB to linear light (IEC 61966-2-1)."""

ENCODE = Curve(1 / 2.4, _BEND / 12.92, 12.92, 1.055, offset=-0.055, degree=7)
"""Linear light to sRGB."""

ROOT = Curve(1 / 3, _KNEE**3, 1 / (3 * _KNEE**2), degree=7)
"""The root of CIE LAB."""

CUBE = Curve(3.0, _KNEE, 3 * _KNEE**2)
"""The inverse of `ROOT`."""


@dataclass(frozen=True)
class Signed:
    r"""A power of the size of a value, with its sign, and a straight line through 0.

    .. math:: f(v) = v\,m^{p - 1}, \qquad m = \max(|v|, t)

    Args:
        power: The exponent :math:`p`.
        knee: The size :math:`t` up to which it is a straight line.
    """

    power: float
    knee: float
    curve: Curve = field(init=False, repr=False)

    def __post_init__(self) -> None:
        curve = Curve(self.power, self.knee, slope=0, degree=10)
        object.__setattr__(self, "curve", curve)

    def __call__(self, v: Tensor) -> Tensor:
        """The curve at each value, with the shape and type of `v`, float32 or float64."""
        m = v.abs().clamp(min=self.knee)
        return v / m * self.curve.above(m)

    def each(self, channels: Sequence[Tensor]) -> list[Tensor]:
        """The curve of each channel."""
        return [self(channel) for channel in channels]

    def in_place(self, v: Tensor) -> Tensor:
        """The same without gradients, in place but for the first step."""
        m = v.abs().clamp_(min=self.knee)
        return (v / m).mul_(self.curve.above_in_place(m))


_FAINT = 1e-5

OK_ROOT = Signed(1 / 3, _FAINT)
"""The cube root of OKLAB: exact for all 8-bit colours, as only black is fainter than the knee,
where the gradient of a root would grow without bound."""

OK_CUBE = Signed(3.0, _FAINT ** (1 / 3))
"""The inverse of `OK_ROOT`."""
