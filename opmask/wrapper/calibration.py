r"""What a trained model knows about when not to act: how far to trust it, told a region or not.

A blind model is often wrong about where a photo was changed, and less often so where its gate is
wide open; and one that is told a region roughly changes too much. By how much was measured on
validation photos; a :class:`Calibration` holds the outcome.

Data flow: `gate -> connected regions -> mean gate of each -> strength of each`, for
:func:`opmask.inference.harmonize`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from opmask.files.typed_json import from_plain, parse_json

__all__ = ["FEATHER", "Calibration", "connected_regions"]

FEATHER = 5
"""The width of the ramp at the border of a found region, an odd number of pixels of the gate."""


@dataclass(frozen=True)
class Calibration:
    r"""How far a model is to be trusted: with regions that it finds, and with those it is told.

    A region is found where the mask `gate` is above `threshold`; pixels that touch, also by a
    corner, are one region. Its confidence is the mean of the gate over it. Strengths are linear
    between the knots and constant beyond them.

    Args:
        threshold: A pixel belongs to a found region where the gate is above this, in
            :math:`[0, 1)`.
        confidence: The knots: confidences in ascending order, in :math:`[0, 1]`.
        strength: The strength at each knot, in :math:`[0, 1]`.
        refines: Whether the gate was found fit to make regions that are told roughly finer, as
            :func:`opmask.plan` then does by itself.
        limit: The largest strength that :func:`opmask.plan` applies, at least 1: beyond it results
            were found worse than the photo as it is, or of another hue. None: any.
        told: The strength for a region that is told, in :math:`[0, 1]`, if much is changed there.
        rough: The strength for one that is told roughly, by boxes or strokes, in :math:`[0, 1]`.
        told_error: How far the change that the model says is off in a region that is told, as a
            root mean square in levels of 255. Changes that are small beside it are made with less
            strength, see :meth:`told_strengths`.
        rough_error: The same for a region that is told roughly.

    Raises:
        ValueError: If a value is out of its range, the knots do not ascend, there is none, or
            there are not as many strengths.
        TypeError: If a value is no number, or `refines` neither true nor false.

    Example:
        >>> calibration = Calibration(0.3, confidence=(0.4, 0.8), strength=(0.0, 1.0))
        >>> gate = torch.zeros(1, 1, 16, 32)
        >>> gate[..., :12] = 0.6  # one region, half trusted
        >>> gate[..., 20:] = 0.9
        >>> calibration.strengths(gate)[0, 0, 0, ::8].round(decimals=2).tolist()
        [0.5, 0.5, 0.0, 1.0]
        >>> Calibration.from_json(calibration.to_json()) == calibration
        True
    """

    threshold: float
    confidence: tuple[float, ...]
    strength: tuple[float, ...]
    refines: bool = False
    limit: float | None = None
    told: float = 1.0
    rough: float = 1.0
    told_error: float = 0.0
    rough_error: float = 0.0

    def __post_init__(self) -> None:
        values = self.threshold, *self.confidence, *self.strength, self.told, self.rough
        numbers = (*values, self.limit or 1, self.told_error, self.rough_error)
        if not all(isinstance(x, Real) and not isinstance(x, bool) for x in numbers):
            raise TypeError(f"a calibration must hold numbers, got {self}.")
        if not isinstance(self.refines, bool | np.bool_):
            raise TypeError(f"'refines' must be True or False, got {self.refines!r}.")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"'threshold' must lie in [0, 1), got {self.threshold}.")
        for name in "told", "rough":
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"'{name}' must lie in [0, 1], got {getattr(self, name)}.")
        for name in "told_error", "rough_error":
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"'{name}' must be finite and at least 0, got {getattr(self, name)}."
                )
        for name, values in ("confidence", self.confidence), ("strength", self.strength):
            if not all(0 <= value <= 1 for value in values):
                raise ValueError(f"'{name}' must lie in [0, 1], got {values}.")
        if not self.confidence or any(a >= b for a, b in pairwise(self.confidence)):
            raise ValueError(f"'confidence' must hold ascending knots, got {self.confidence}.")
        if len(self.strength) != len(self.confidence):
            raise ValueError(
                f"'strength' must hold one value for each of the {len(self.confidence)} knots of "
                f"'confidence', got {len(self.strength)}."
            )

        if self.limit is not None and not 1 <= self.limit < math.inf:
            raise ValueError(f"'limit' must be None, or finite and at least 1, got {self.limit}.")

    @torch.no_grad()
    def strengths(self, gate: Tensor) -> Tensor:
        r"""The strength for each pixel: its found region's, and 0 outside of the found regions.

        At their borders regions are feathered by an average over a square of :data:`FEATHER`
        pixels: the step from full strength to none, which would show as an outline in a smooth
        sky, becomes a ramp of that width, and a region of a pixel or two, mostly noise, fades. The
        inside of a region, and what is farther than half the square away from any, keep their
        strength.

        Args:
            gate: The mask `gate` of a model, with shape :math:`(B, 1, H, W)`, in :math:`[0, 1]`;
                best at the model's working size, for which the ramp is made.

        Returns:
            The strengths, with the shape and type of `gate`, in :math:`[0, 1]`.

        Raises:
            ValueError: If the shape is another one.
        """
        if gate.ndim != 4 or gate.shape[1] != 1:
            raise ValueError(f"'gate' must have shape (B, 1, H, W), got {tuple(gate.shape)}.")
        labels, inverse = connected_regions(gate > self.threshold).unique(return_inverse=True)
        index = inverse.flatten()
        confidence = index.bincount(gate.flatten().double()) / index.bincount()
        # A handful of numbers, for which NumPy has the interpolation.
        strength = np.interp(confidence.cpu().numpy(), self.confidence, self.strength)
        of_label = torch.from_numpy(strength).to(gate).masked_fill(labels == 0, 0)
        return F.avg_pool2d(
            of_label[inverse], FEATHER, stride=1, padding=FEATHER // 2, count_include_pad=False
        )

    def told_strengths(self, change: Tensor, rough: Sequence[bool]) -> Tensor:
        r"""The strength for the region of each image, if it is told.

        As a Wiener filter, it leaves of a change the share of its square that is not error:

        .. math:: s = s_0 \, \frac{c^2}{c^2 + e^2}

        where :math:`c` is the change, :math:`e` is `told_error`, and :math:`s_0` is `told`; or
        `rough_error` and `rough`.

        Args:
            change: The change that the model says at strength 1, with shape :math:`(B)`: a root
                mean square over the region, in levels of 255.
            rough: Of each image, whether its region is told roughly.

        Returns:
            The strengths, with the shape of `change`, floating point, in :math:`[0, 1]`.

        Example:
            >>> calibration = Calibration(0.3, (0.5,), (1.0,), told=0.9, told_error=6.0)
            >>> calibration.told_strengths(torch.tensor([2.0, 6.0, 60.0]), [False] * 3)
            tensor([0.0900, 0.4500, 0.8911])
        """
        change = change if change.is_floating_point() else change.float()
        largest, error = (
            torch.tensor([pair[each] for each in rough]).to(change)
            for pair in ((self.told, self.rough), (self.told_error, self.rough_error))
        )
        power, noise = change.square(), error.square()
        return largest * torch.where(noise > 0, power / (power + noise), 1.0)

    def to_json(self) -> str:
        """The calibration as JSON, for the metadata of a checkpoint."""
        return json.dumps(asdict(self), default=float)  # NumPy's float32 is no float

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is anything else.
        """
        try:
            return from_plain(parse_json(text, dict[str, Any], "the text"), cls, "its values")
        except ValueError as error:
            raise ValueError(
                f"the calibration must be as to_json wrote it, got {text[:99]!r} "
                f"({str(error).rstrip('.')})."
            ) from error


