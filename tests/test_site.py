"""The built site in a browser: nothing is asked for over a network, and pages fit the screen."""

import os
from pathlib import Path

import pytest

BUILT = Path(__file__).parents[1] / "docs" / "_build"
PAGES = (
    *("index", "start/first-photo", "gallery/index", "gallery/2_edit", "how-to/harmonize"),
    *("concepts/paper", "reference/operators", "reference/card", "api/perturb"),
    "benchmarks/results/summary",
)


@pytest.fixture(scope="module")
def site():
    """The folder that Sphinx wrote to: $OPMASK_TEST_SITE, or docs/_build."""
    folder = Path(os.environ.get("OPMASK_TEST_SITE") or BUILT)
    if not (folder / "index.html").exists():
        pytest.skip(f"no built site in {folder}; set OPMASK_TEST_SITE to the folder that has it")
    return folder


@pytest.mark.browser
@pytest.mark.parametrize("page", PAGES)
def test_pages_fit_a_desktop_and_a_phone_and_ask_for_nothing(page, site, browser):
    address = (site / f"{page}.html").as_uri()
    for width, phone in (1280, False), (390, True):
        browser.open(address, width=width, phone=phone)
        browser.wait("[...document.images].every(i => i.complete)")
        assert browser.js("[...document.images].every(i => i.naturalWidth > 0)")
        assert browser.js("document.documentElement.scrollWidth") <= width
        assert browser.js("document.body.innerText.length") > 500
    requests = (e["params"]["request"]["url"] for e in browser.events if is_request(e))
    assert not [url for url in requests if url.startswith("http")]


def is_request(event):
    return event.get("method") == "Network.requestWillBeSent"
