r"""Reading JSON that comes from a file, whoever wrote it: types and bounds are checked first.

A dataclass (or a `msgspec.Struct`, `dict[str, int]` and the like) says what the JSON must hold;
`Annotated[int, msgspec.Meta(ge=1, le=4096)]` gives a field its bounds. What does not fit is a
`ValueError` that names the file and the field, before anything is built of it.

Data flow: `file -> bytes -> parse_json -> checked object`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import msgspec

__all__ = ["parse_json", "read_json"]

T = TypeVar("T")

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
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError:
        raise ValueError(f"{name}: the JSON is nested too deeply.") from None
    except ValueError as error:  # msgspec's own errors are of this kind
        raise ValueError(f"{name}: {_explained(str(error))}.") from None


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
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}.")
    if not path.is_file():  # a pipe would block, and a device may never end
        raise ValueError(f"{str(path)!r} must be a file.")
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{str(path)!r} must be at most {LARGEST} bytes, got {size}.")
    return parse_json(path.read_bytes(), kind, name or str(path))


def _explained(message: str) -> str:
    """The message of msgspec as part of a sentence, with the field's name at its end."""
    text, at, field = message.partition(" - at `$")
    text = (
        text[0].lower() + text[1:] if text.startswith(("Expected", "Object", "Number")) else text
    )
    if not at:
        return text
    return f"{text}, in the field {re.sub('^[.]', '', field.rstrip('`'))!r}"
