"""The files that a repository keeps for people: that they say what is true."""

import re
from pathlib import Path

import opmask

ROOT = Path(__file__).parents[1]


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", text, re.MULTILINE)[1] == opmask.__version__


def test_what_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:opmask|examples|benchmarks|docs|tests)/[\w/.*-]*)`", text)
    assert len(named) > 10
    for path in named:
        assert [*ROOT.glob(path)], path
