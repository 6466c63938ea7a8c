"""The settings of the documentation, on a page of its own: the whole takes a minute."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from opmask import backbones

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "docs"
PAGE = r"""
Page
====

Inline :math:`\bar{x}'` and

.. math:: \frac{1}{\sqrt{(x - y)^2 + \epsilon^2}}
"""


PAGES = """
.. toctree::
   :glob:

   */*
"""


def build(folder, text):
    (folder / "index.rst").write_text(text + PAGES)
    (folder / "tutorials").mkdir()
    (folder / "tutorials" / "GALLERY_HEADER.rst").write_text("Tutorials\n=========\n")
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


def test_the_page_of_networks_has_their_numbers_of_parameters():
    with torch.device("meta"):
        networks = [
            *(backbones.AttentionUNet(), backbones.RainNet(), backbones.BargainNet()),
            *(backbones.DoveNet(), backbones.DoveNet(norm="batch"), backbones.DIRL()),
            *(backbones.S2AD(), backbones.S2AD(3), backbones.HarmonyTransformer()),
            *(backbones.HarmonyTransformerPlus(), backbones.HarmonyTransformerPlus(4, 6)),
            *(backbones.DHT(), backbones.DHT(version="v2"), backbones.BargainNet().extractor),
        ]
    counts = {sum(p.numel() for p in network.parameters()) for network in networks}
    page = (SETTINGS / "reference" / "networks.rst").read_text(encoding="utf-8")
    assert {int(n.replace(",", "")) for n in re.findall(r"\d+(?:,\d{3})+", page)} == counts


def test_tutorials_run_again_with_another_model_in_the_box(tmp_path, monkeypatch):
    pytest.importorskip("sphinx_gallery")
    monkeypatch.syspath_prepend(SETTINGS)
    forget = importlib.import_module("site_made")._forget_other_tutorials
    app = SimpleNamespace(srcdir=tmp_path / "docs")
    ran, model = tmp_path / "docs/gallery/1.py.md5", tmp_path / "opmask/models/a.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"one")
    (tmp_path / "docs").mkdir()
    forget(app)
    ran.touch()
    forget(app)
    assert ran.exists()
    model.write_bytes(b"two")
    forget(app)
    assert not ran.exists()


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(first, names)
    image, composite = names["image"], names["composite"]
    assert image.shape == composite.shape
    assert (image > composite + 0.01).sum() == 0  # the sky of the example is empty
    assert list(names["masks"]) == ["l_mul", "a_mul", "b_mul", "l_add", "a_add", "b_add"]
    assert (tmp_path / "model.safetensors").exists()
    exec(second, names)
    names["opmask"].testing.check_operator(names["Exposure"]())


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_an_extra_that_the_build_needs_is_named(tmp_path):
    hide = "import sys; sys.modules['sphinx_gallery'] = None\n"
    code = f"{hide}from sphinx.cmd.build import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, SETTINGS, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "needs sphinx_gallery" in done.stderr
    assert "pip install -e '.[docs]'" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ['<script src="https://a.b/c.js"></script>', '<img src="//a.b/c.png">']
)
def test_a_page_that_asks_for_something_over_a_network_fails_the_build(part, tmp_path):
    done = build(tmp_path, f"{PAGE}\n.. raw:: html\n\n   {part}\n")
    assert done.returncode != 0
    assert re.search(r"index\.html asks for (https:)?//a\.b/c", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["nowhere.html", "index.html#nowhere", "#nowhere"])
def test_a_link_that_leads_nowhere_fails_the_build(link, tmp_path):
    sound = (
        '\n.. raw:: html\n\n   <a href="index.html#page">sound</a> <a href="https://a.b">out</a>'
    )
    done = build(tmp_path, f'{PAGE}{sound} <a href="{link}">broken</a>\n')
    assert done.returncode != 0
    assert re.search(rf"index\.html leads .*: {re.escape(link)}", done.stderr)
    assert "sound" not in done.stderr
