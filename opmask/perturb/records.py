r"""What was done to a photo, as plain values: the record from which a composite is rebuilt.

:func:`opmask.perturb.settings.draw` -> ``Applied`` -> :func:`opmask.perturb.composite.composite`,
at once or, by way of a line of JSON, in years.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import Tensor

from opmask.perturb.compositing import COMPOSITINGS, RGB_ANTIALIASED, Compositing
from opmask.perturb.degrade import sampling as degrade
from opmask.perturb.filters.cube import Cube
from opmask.perturb.filters.filter import Filter
from opmask.perturb.lab import LabScaling, LabScaling8
from opmask.perturb.resize import resize_nearest


class Perturbation(Protocol):
    r"""What changes an image: any callable that always does the same.

    To be written as JSON one of your own must be a function, or a frozen dataclass whose fields
    are numbers, strings, booleans, ``None`` or tuples of these.

    Example:
        >>> def swap_red_and_blue(image):
        ...     return image.flip(0)
        >>> applied = Applied(7, (RegionChange(3, (swap_red_and_blue,)),))
        >>> text = applied.to_json()
        >>> Applied.from_json(text, perturbations=[swap_red_and_blue]) == applied
        True
    """

    def __call__(self, image: Tensor, /) -> Tensor:
        r"""Changes an RGB image, ``uint8``, with shape :math:`(3, H, W)`, in 0-255."""


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
        return {"label": self.label, "perturbations": [_record(p) for p in self.perturbations]}


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
        """The record as one line of JSON; what has its default is left out.

        Raises:
            TypeError: If a perturbation of your own cannot be written, see
                :class:`Perturbation`.
        """
        record = {"seed": self.seed, "regions": [change.to_record() for change in self.regions]}
        if self.degradation is not None:
            record["degradation"] = self.degradation.to_record()
        if self.compositing != RGB_ANTIALIASED:
            record["compositing"] = self.compositing.name
        return json.dumps(record)

    @classmethod
    def from_json(cls, text: str, perturbations: Sequence[Callable[..., Any]] = ()) -> Applied:
        r"""Reads what :meth:`to_json` wrote.

        Args:
            text: The line of JSON.
            perturbations: The perturbations of your own that may occur in it, each as the function
                or class itself. They are told apart by their names.

        Returns:
            The record.

        Raises:
            ValueError: If the text is something else, names a perturbation that is not in
                `perturbations`, or a ``.cube`` file that was changed.
            FileNotFoundError: If it names a ``.cube`` file that is not there.
        """
        own = {perturbation.__name__: perturbation for perturbation in perturbations}
        try:
            record = json.loads(text)
            return cls(
                record["seed"],
                tuple(_region_change(entry, own) for entry in record["regions"]),
                _degradation(record.get("degradation")),
                _compositing(record.get("compositing", RGB_ANTIALIASED.name)),
            )
        except _NotGivenError as error:
            raise ValueError(*error.args) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"'text' must be what Applied.to_json wrote, got {text[:80]!r} ({error})."
            ) from error

    def region_map(self, label_map: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        r"""Which region each pixel of the composite belongs to.

        Args:
            label_map: The class of each pixel of the photo, integers, with shape :math:`(H, W)`.
            size: The height and width to which the composite was resized, if it was. The nearest
                pixel is taken.

        Returns:
            The label where the photo was changed and 0 elsewhere, with the type and shape of
            `label_map`, or the given size.

        Example:
            >>> applied = Applied(7, (RegionChange(3, (Filter("moon"),)),))
            >>> applied.region_map(torch.tensor([[1, 3, 3, 0]]))
            tensor([[0, 3, 3, 0]])
        """
        if size is not None:
            label_map = resize_nearest(label_map, size)
        labels = torch.tensor([change.label for change in self.regions], dtype=torch.long)
        changed = torch.isin(label_map, labels.to(label_map.device))
        return torch.where(changed, label_map, 0)


class _NotGivenError(ValueError):
    """The record is in order, but the caller has to say what a name stands for."""


def _record(perturbation: Perturbation) -> dict[str, Any]:
    if isinstance(perturbation, Filter | LabScaling | LabScaling8 | Cube):
        return perturbation.to_record()
    if isinstance(perturbation, FunctionType) and perturbation.__name__ != "<lambda>":
        return {"own": perturbation.__name__}
    if not is_dataclass(perturbation) or isinstance(perturbation, type):
        raise TypeError(
            f"a perturbation must be a dataclass or a function with a name to be written as JSON, "
            f"got {perturbation!r}."
        )
    parameters = {f.name: getattr(perturbation, f.name) for f in fields(perturbation) if f.init}
    for name, value in parameters.items():
        if not _is_plain(value):
            raise TypeError(
                f"'{name}' of {type(perturbation).__name__} must be a number, a string or a tuple "
                f"of these to be written as JSON, got {type(value).__name__}."
            )
    return {"own": type(perturbation).__name__, "parameters": parameters}


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, int | float | str)


def _region_change(entry: dict[str, Any], own: dict[str, Any]) -> RegionChange:
    return RegionChange(
        entry["label"], tuple(_perturbation(record, own) for record in entry["perturbations"])
    )


def _perturbation(record: dict[str, Any], own: dict[str, Any]) -> Perturbation:
    match record:
        case {"filter": name}:
            return Filter(name, record.get("amount"))
        case {"lab": [l, a, b]}:
            return LabScaling((l, a, b))
        case {"lab8": [l, a, b]}:
            return LabScaling8((l, a, b))
        case {"cube": path, "sha256": checksum}:
            return Cube(path, checksum)
        case {"own": name} if name not in own:
            raise _NotGivenError(
                f"'perturbations' must hold {name}, which 'text' names, got {sorted(own)}. "
                f"Pass perturbations=[{name}]."
            )
        case {"own": name, "parameters": parameters}:
            return own[name](**{key: _as_tuple(value) for key, value in parameters.items()})
        case {"own": name}:
            return own[name]
    raise ValueError(f"a perturbation must be a filter, lab, lab8, cube or own, got {record}")


def _as_tuple(value: Any) -> Any:  # noqa: ANN401
    """What JSON made a list is a tuple again, so that perturbations can be hashed."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _degradation(record: dict[str, Any] | None) -> degrade.Degradation | None:
    return None if record is None else degrade.from_record(record)


def _compositing(name: str) -> Compositing:
    for compositing in COMPOSITINGS:
        if compositing.name == name:
            return compositing
    known = ", ".join(compositing.name for compositing in COMPOSITINGS)
    raise ValueError(f"'compositing' must be one of {known}, got {name!r}")
