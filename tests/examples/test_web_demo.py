"""The demo in a real browser, offline: what it makes of a photo is what opmask makes of it."""

import base64
import functools
import http.server
import io
import json
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import opmask

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "_extra"
FILES = SITE / "demo" / "files"
STATUS = "document.querySelector('#status').textContent"


class Server(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(Server, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/demo/index.html"
        server.shutdown()


@pytest.fixture
def page(browser, address):
    if not (FILES / "about.json").exists():
        pytest.skip("the demo has no files; run: python examples/make_web_demo.py")
    browser.open(address, width=1280, height=900)
    browser.wait(f"{STATUS}.startsWith('Ready')")
    return browser


def said(page, text):
    page.wait(f"{STATUS}.startsWith({json.dumps(text)})")


def pixels(page):
    """What the photo's canvas shows."""
    url = page.js("document.querySelector('#photo').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))


def paint_cup(page):
    """Paints the cup and saucer of the sample, whatever its size."""
    page.js(
        "{ const p = window.demo.paint, {width: w, height: h} = p.canvas; p.beginPath();"
        "p.ellipse(.5 * w, .51 * h, .32 * w, .25 * h, 0, 0, 7); p.fill(); }"
    )


def set_slider(page, name, value):
    page.js(
        f"{{ const e = document.getElementById('{name}'); e.value = {value};"
        "e.dispatchEvent(new Event('input')); }"
    )


def painted(page):
    """The region as the page has it."""
    height, width = page.js("window.demo.region().size")
    plane = page.js("Array.from(window.demo.region().plane)")
    return np.float32(plane).reshape(height, width)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("paint", "values"), [("mask", {0, 1}), ("strokes", {-1, 1}), ("nothing", {-1})]
)
def test_the_demo_gives_what_opmask_gives(page, paint, values):
    page.click("#sample")
    said(page, "Paint what was changed")
    if paint == "mask":
        paint_cup(page)
    elif paint == "strokes":
        page.drag("#paint", (0.35, 0.5), (0.62, 0.5))
        page.click("#strokes")
    region, photo = painted(page), Image.open(FILES / "sample.jpg")
    assert set(np.unique(region)) == values
    page.click("#harmonize")
    said(page, "Done")
    wanted = opmask.harmonize(opmask.load(), photo, region=region)
    difference = np.abs(np.float32(pixels(page)) - np.float32(wanted))
    changed = np.abs(np.float32(wanted) - np.float32(photo))
    assert difference.mean() < 0.05 < 0.5 < changed.mean()
    # Rounding decides whether a pixel of which the gate says a half is joined to a stroke.
    assert (difference > 1).mean() <= (1e-4 if paint == "strokes" else 0)


@pytest.mark.browser
def test_sliders_and_the_split_show_the_edit_and_the_photo(page):
    page.click("#sample")
    said(page, "Paint what was changed")
    before = pixels(page)
    paint_cup(page)
    page.click("#harmonize")
    said(page, "Done")
    after = pixels(page)
    assert (after != before).any()
    rows = page.js("[...document.querySelectorAll('.mask input')].map(e => e.id)")
    assert len(rows) == len(opmask.load().retoucher.ranges)
    for row in rows:
        set_slider(page, row, 0)
    page.wait("window.demo.state.ticket > 1 && window.demo.state.strengths.l_add === 0")
    end = time.monotonic() + 60
    while (np.abs(np.int16(pixels(page)) - before) > 1).any():  # nothing is changed any more
        assert time.monotonic() < end
        time.sleep(0.1)
    set_slider(page, "split", 0)
    assert np.array_equal(pixels(page), before)


@pytest.mark.browser
def test_painting_goes_on_where_the_photo_before_is_shown_again(page):
    page.click("#sample")
    said(page, "Paint what was changed")
    before = pixels(page)
    paint_cup(page)
    page.click("#harmonize")
    said(page, "Done")
    count = painted(page).sum()
    page.drag("#paint", (0.05, 0.05), (0.3, 0.05))
    said(page, "This is the photo before")
    assert np.array_equal(pixels(page), before)
    assert painted(page).sum() > count


@pytest.mark.browser
def test_alpha_is_saved(page, tmp_path):
    photo = Image.open(FILES / "sample.jpg").convert("RGBA")
    alpha = np.full((400, 600), 255, np.uint8)
    alpha[:, 300:] = 128
    photo.putalpha(Image.fromarray(alpha))
    photo.save(tmp_path / "glass.png")
    saved = saved_by_page(page, tmp_path / "glass.png", "600 by 400")
    assert np.array_equal(saved.getchannel("A"), alpha)
    assert np.abs(np.int16(saved) - np.int16(photo))[..., :3].max() > 4


def saved_by_page(page, path, size):
    """What the page makes of a photo of a cup, and saves."""
    page.choose_file("label.button", path)
    said(page, "Paint what was changed")
    paint_cup(page)
    page.click("#harmonize")
    said(page, "Done")
    page.click("#save")
    said(page, f"Saved, {size}")
    saved = path.parent / "downloads" / f"{path.stem}-harmonized.png"
    end = time.monotonic() + 60
    while not saved.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    return Image.open(saved)


@pytest.mark.browser
def test_the_whole_photo_is_saved_and_what_is_no_picture_is_refused(page, tmp_path):
    photo = Image.open(FILES / "sample.jpg").resize((1500, 1000))
    photo.save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no picture")
    page.choose_file("label.button", tmp_path / "text.png")
    said(page, "text.png is no picture")
    saved = saved_by_page(page, tmp_path / "large.png", "1500 by 1000")
    made = np.int16(saved.convert("RGB")) - np.int16(photo)
    assert made.shape == (1000, 1500, 3)
    assert (made[:200] == 0).all()
    assert np.abs(made[450:550, 500:1000]).mean() > 1


@pytest.mark.browser
def test_without_its_files_the_page_says_how_to_get_them(browser, tmp_path):
    for file in (SITE / "demo").glob("*.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    handler = functools.partial(Server, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/index.html")
        said(browser, "The network is not here yet. Run: python examples/make_web_demo.py")
        server.shutdown()


@pytest.mark.browser
def test_opened_as_a_file_the_page_says_that_it_wants_a_server(browser):
    browser.open(SITE / "demo" / "index.html")
    said(browser, "Browsers run this from a server only.")


def make(*arguments):
    command = [sys.executable, ROOT / "examples" / "make_web_demo.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_a_package_that_is_another_one_is_refused(tmp_path):
    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("package/readme.md"))
    done = make("--runtime", tmp_path / "other.tgz", "--out", tmp_path / "files")
    assert done.returncode == 1
    assert "lacks ort.wasm.min.mjs" in done.stderr
    assert not list((tmp_path / "files").iterdir())
