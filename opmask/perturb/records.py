r"""What was done to a photo, as plain values: the record from which a composite is rebuilt.

``draw`` -> ``PerturbationRecord`` -> :func:`opmask.perturb.composite.composite`, at once or later:
a record can be written as a line of JSON and read again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import FunctionType
from typing import Annotated, Any, Protocol

import torch
from msgspec import Meta, Struct
from msgspec.structs import asdict
from torch import Tensor

from opmask.files.typed_json import Int64, from_plain, parse_json
from opmask.perturb.compositing import COMPOSITINGS, RGB_ANTIALIASED, Compositing
from opmask.perturb.degrade import Degradation, degradation_from_dict
from opmask.perturb.filters import Cube, Filter
from opmask.perturb.lab import Factors, LabScaling, LabScaling8
from opmask.perturb.light import Light
from opmask.perturb.resize import resize_nearest
from opmask.perturb.transfer import ColorTransfer


class Perturbation(Protocol):
    r"""What changes an image: any callable that always does the same.

    To be written as JSON one of your own must be a function, or a frozen dataclass whose fields
    are numbers, strings, booleans, ``None`` or tuples of these. What is read is checked against
    the types of the fields.

    Example:
        >>> def swap_red_and_blue(image):
        ...     return image.flip(0)
        >>> applied = PerturbationRecord(7, (RegionChange(3, (swap_red_and_blue,)),))
        >>> text = applied.to_json()
        >>> PerturbationRecord.from_json(text, perturbations=[swap_red_and_blue]) == applied
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

    Raises:
        TypeError: If a perturbation cannot be called.
    """

    label: int
    perturbations: tuple[Perturbation, ...]

    def __post_init__(self) -> None:
        for perturbation in self.perturbations:
            if not callable(perturbation):
                raise TypeError(
                    "a perturbation must be something that can be called with an image, got "
                    f"{perturbation!r}. What draws one, such as 'draw_first', must return it."
                )

    def to_dict(self) -> dict[str, Any]:
        """The change as plain values, for JSON."""
        return {"label": self.label, "perturbations": [_to_dict(p) for p in self.perturbations]}


@dataclass(frozen=True)
class PerturbationRecord:
    """The record of a composite: with the photo and its label map, enough to rebuild it.

    Args:
        seed: The seed from which it was drawn.
        regions: What was done to each region.
        degradation: What was done to the real image, which surrounds the regions.
        compositing: In which numbers the composite is put together and resized.

    Example:
        >>> applied = PerturbationRecord(7, (RegionChange(3, (Filter("moon"),)),))
        >>> applied.to_json()
        '{"seed": 7, "regions": [{"label": 3, "perturbations": [{"filter": "moon"}]}]}'
        >>> PerturbationRecord.from_json(applied.to_json()) == applied
        True
    """

    seed: int
    regions: tuple[RegionChange, ...]
    degradation: Degradation | None = None
    compositing: Compositing = RGB_ANTIALIASED

    def to_json(self) -> str:
        """The record as one line of JSON; what has its default is left out.

        Raises:
            TypeError: If a perturbation of your own cannot be written, see
                :class:`Perturbation`.
        """
        record = {"seed": self.seed, "regions": [change.to_dict() for change in self.regions]}
        if self.degradation is not None:
            record["degradation"] = self.degradation.to_dict()
        if self.compositing != RGB_ANTIALIASED:
            record["compositing"] = self.compositing.name
        return json.dumps(record)

    @classmethod
    def from_json(
        cls, text: str, perturbations: Sequence[Callable[..., Any]] = ()
    ) -> PerturbationRecord:
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
            record = parse_json(text, _RecordFields, "the record")
            return cls(
                record.seed,
                tuple(_region_change(change, own) for change in record.regions),
                _degradation(record.degradation),
                _compositing(record.compositing),
            )
        except _NotGivenError as error:
            raise ValueError(*error.args) from None
        except ValueError as error:
            raise ValueError(
                f"'text' must be what PerturbationRecord.to_json wrote, got {text[:80]!r} "
                f"({str(error).rstrip('.')})."
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
            >>> applied = PerturbationRecord(7, (RegionChange(3, (Filter("moon"),)),))
            >>> applied.region_map(torch.tensor([[1, 3, 3, 0]]))
            tensor([[0, 3, 3, 0]])
        """
        if size is not None:
            label_map = resize_nearest(label_map, size)
        labels = torch.tensor([change.label for change in self.regions], dtype=torch.long)
        changed = torch.isin(label_map, labels.to(label_map.device))
        return torch.where(changed, label_map, 0)


