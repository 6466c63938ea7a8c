"""A Sphinx extension: every link within the built site leads somewhere; else it is a warning."""

from __future__ import annotations

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
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name == "id":
                self.names.add(value)
            elif value and name in ("href", "src"):
                self.links.add(value)


def _check(app: Sphinx, exception: Exception | None) -> None:
    """Warn of each link without a page, a file, or a place in a page."""
    if exception or app.builder.name != "html":
        return
    log, root = logging.getLogger(__name__), Path(app.outdir)
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in root.rglob("*.html")}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name in WRITTEN_BY_THEME:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.exists() and MADE_APART not in target.as_posix():
                log.warning("%s leads nowhere: %s", path.relative_to(root), link)
            elif place and target in pages and place not in pages[target].names:
                log.warning("%s leads to no place in its page: %s", path.relative_to(root), link)


def setup(app: Sphinx) -> dict[str, bool]:
    """Check when all is written."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
