r"""Reading JSON that comes from a file, whoever wrote it: types and bounds are checked first.

A dataclass (or a `msgspec.Struct`, `dict[str, int]` and the like) says what the JSON must hold;
`Annotated[int, msgspec.Meta(ge=1, le=4096)]` gives a field its bounds. What does not fit is a
`ValueError` that names the file and the field, before anything is built of it.

Data flow: `file -> bytes -> parse_json -> checked object`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from opmask.files.reading import check_regular, shorten

__all__ = ["Int64", "convert", "from_plain", "parse_json", "read_json"]

T = TypeVar("T")

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer of bounded size; as a plain `int`, JSON may have thousands of digits."""

LARGEST = 256 * 2**20
"""The largest JSON file that is read, in bytes."""


def parse_json(text: str | bytes, kind: type[T], name: str) -> T:
    r"""Parses JSON, and checks it against a type.

    Args:
        text: The JSON, in UTF-8.
        kind: What it must hold. Fields that a dataclass does not have are ignored.
        name: What it is called in an error, such as the name of the file.

    Returns:
        The checked object.

    Raises:
        ValueError: If the text is not JSON, is nested too deeply, or a field is missing, of
            another type or out of bounds.

    Example:
        >>> parse_json('{"seed": 7}', dict[str, int], "settings.json")
        {'seed': 7}
        >>> parse_json('{"seed": "7"}', dict[str, int], "settings.json")
        Traceback (most recent call last):
        ...
        ValueError: settings.json: expected `int`, got `str`, in the field '[...]'.
    """
    with _explaining(name):
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.DecodeError as error:
            if isinstance(text, bytes) and "UTF-8" in str(error):
                text.decode()  # says which bytes are no text, as msgspec 0.23 does not
            raise


@contextmanager
def _explaining(name: str) -> Iterator[None]:
    """Turns the errors of msgspec into ours, which begin with a name."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{name}: the JSON is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{name}: {_explained(shorten(error))}.") from None


def convert(values: object, kind: type[T], name: str) -> T:
    r"""Checks plain values that JSON gave against a type.

    Args:
        values: The values.
        kind: As for :func:`parse_json`.
        name: What the values are called in an error.

    Returns:
        The checked object.

    Raises:
        ValueError: As for :func:`parse_json`.

    Example:
        >>> convert([1, 2], tuple[int, int], "the size")
        (1, 2)
    """
    with _explaining(name):
        return msgspec.convert(values, kind)


def from_plain(values: object, kind: type[T], name: str) -> T:
    r"""Builds a dataclass of plain values that came from a file, and checks them by its types.

    Unlike with :func:`parse_json` fields that the dataclass does not have are refused, and its
    constructor runs.

    Args:
        values: The arguments of the constructor by name, as JSON has them.
        kind: The dataclass.
        name: What the values are called in an error.

    Returns:
        The object.

    Raises:
        ValueError: If a field is missing, unknown, of another type, or refused by the dataclass.

    Example:
        >>> from opmask.perturb import MotionBlur
        >>> from_plain({"angle": 90, "direction": 0.5}, MotionBlur, "a motion blur")
        MotionBlur(angle=90.0, direction=0.5)
        >>> from_plain({"angle": 90, "direction": "up"}, MotionBlur, "a motion blur")
        Traceback (most recent call last):
        ...
        ValueError: a motion blur: expected `float`, got `str`, in the field 'direction'.
    """
    with _explaining(name):
        checked = msgspec.convert(values, _arguments(kind))  # type: ignore[arg-type]
        return kind(**msgspec.structs.asdict(checked))


@lru_cache(maxsize=64)
def _arguments(kind: type) -> type[msgspec.Struct]:
    """What the constructor of a dataclass takes, as a type."""
    hints = get_type_hints(kind, include_extras=True)
    arguments = [
        (field.name, Int64 if hints[field.name] is int else hints[field.name], _default(field))
        for field in fields(kind)
        if field.init
    ]
    return msgspec.defstruct(kind.__name__, arguments, forbid_unknown_fields=True, kw_only=True)


def _default(field: Field[Any]) -> Any:  # noqa: ANN401
    """The default of a dataclass's field as msgspec knows it, or that it must be given."""
    if field.default_factory is not MISSING:
        return msgspec.field(default_factory=field.default_factory)
    return msgspec.field() if field.default is MISSING else field.default


def read_json(path: str | Path, kind: type[T], name: str | None = None) -> T:
    r"""Reads a JSON file, and checks it against a type.

    Args:
        path: The file.
        kind: As for :func:`parse_json`.
        name: As for :func:`parse_json`. Default: the path.

    Returns:
        The checked object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As for :func:`parse_json`; or if `path` is no regular file, or one of more than
            256 MiB.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "rows.json")
        >>> _ = path.write_text("[1, 2]")
        >>> read_json(path, list[int])
        [1, 2]
    """
    path = Path(path)
    check_regular(path, LARGEST)
    return parse_json(path.read_bytes(), kind, name or str(path))


def _explained(message: str) -> str:
    """The message of msgspec as part of a sentence, with the field's name at its end."""
    text, at, field = message.partition(" - at `$")
    text = text.rstrip(".")
    if text.startswith(("Expected", "Object", "Number", "Integer", "Invalid")):
        text = text[0].lower() + text[1:]
    if not at:
        return text
    return f"{text}, in the field {re.sub('^[.]', '', field.rstrip('`'))!r}"
