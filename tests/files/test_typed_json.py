"""JSON from files: shape and bounds are checked, and errors name the file and the field."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated

import pytest
from msgspec import Meta

from opmask.files.typed_json import parse_json, read_json


@dataclass(frozen=True)
class Inner:
    width: Annotated[int, Meta(ge=1, le=64)]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    share: float = 0.0


def test_a_dataclass_is_read_with_its_defaults():
    assert parse_json(b'{"inner": {"width": 3}}', Outer, "x") == Outer(Inner(3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"^a\.json: Input data was truncated\.$"),
        (b"[]", r"^a\.json: expected `object`, got `array`\.$"),
        (b"{}", r"^a\.json: object missing required field `inner`\.$"),
        (b'{"inner": {"width": 65}}', r"expected `int` <= 64, in the field 'inner.width'\.$"),
        (b'{"inner": {"width": 1e400}}', r"number out of range, in the field 'inner.width'"),
        (b'{"inner": {"width": true}}', r"expected `int`, got `bool`, in the field"),
        (b'{"inner": {"width": 1}, "share": ' + b"9" * 400 + b"}", r"out of range.*'share'"),
        (b'{"inner": {"width": 1}, "share": NaN}', r"a\.json: JSON is malformed"),
        (b"\xff\xfe", r"a\.json: JSON is malformed"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text, Outer, "a.json")


def test_nesting_has_an_end():
    with pytest.raises(ValueError, match=r"a\.json: the JSON is nested too deeply"):
        parse_json(b"[" * 50_000 + b"]" * 50_000, object, "a.json")


def test_text_that_is_no_unicode_is_refused():
    with pytest.raises(ValueError, match=r"^a\.json: "):
        parse_json("\ud800", object, "a.json")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_json(tmp_path / "none.json", object)
    with pytest.raises(ValueError, match="must be a file"):
        read_json(tmp_path, object)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match="must be a file"):
        read_json(tmp_path / "pipe.json", object)


def test_a_file_that_is_too_large_is_refused(tmp_path):
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(ValueError, match="must be at most 268435456 bytes, got 1099511627776"):
        read_json(tmp_path / "large.json", object)
