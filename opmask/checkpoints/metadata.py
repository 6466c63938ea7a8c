r"""What a checkpoint says about its model besides the tensors, as types with bounds.

The metadata of a file is read into these types before anything is built of it, so that a size of
a million, or a field of another kind, is refused by name. What :func:`opmask.save` writes goes
through the same types.

Data flow: `model -> describe -> Description -> JSON -> parse -> Description -> build -> model`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from torch import nn

from opmask.files.typed_json import convert, parse_json
from opmask.operators import MaskRange
from opmask.wrapper.baseline import Paste

__all__ = [
    "FORMAT",
    "BackboneAbout",
    "DirectAbout",
    "GeometryAbout",
    "GivenAbout",
    "HeadAbout",
    "OperatorAbout",
    "WrapperAbout",
    "convert_arguments",
    "parse",
]

FORMAT = 1
LARGEST = 4 * 2**20
"""The longest metadata, in bytes."""

Name = Annotated[str, Meta(max_length=1000)]
Names = Annotated[tuple[Name, ...], Meta(max_length=64)]
Side = Annotated[int, Meta(ge=1, le=1024)]  # of an image, in pixels
Channels = Annotated[int, Meta(ge=1, le=65536)]
Few = Annotated[int, Meta(ge=1, le=64)]
Pixels = Annotated[int, Meta(ge=0, le=1024)]
Share = Annotated[float, Meta(ge=0, le=1)]
Pair = tuple[Few, Few]
# Not tuple[Side, Side]: in a union with a bounded number that crashes msgspec 0.22.
Sides = Annotated[tuple[Side, ...], Meta(min_length=2, max_length=2)]
BOUNDS = {
    "code_depth": Annotated[int, Meta(ge=1, le=10)],
    "depth": Annotated[int, Meta(ge=1, le=10)],
    "knots": Few,
    "layers": Few,
    "seed": Annotated[int, Meta(ge=0, lt=2**32)],
    "zones": Few,
}
"""Of arguments that cost more than others, or nothing; all others are at most 4096."""
NESTED = 8
"""How deep gates may stand in gates."""


class BackboneAbout(Struct, frozen=True):
    """The network; its arguments if it is one of :mod:`opmask.backbones`."""

    name: Name
    arguments: dict[str, Any] | None


class OperatorAbout(Struct, frozen=True, omit_defaults=True):
    """An operator; the bounds of its masks as text, because JSON has no infinity.

    Files of the first versions have neither arguments nor prefix: `Add`, `Mul` and `Gated` were
    the only operators, and the names of their masks say the same.
    """

    type: Name
    space: Name
    ranges: Annotated[dict[Name, tuple[Name, Name, Name]], Meta(min_length=1, max_length=64)]
    operators: Annotated[list[OperatorAbout], Meta(max_length=64)] = []
    arguments: Annotated[dict[Name, Any], Meta(max_length=64)] = {}
    prefix: Name = ""

    def __post_init__(self) -> None:
        """Refuses what is no range, and gates in gates without end."""
        if self.nested > NESTED:
            raise ValueError(f"'operators' must stand in each other at most {NESTED} deep")
        self.mask_ranges()

    @property
    def nested(self) -> int:
        """How deep the operators in this one stand in each other."""
        return max((1 + inner.nested for inner in self.operators), default=0)

    def mask_ranges(self) -> dict[str, MaskRange]:
        """The masks by name."""
        return {name: _mask_range(name, values) for name, values in self.ranges.items()}


class GeometryAbout(Struct, frozen=True):
    """The fields of :class:`opmask.wrapper.geometry.Geometry`."""

    inputs: Channels
    transposed: bool = False
    kernel_size: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: tuple[Pixels, Pixels] | Literal["same", "valid"] = (0, 0)
    dilation: Pair = (1, 1)
    output_padding: tuple[Pixels, Pixels] = (0, 0)
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"
    scale: tuple[Side, Side] = (1, 1)
    excess: Annotated[int, Meta(ge=-256, le=256)] = 0
    start: Pixels = 0
    shuffle: Few = 1
    once: bool = False

    def __post_init__(self) -> None:
        """Refuses maps that would be much larger than the image."""
        times = self.scale[0] / self.scale[1] * self.shuffle
        if times > LARGEST_SCALE:
            raise ValueError(
                f"'scale' times 'shuffle' must be at most {LARGEST_SCALE}, got {times:g}"
            )


LARGEST_SCALE = 8
"""The largest logits, in sides of the image."""


class HeadAbout(Struct, frozen=True):
    """The layer that a mask head reads from, and how its features lie to the image."""

    name: Name
    geometry: GeometryAbout


class CalibrationAbout(Struct, frozen=True, omit_defaults=True):
    """The fields of :class:`opmask.Calibration`; older files lack the later ones."""

    threshold: Share
    confidence: Annotated[tuple[Share, ...], Meta(min_length=1, max_length=1000)]
    strength: Annotated[tuple[Share, ...], Meta(min_length=1, max_length=1000)]
    refines: bool = False
    limit: Annotated[float, Meta(ge=1)] | None = None
    told: Share = 1.0
    rough: Share = 1.0
    told_error: Annotated[float, Meta(ge=0)] = 0.0
    rough_error: Annotated[float, Meta(ge=0)] = 0.0


class DirectAbout(Struct, frozen=True, tag_field="kind", tag="DirectRGB"):
    """A :class:`opmask.DirectRGB`."""

    backbone: BackboneAbout
    region: bool
    multiple_of: Side
    format: int = FORMAT


class GivenAbout(DirectAbout, frozen=True, tag_field="kind", tag="DirectRGB, given"):
    """A :class:`opmask.DirectRGB` that is not centred or pastes; an older opmask refuses it."""

    centered: bool = True
    paste: Paste = "never"


class WrapperAbout(Struct, frozen=True, tag_field="kind", tag="OperatorMaskWrapper"):
    """A :class:`opmask.OperatorMaskWrapper`; callables by their names.

    Older files lack `least`: the sizes are searched for when such a file is loaded. `idle` is what
    got no gradient when the wrapper was built, but is not frozen.
    """

    backbone: BackboneAbout
    region: bool
    multiple_of: Side
    operators: Annotated[list[OperatorAbout], Meta(min_length=1, max_length=64)]
    head: HeadAbout | None
    fixed: tuple[Side, Side] | None
    size: Annotated[int, Meta(ge=1, le=8192)] | Sides | None
    unused: list[Name]
    call: Name | None
    preprocess: Name | None
    calibration: CalibrationAbout | UnsetType = UNSET
    least: Side | UnsetType = UNSET
    idle: list[Name] | UnsetType = UNSET
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Refuses a smallest side that is none of the sides that the network accepts."""
        if self.least is not UNSET and self.least % self.multiple_of:
            raise ValueError(
                "the network that it describes does not run ('least' must be a multiple of "
                f"'multiple_of', got {self.least} and {self.multiple_of})"
            )


