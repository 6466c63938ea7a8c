"""A Sphinx extension that makes parts of the site: the page of the command, and pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import indent

from PIL import Image
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

WIDE = 2.2  # how many times as wide as high is a picture that small screens scroll through
STRIP = 4  # and one that all screens do


def keep_pictures(block: object, block_vars: dict, gallery_conf: dict) -> str:
    """Keep the picture that a cell of a tutorial ends in, as a notebook shows it."""
    shown = block_vars["example_globals"].get("___")
    if not isinstance(shown, Image.Image):
        return ""
    block_vars["example_globals"]["___"] = None  # the next cell may end in none
    path = next(block_vars["image_path_iterator"])
    shown.save(path)
    title = Path(block_vars["src_file"]).read_text(encoding="utf-8").split("\n")[1].strip('"# ')
    figure = figure_rst([path], gallery_conf["src_dir"], f"A picture of the tutorial: {title}")
    if shown.width < WIDE * shown.height:
        return figure
    strip = " strip" if shown.width > STRIP * shown.height else ""
    return f"\n.. container:: panorama{strip}\n" + indent(figure, "   ")


def _forget_other_tutorials(app: Sphinx) -> None:
    """Have tutorials run again that ran with another model in the box."""
    gallery = Path(app.srcdir) / "gallery"
    models = Path(app.srcdir).parent / "opmask" / "models"
    if not models.is_dir():  # the pages of a test
        return
    gallery.mkdir(exist_ok=True)
    weights = b"".join(path.read_bytes() for path in sorted(models.glob("*.safetensors")))
    known, digest = gallery / "models.sha256", sha256(weights).hexdigest()
    if not known.exists() or known.read_text() != digest:
        for ran in gallery.glob("*.py.md5"):
            ran.unlink()
        known.write_text(digest)


def _write_command_page(app: Sphinx) -> None:
    """Write what Typer says of the command, and of each of its subcommands."""
    command = [
        sys.executable,
        "-m",
        "typer",
        "opmask.cli.app",
        "utils",
        "docs",
        "--name",
        "opmask",
    ]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    page = Path(app.srcdir) / "reference" / "command-line.md"
    text = told.replace("# `opmask`", "# The command line", 1)
    for name, purpose in re.findall(r"^## `opmask ([\w-]+)`\n\n(.*)\n", text, re.MULTILINE):
        text = re.sub(rf"^\* `{name}`: .*", f"* `{name}`: {purpose}", text, flags=re.MULTILINE)
    page.parent.mkdir(exist_ok=True)
    if not page.exists() or page.read_text(encoding="utf-8") != text:  # else it is read again
        page.write_text(text, encoding="utf-8")


def _draw_operators(app: Sphinx) -> None:
    """Draw the pictures of the table of operators, unless all are there: a portrait under each."""
    page = Path(app.srcdir) / "reference" / "operators.rst"
    shown = re.findall(r"_shown/(.*\.jpg)", page.read_text("utf-8")) if page.exists() else []
    folder = page.with_name("_shown")
    if all((folder / name).exists() for name in shown):
        return
    from skimage import data

    examples = Path(app.srcdir).parent / "examples"
    with TemporaryDirectory() as temporary:
        photo = Path(temporary) / "photo.png"
        Image.fromarray(data.astronaut()).save(photo)
        command = [sys.executable, "show_operators.py", photo, "--each", folder]
        subprocess.run(command, check=True, cwd=examples)


def setup(app: Sphinx) -> dict[str, bool]:
    """Make them before pages are read."""
    app.connect("builder-inited", _forget_other_tutorials, priority=100)  # before the gallery
    app.connect("builder-inited", _write_command_page)
    app.connect("builder-inited", _draw_operators)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
