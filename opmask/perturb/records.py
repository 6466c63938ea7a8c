r"""What was done to a photo, as plain values: the record from which a composite is rebuilt.

:func:`opmask.perturb.settings.draw` -> ``Applied`` -> :func:`opmask.perturb.composite.composite`,
at once or, by way of a line of JSON, in years.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from opmask.perturb import degrade
from opmask.perturb.compositing import COMPOSITINGS, RGB_ANTIALIASED, Compositing
from opmask.perturb.filters import Filter
from opmask.perturb.lab import LabScaling, LabScaling8


class Perturbation(Protocol):
    """What changes an image: a value (hashable, compared by content) that always does the same."""

    def __call__(self, image: Tensor, /) -> Tensor:
        r"""Changes an RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255."""

    def to_record(self) -> dict[str, Any]:
        """The perturbation as plain values, for JSON."""


@dataclass(frozen=True)
class RegionChange:
    """What is done to one region.

    Args:
        label: The class whose pixels are changed.
        perturbations: What is applied to them, in order.
    """

    label: int
    perturbations: tuple[Perturbation, ...]

    def to_record(self) -> dict[str, Any]:
        """The change as plain values, for JSON."""
        return {"label": self.label, "perturbations": [p.to_record() for p in self.perturbations]}


@dataclass(frozen=True)
class Applied:
    """The record of a composite: with the photo and its label map, enough to rebuild it.

    Args:
        seed: The seed from which it was drawn.
        regions: What was done to each region.
        degradation: What was done to the real image, which surrounds the regions.
        compositing: In which numbers the composite is put together and resized.

    Example:
        >>> applied = Applied(7, (RegionChange(3, (Filter("moon"),)),))
        >>> applied.to_json()
        '{"seed": 7, "regions": [{"label": 3, "perturbations": [{"filter": "moon"}]}]}'
        >>> Applied.from_json(applied.to_json()) == applied
        True
    """

    seed: int
    regions: tuple[RegionChange, ...]
    degradation: degrade.Degradation | None = None
    compositing: Compositing = RGB_ANTIALIASED

    def to_json(self) -> str:
        """The record as one line of JSON; what has its default is left out."""
        record = {"seed": self.seed, "regions": [change.to_record() for change in self.regions]}
        if self.degradation is not None:
            record["degradation"] = self.degradation.to_record()
        if self.compositing != RGB_ANTIALIASED:
            record["compositing"] = self.compositing.name
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str) -> Applied:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is something else.
        """
        try:
            record = json.loads(text)
            return cls(
                record["seed"],
                tuple(_region_change(entry) for entry in record["regions"]),
                _degradation(record.get("degradation")),
                _compositing(record.get("compositing", RGB_ANTIALIASED.name)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"'text' must be what Applied.to_json wrote, got {text[:80]!r} ({error})."
            ) from error


def _region_change(entry: dict[str, Any]) -> RegionChange:
    return RegionChange(
        entry["label"], tuple(_perturbation(record) for record in entry["perturbations"])
    )


def _perturbation(record: dict[str, Any]) -> Perturbation:
    match record:
        case {"filter": name}:
            return Filter(name, record.get("amount"))
        case {"lab": [l, a, b]}:
            return LabScaling((l, a, b))
        case {"lab8": [l, a, b]}:
            return LabScaling8((l, a, b))
    raise ValueError(f"a perturbation must be a filter, lab or lab8, got {record}")


def _degradation(record: dict[str, Any] | None) -> degrade.Degradation | None:
    return None if record is None else degrade.from_record(record)


def _compositing(name: str) -> Compositing:
    for compositing in COMPOSITINGS:
        if compositing.name == name:
            return compositing
    known = ", ".join(compositing.name for compositing in COMPOSITINGS)
    raise ValueError(f"'compositing' must be one of {known}, got {name!r}")
