"""A Sphinx extension that warns of links that lead nowhere, and of public names without an entry.

Links within the site are looked up in its pages once they are written; nothing that a page is made
of may come from elsewhere. Public is what the package
and its rooms, its folders and files, name in `__all__`.
"""

from __future__ import annotations

import importlib
import pkgutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

MADE_APART = "demo/files/"  # what the page itself says is missing
WRITTEN_BY_THEME = ("genindex.html", "search.html", "py-modindex.html")


class _Page(HTMLParser):
    """The names and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name == "id":
                self.names.add(value)
            elif value and name in ("href", "src"):
                self.links.add(value)
                if tag in ("script", "img") or (
                    tag == "link" and ("rel", "canonical") not in attrs
                ):
                    self.fetched.add(value)


def _check_links(app: Sphinx, exception: Exception | None) -> None:
    """Warn of each link without a page, a file, or a place, and of what a page would fetch."""
    if exception or app.builder.name != "html":
        return
    log, root = logging.getLogger(__name__), Path(app.outdir)
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in root.rglob("*.html")}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.netloc and link in page.fetched:
                log.warning("%s asks for %s over a network", path.relative_to(root), link)
            if parts.scheme or parts.netloc or path.name in WRITTEN_BY_THEME:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.exists() and MADE_APART not in target.as_posix():
                log.warning("%s leads nowhere: %s", path.relative_to(root), link)
            elif place and target in pages and place not in pages[target].names:
                log.warning("%s leads to no place in its page: %s", path.relative_to(root), link)


def _check_names(app: Sphinx, exception: Exception | None) -> None:
    """Warn of each public name that no page describes."""
    package = app.config.project
    rooms = [room.name for room in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    if exception or not (Path(app.srcdir) / "api").exists():
        return
    described = {name.rpartition(".")[2] for name in app.env.domains.python_domain.objects}
    for room in [package, *(f"{package}.{name}" for name in rooms if not name.startswith("_"))]:
        for name in getattr(importlib.import_module(room), "__all__", []):
            if name not in described and not name.startswith("__") and name not in rooms:
                logging.getLogger(__name__).warning("%s.%s is on no page", room, name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Check when all is written."""
    app.connect("build-finished", _check_links)
    app.connect("build-finished", _check_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
