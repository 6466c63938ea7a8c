"""Reading lines of JSON, so that an error names file, line and field.

Line -> :func:`parse` -> object -> :func:`take` -> values, for a manifest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

_JSON_NAMES = {
    str: "a text",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}

T = TypeVar("T")


def read_line(read: Callable[[bytes], T], path: str | Path, number: int, line: bytes) -> T:
    """What a function makes of a line, whose place errors name."""
    try:
        return read(line)
    except FileNotFoundError as error:  # a .cube file that the line names
        raise FileNotFoundError(f"{path}, line {number}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: {error}") from error


def parse(text: str | bytes) -> dict[str, Any]:
    """The object that a line holds."""
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ValueError(f"must be JSON, got {text[:40]!r} ({error}).") from error
    if not isinstance(record, dict):
        raise ValueError(f"must be a JSON object, got {text[:40]!r}.")
    return record


def take(record: dict[str, Any], field: str, *kinds: type) -> Any:  # noqa: ANN401
    """The value of a field, which must be there and of one of some kinds."""
    if field not in record:
        raise ValueError(f"the field {field!r} must be there, got only {', '.join(record)}.")
    if type(record[field]) not in kinds:  # isinstance would take a boolean for an integer
        names = " or ".join(_JSON_NAMES[kind] for kind in kinds)
        raise ValueError(f"the field {field!r} must be {names}, got {record[field]!r:.40}.")
    return record[field]