class _Format(Struct):
    format: Annotated[int, Meta(ge=1, le=9999)]


def parse(text: str, name: str) -> WrapperAbout | DirectAbout:
    """Reads a description; errors begin with its name."""
    if len(text) > LARGEST:
        raise ValueError(f"{name} must describe its model in at most {LARGEST} characters.")
    found = parse_json(text, _Format, name).format
    if found > FORMAT:
        raise ValueError(
            f"{name} has format {found}, this opmask reads up to {FORMAT}. Update opmask."
        )
    kind: Any = WrapperAbout | DirectAbout | GivenAbout
    about: WrapperAbout | DirectAbout = parse_json(text, kind, name)
    return about


def convert_arguments(
    kind: type[nn.Module], arguments: dict[str, Any], leave: Collection[str] = ()
) -> dict[str, Any]:
    """Arguments of a class of opmask, checked by the types of its constructor.

    Those to `leave` out are not among them.
    """
    fields = _arguments_of(kind, frozenset(leave))  # type: ignore[arg-type]
    checked = convert(arguments, fields, f"the arguments of {kind.__name__}")
    return msgspec.structs.asdict(checked)


@lru_cache(maxsize=64)
def _arguments_of(kind: Callable[..., nn.Module], leave: frozenset[str]) -> type[Struct]:
    """What a class can be built with, as a type with bounds."""
    hints = get_type_hints(kind.__init__)
    fields: list[tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if name in leave:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            fields.append((name, Names, ()))  # such as the channels of a colour space
            continue
        number: Any = BOUNDS.get(name, Annotated[int, Meta(ge=1, le=4096)])
        hint = {int: number, int | None: number | None}.get(hints[name], hints[name])
        default = parameter.default
        fields.append((name, hint, msgspec.field() if default is parameter.empty else default))
    return msgspec.defstruct(kind.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def _mask_range(name: str, values: tuple[str, str, str]) -> MaskRange:
    """The range of a mask, whose identity lies between its bounds also where numbers are rounded.

    Logits could not be turned into masks otherwise.
    """
    try:
        mask_range = MaskRange(*map(float, values))
        width = mask_range.high - mask_range.low
        usable = math.isinf(width) or 0 < (mask_range.identity - mask_range.low) / width < 1
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            f"the range of mask {name!r} must be three numbers, identity, low and high, with the "
            f"identity between the others, got {values}"
        )
    return mask_range