class _PerturbationFields(Struct, forbid_unknown_fields=True):
    """A perturbation as plain values: one of the first eight fields, and what goes with it."""

    filter: str = ""
    lab: Factors | None = None
    lab8: Factors | None = None
    cube: str = ""
    light: dict[str, float] | None = None
    transfer: dict[str, Any] | None = None
    degradation: dict[str, Any] | None = None
    own: str = ""
    amount: float | None = None
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    parameters: dict[str, Any] | None = None


class _RegionFields(Struct, forbid_unknown_fields=True):
    label: Int64
    perturbations: Annotated[list[_PerturbationFields], Meta(max_length=1000)]


class _RecordFields(Struct, forbid_unknown_fields=True):
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    regions: Annotated[list[_RegionFields], Meta(max_length=100_000)]
    degradation: dict[str, Any] | None = None
    compositing: str = RGB_ANTIALIASED.name


class _NotGivenError(ValueError):
    """The record is in order, but the caller has to say what a name stands for."""


def _to_dict(perturbation: Perturbation) -> dict[str, Any]:
    if isinstance(perturbation, Filter | LabScaling | LabScaling8 | Cube | Light | ColorTransfer):
        return perturbation.to_dict()
    if isinstance(perturbation, Degradation):
        return {"degradation": perturbation.to_dict()}
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


def _region_change(change: _RegionFields, own: dict[str, Any]) -> RegionChange:
    return RegionChange(change.label, tuple(_perturbation(p, own) for p in change.perturbations))


def _perturbation(record: _PerturbationFields, own: dict[str, Any]) -> Perturbation:
    match {name: value for name, value in asdict(record).items() if value not in ("", None)}:
        case {"filter": name, **amount} if amount.keys() <= {"amount"}:
            return Filter(name, record.amount)
        case {"lab": factors, **rest} if not rest:
            return LabScaling(factors)
        case {"lab8": factors, **rest} if not rest:
            return LabScaling8(factors)
        case {"cube": path, "sha256": checksum, **rest} if not rest:
            return Cube(path, checksum)
        case {"light": values, **rest} if not rest:
            return from_plain(values, Light, "light")
        case {"transfer": values, **rest} if not rest:
            return from_plain(values, ColorTransfer, "transfer")
        case {"degradation": values, **rest} if not rest:
            return degradation_from_dict(values)
        case {"own": name} if name not in own:
            raise _NotGivenError(
                f"'perturbations' must hold {name}, which 'text' names, got {sorted(own)}. "
                f"Pass perturbations=[{name}]."
            )
        case {"own": name, "parameters": parameters, **rest} if not rest:
            return from_plain(parameters, own[name], name)
        case {"own": name, **rest} if not rest:
            return own[name]
        case values:
            raise ValueError(
                "a perturbation must be a filter, lab, lab8, cube, light, transfer, degradation "
                f"or own, got {values}"
            )


def _degradation(record: dict[str, Any] | None) -> Degradation | None:
    return None if record is None else degradation_from_dict(record)


def _compositing(name: str) -> Compositing:
    for compositing in COMPOSITINGS:
        if compositing.name == name:
            return compositing
    known = ", ".join(compositing.name for compositing in COMPOSITINGS)
    raise ValueError(f"'compositing' must be one of {known}, got {name!r}")
