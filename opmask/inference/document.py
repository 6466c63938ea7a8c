r"""Edits as files: one safetensors file with the masks, and JSON in its header for all else.

Whatever a file says is checked before anything is built of it, by types with bounds; reading never
executes anything.

Data flow: `Edit -> save_edit -> .opmask -> load_edit -> Edit`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from opmask._version import __version__
from opmask.checkpoints.metadata import Name, OperatorAbout
from opmask.checkpoints.operators import build_retoucher, describe_operator
from opmask.files import check_regular, replacing
from opmask.files.typed_json import parse_json
from opmask.inference.edit import LARGEST_MASK, LARGEST_NUMBER, Adjustment, Edit, Source
from opmask.retouch import Retoucher

__all__ = ["load_edit", "save_edit"]

FORMAT = 2
"""The version of the format that is written, and the latest that is read; 1 had no `region`."""

LARGEST = 2**30
"""The largest file that is read, in bytes."""

LARGEST_HEADER = 4 * 2**20
"""The longest header, in bytes."""

Side = Annotated[int, Meta(ge=1, le=10**6)]
Number = Annotated[float, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]


class SourceAbout(Struct, frozen=True):
    """The fields of :class:`opmask.inference.edit.Source`."""

    height: Side
    width: Side
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class AdjustmentAbout(Struct, frozen=True):
    """The fields of an adjustment; its region, if there is one, is a tensor of the file."""

    name: Name | None
    strength: Number
    offset: Number
    region: bool


class EditAbout(Struct, frozen=True):
    """What the header of an edit holds."""

    format: int
    opmask: Name
    source: SourceAbout
    operators: Annotated[list[OperatorAbout], Meta(min_length=1, max_length=64)]
    adjustments: Annotated[list[AdjustmentAbout], Meta(max_length=10_000)]
    region: bool = False


class _Format(Struct):
    format: Annotated[int, Meta(ge=1, le=9999)]
    opmask: Name


def save_edit(edit: Edit, path: str | Path) -> None:
    """Writes an edit, see :meth:`opmask.Edit.save`."""
    (height, width), adjustments = edit.source.size, edit.adjustments
    about = EditAbout(
        FORMAT,
        __version__,
        SourceAbout(height, width, edit.source.sha256),
        [describe_operator(operator) for operator in edit.retoucher.operators],
        [AdjustmentAbout(a.name, a.strength, a.offset, a.region is not None) for a in adjustments],
        edit.region is not None,
    )
    text = msgspec.json.encode(about).decode()
    tensors = {f"mask.{name}": mask for name, mask in edit.predicted.items()}
    _check_savable(text, max(edit.size))
    regions = {f"region.{i}": a.region for i, a in enumerate(adjustments)} | {
        "region": edit.region
    }
    tensors |= {name: region for name, region in regions.items() if region is not None}
    planes = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with replacing(path) as temporary:
        save_file(planes, temporary, metadata={"opmask_edit": text})


def _check_savable(text: str, longest: int) -> None:
    """Refuses what :func:`load_edit` would not read."""
    if longest > LARGEST_MASK:
        raise ValueError(
            f"an edit with masks of at most {LARGEST_MASK} pixels a side can be saved, got "
            f"{longest}. Plan it with a smaller work_size."
        )
    parse_json(text, EditAbout, "this edit cannot be saved")


def load_edit(path: str | Path, *, retoucher: Retoucher | None = None) -> Edit:
    """Reads an edit, see :meth:`opmask.Edit.load`."""
    path = Path(path)
    check_regular(path, LARGEST)
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            about = _parse(file.metadata() or {})
            built = build_retoucher(about.operators, retoucher)
            tensors = _read(file, [*built.ranges], about)
        return _build(about, built, tensors)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is no whole edit: {error}.") from error
    except ValueError as error:
        raise ValueError(f"cannot open the edit {str(path)!r}: {error}") from error


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > LARGEST_HEADER:
        raise SafetensorError(f"its header would be {size} bytes long")


def _parse(metadata: dict[str, str]) -> EditAbout:
    if "opmask_edit" not in metadata:
        raise ValueError("it was not written by opmask as an edit.")
    text = metadata["opmask_edit"]
    found = parse_json(text, _Format, "its header")
    if found.format > FORMAT:
        raise ValueError(
            f"it has format {found.format}, written by opmask {found.opmask}; this one reads up "
            f"to {FORMAT}. Update opmask."
        )
    return parse_json(text, EditAbout, "its header")


def _read(file: Any, names: list[str], about: EditAbout) -> dict[str, Tensor]:  # noqa: ANN401
    """The tensors, all of one size and in half precision."""
    regions = [f"region.{i}" for i, a in enumerate(about.adjustments) if a.region]
    wanted = [f"mask.{name}" for name in names] + regions + ["region"] * about.region
    found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    if found.keys() != set(wanted):
        odd = min(found.keys() ^ set(wanted))
        raise ValueError(f"it must hold a tensor for each mask and region, but {odd!r} is not so.")
    size = found[wanted[0]].get_shape()
    for name, part in found.items():
        shape = part.get_shape()
        small = len(shape) == 4 and shape[:2] == [1, 1] and 0 < min(shape[2:]) <= LARGEST_MASK
        if (
            shape != size
            or not small
            or max(shape[2:]) > LARGEST_MASK
            or part.get_dtype() != "F16"
        ):
            raise ValueError(
                f"tensor {name!r} must be in half precision, with shape (1, 1, h, w), all of one "
                f"size of at most {LARGEST_MASK}, got {part.get_dtype()} with shape {shape}."
            )
    return {name: file.get_tensor(name) for name in wanted}


def _build(about: EditAbout, retoucher: Retoucher, tensors: dict[str, Tensor]) -> Edit:
    masks = {name: tensors[f"mask.{name}"] for name in retoucher.ranges}
    for name, mask in masks.items():
        r = retoucher.ranges[name]
        _check_values(f"mask.{name}", mask, r.low, r.high)
    source = Source((about.source.height, about.source.width), about.source.sha256)
    adjustments = []
    for i, a in enumerate(about.adjustments):
        region = tensors[f"region.{i}"] if a.region else None
        if region is not None:
            _check_values(f"region.{i}", region, 0.0, 1.0)
        if a.name is not None and a.name not in masks:
            raise ValueError(f"adjustment {i} names the mask {a.name!r}, which there is not.")
        adjustments.append(Adjustment(a.name, a.strength, a.offset, region))
    region = tensors["region"] if about.region else None
    if region is not None:
        _check_values("region", region.masked_fill(region == -1, 0.0), 0.0, 1.0)
    return Edit(masks, retoucher, source, tuple(adjustments), region)


def _check_values(name: str, plane: Tensor, low: float, high: float) -> None:
    """Raises unless values lie between bounds, which half precision may round."""
    bounds = plane.new_tensor([low, high])
    if not (plane.isfinite() & (plane >= bounds[0]) & (plane <= bounds[1])).all():
        raise ValueError(f"tensor {name!r} must lie in [{low}, {high}].")
