"""The page of all operators says what the operators say."""

from inspect import signature
from pathlib import Path

import pytest
from shipped import NAMES, build

from opmask import operators

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "operators.rst"


def rows():
    """By name of an operator, the cells after it: masks, unit, space, what it does."""
    found = {}
    for row in PAGE.read_text(encoding="utf-8").split("   * - ")[1:]:
        first, *rest = (cell.strip() for cell in row.split("\n     - "))
        found[first.split(".")[-1].rstrip("`")] = rest
    return found


def test_every_operator_has_a_row():
    assert sorted(rows()) == sorted(["Operator", *NAMES])


def test_the_readme_counts_them():
    readme = (PAGE.parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"There are {len(NAMES)} operators" in readme


@pytest.mark.parametrize("name", NAMES)
def test_a_row_says_what_the_operator_says(name):
    picture, what, masks, unit, _ = rows()[name]
    first = " ".join(type(build(name)).__doc__.split("\n\n")[0].split())
    assert what == first
    assert f"_shown/{name}.jpg" in picture
    assert unit
    named = [word.strip("`") for word in masks.split() if word.startswith("``")]
    own = {f"{mask.removeprefix('c_')}" for mask in (m.rstrip("`,") for m in named)}
    assert all(any(mask.endswith(word) for mask in build(name).ranges) for word in own)


def test_every_number_that_an_operator_takes_is_named():
    text = PAGE.read_text(encoding="utf-8").split(".. list-table::")[0]
    common = {"self", "ranges", "range", "prefix", "channels", "space", "operators"}
    shown = {"color", "dark", "bright", "ties", "values"}  # as colours, or in the example
    for name in NAMES:
        own = set(signature(getattr(operators, name).__init__).parameters) - common - shown
        assert all(f"``{argument}``" in text for argument in own), (name, own)