def connected_regions(found: Tensor) -> Tensor:
    r"""Numbers the connected regions of a map; pixels that touch by a corner are connected.

    Args:
        found: What belongs to a region, ``bool``, with shape :math:`(B, 1, H, W)`.

    Returns:
        Labels, ``int64``, with the shape of `found`: a number of its own for each region of the
        whole batch, in no order, and 0 outside.

    Example:
        >>> found = torch.tensor([[[[True, True, False, True]]]])
        >>> connected_regions(found).tolist()
        [[[[2, 2, 0, 4]]]]
    """
    # Each pixel begins as a component of its own. In each round every component joins the
    # neighbour with the largest number, so that few rounds do, also for a long winding one, which
    # a number that travels one pixel a round would take thousands for.
    own = torch.arange(1, found.numel() + 1, device=found.device).view(found.shape)
    labels = own * found
    root = torch.arange(found.numel() + 1, device=found.device)
    while True:
        # In double precision, which holds whole numbers exactly.
        largest = F.max_pool2d(labels.double(), 3, stride=1, padding=1).long() * found
        if torch.equal(largest, labels):
            return labels
        root.scatter_reduce_(0, labels.flatten(), largest.flatten(), "amax")
        while not torch.equal(root, root[root]):
            root = root[root]
        labels = root[labels]
