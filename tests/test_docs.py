"""The settings of the documentation, on a page of its own: the whole takes a minute."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = Path(__file__).parents[1] / "docs"
PAGE = r"""
Page
====

Inline :math:`\bar{x}'` and

.. math:: \frac{1}{\sqrt{(x - y)^2 + \epsilon^2}}
"""


def build(folder, text):
    (folder / "index.rst").write_text(text)
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-c", SETTINGS, folder, folder / "out"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_formulas_need_no_network(tmp_path):
    done = build(tmp_path, PAGE)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<math") == 2
    assert not re.findall(r"<(?:script|link|img)[^>]*https?://[^>]*>", page)


@pytest.mark.slow
def test_a_formula_that_cannot_be_written_fails_the_build(tmp_path):
    done = build(tmp_path, PAGE + "\n:math:`\\unknown{x}`\n")
    assert done.returncode != 0
    assert "index.rst:9: WARNING: Unknown LaTeX command" in done.stderr
    assert r"In \unknown{x}" in done.stderr
