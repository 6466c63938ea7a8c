"""The editor in a real browser, offline: a person's clicks and drags, and what comes of them."""

import json
import time

import numpy as np
import pytest
from PIL import Image

import opmask

pytestmark = pytest.mark.browser

ROWS = "document.querySelectorAll('.rows li').length"
AFTER = "document.querySelector('img.after').src"


@pytest.fixture
def page(browser, address):
    """The page before a photo is open."""
    browser.open(address, width=1280, height=900)
    browser.wait("!!document.querySelector('#drop button')")
    return browser


@pytest.fixture
def opened(page, photo):
    """The page with a photo."""
    page.choose_file("#drop button", photo)
    page.wait(f"{ROWS} === 6")
    return page


def changes(page, act):
    """Do something, and wait until the picture is another one."""
    before = page.js(AFTER)
    act()
    page.wait(f"{AFTER} !== {json.dumps(before)}")


def value(page, name, control):
    return float(
        page.js(f"document.querySelector('[data-name={name}] [data-control={control}]').value")
    )


def drag(page, name, control, end):
    page.drag(f"[data-name={name}] [data-control={control}]", (0.5, 0.5), (end, 0.5))


def downloaded(tmp_path, name):
    """A file that the browser saved, once it is whole."""
    end, path = time.monotonic() + 60, tmp_path / "downloads" / name
    while not path.exists():
        assert time.monotonic() < end, f"no {name}"
        time.sleep(0.05)
    return path


def test_an_edit_is_made_undone_saved_opened_and_downloaded(opened, photo, tmp_path):
    changes(opened, lambda: drag(opened, "l_add", "offset", 0.75))
    offset = value(opened, "l_add", "offset")
    assert offset > 0.1
    changes(opened, lambda: opened.click("[data-name=b_mul] [role=switch]"))
    edited = opened.js(AFTER)
    changes(opened, lambda: opened.click("#undo"))
    changes(opened, lambda: opened.click("#redo"))
    assert opened.js(AFTER) == edited
    opened.click("#save-edit")
    saved = downloaded(tmp_path, "house.opmask")
    opened.click("#download")
    picture = downloaded(tmp_path, "house-edited.png")
    source, edit = opmask.read_photo(photo), opmask.Edit.load(saved)
    assert np.array_equal(opmask.read_photo(picture).pixels, edit.render(source).pixels)
    plan = opmask.plan(opmask.load(), source)
    expected = plan.adjust("l_add", offset=offset).adjust("b_mul", strength=0)
    assert np.array_equal(opmask.read_photo(picture).pixels, expected.render(source).pixels)
    changes(opened, lambda: opened.click("#undo"))
    opened.choose_file("#open-edit", saved)
    opened.wait(f"{AFTER} === {json.dumps(edited)}")


def test_a_painted_area_confines_a_change(opened, tmp_path):
    opened.click("[data-mode=brush]")
    opened.drag(".frame", (0.2, 0.3), (0.3, 0.7))
    opened.wait("document.querySelector('.scope [value=area]').checked")
    changes(opened, lambda: drag(opened, "l_add", "offset", 0.9))
    opened.click("#download")
    edited = opmask.read_photo(downloaded(tmp_path, "house-edited.png")).pixels.astype(float)
    opened.click(".clear")
    opened.wait("!document.querySelector('.empty').hidden")
    photo = opmask.read_photo(tmp_path / "house.png").pixels.astype(float)
    assert (edited - photo)[20:40, 18:24].mean() > 30
    assert abs((edited - photo)[:, 60:]).mean() < 30


def test_a_rough_area_is_refined_and_shown(opened):
    opened.click("[data-mode=brush]")
    opened.drag(".frame", (0.1, 0.1), (0.45, 0.9))
    opened.wait("!document.querySelector('.match').disabled")
    area = "document.querySelector('canvas.area').toDataURL()"
    painted = opened.js(area)
    opened.click(".refine input")
    changes(opened, lambda: opened.click(".match"))
    opened.wait(f"{area} !== {json.dumps(painted)}")
    assert opened.js("document.querySelector('.stage').dataset.scope") == "area"


def test_a_mask_tells_where_and_its_region_is_picked(opened, tmp_path):
    mask = np.zeros((60, 80), np.uint8)
    mask[:, :40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    changes(opened, lambda: opened.choose_file("#open-region", tmp_path / "mask.png"))
    changes(opened, lambda: drag(opened, "b_add", "offset", 0.9))
    opened.wait("document.querySelectorAll('.why .only').length > 0")
    opened.click(".why .only")
    opened.wait("document.querySelector('.scope [value=area]').checked")
    assert value(opened, "b_add", "offset") == 0  # a new layer
    assert "yellower by" in opened.js("document.querySelector('.why li').textContent")


def test_the_keyboard_is_enough(opened):
    opened.js("document.querySelector('[data-name=l_add] [data-control=offset]').focus()")
    changes(
        opened, lambda: opened.press("ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    )
    assert value(opened, "l_add", "offset") > 0
    before = opened.js(AFTER)
    opened.press("z", code="KeyZ", windowsVirtualKeyCode=90, modifiers=2)
    opened.wait(f"{AFTER} !== {json.dumps(before)}")
    unnamed = "[...document.querySelectorAll('#work input, #work button')].filter(e =>"
    unnamed += "!e.ariaLabel && !e.textContent.trim() && !e.labels?.length).length"
    assert opened.js(unnamed) == 0


def test_a_bad_file_is_refused_in_words_and_changes_nothing(opened, tmp_path):
    before = opened.js(AFTER)
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    for button, said in (("#open-photo", "bad.png cannot be read"), ("#open-edit", "edit")):
        opened.choose_file(button, tmp_path / "bad.png")
        opened.wait(f"document.querySelector('.toast-body')?.textContent.includes('{said}')")
        opened.click(".toast-close")
        opened.wait("!document.querySelector('.toast-body')")
    assert opened.js(AFTER) == before
    assert opened.js("document.querySelector('#title p').textContent") == "house.png · 80 × 60"


def test_a_phone_shows_the_whole_width(browser, address, photo):
    browser.open(address, width=390, height=844, phone=True)
    browser.wait("!!document.querySelector('#drop button')")
    browser.choose_file("#drop button", photo)
    browser.wait(f"{ROWS} === 6")
    assert browser.js("document.documentElement.scrollWidth") == 390
    edges = "[...document.querySelectorAll('#work button, #work input[type=range]')].map(e =>"
    assert max(browser.js(edges + "e.getBoundingClientRect().right)")) <= 390


def test_the_page_asks_no_other_host_and_logs_no_error(opened, address):
    sent = [
        e["params"]["request"]["url"]
        for e in opened.events
        if e["method"] == "Network.requestWillBeSent"
    ]
    assert sent
    assert not [url for url in sent if not url.startswith((address, "data:", "blob:"))]
    logged = [e["params"] for e in opened.events if e["method"] == "Log.entryAdded"]
    assert not [entry for entry in logged if entry["entry"]["level"] == "error"]
    assert not [e for e in opened.events if e["method"] == "Runtime.exceptionThrown"]
