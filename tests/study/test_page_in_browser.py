"""The page in a real browser: a person's clicks, keys and reloads, and what comes of them."""

import json
import math
import re
import time
from collections import Counter

import pytest

from opmask.study import build_study, score_study

pytestmark = pytest.mark.browser

CHOICES = "#grid button"
SHOWN = "!document.getElementById('{}').hidden"
METHOD_NAMES = r"(alpha|beta|gamma)_method|folder\d|barn|street"


def start(browser, page, participant="", **screen):
    browser.open(page, **screen)
    browser.click("#participant")
    for letter in participant:
        browser.press(letter)
    browser.click("form button")
    browser.wait(SHOWN.format("trial"))


def choose(browser, place):
    """Choose by mouse, and wait until the next image, or the end, is shown."""
    now = browser.js("session.place")
    browser.click(CHOICES, place)
    browser.wait(f"session.place === {now + 1} && !holding")


def downloaded(tmp_path, count=1):
    """The newest of `count` files, once they are whole."""
    end = time.monotonic() + 60
    while len(files := list((tmp_path / "downloads").glob("*.json"))) < count:
        assert time.monotonic() < end, "no download"
        time.sleep(0.05)
    return max(files, key=lambda path: path.stat().st_mtime_ns)


def test_a_whole_study_is_answered_reloaded_exported_and_scored(browser, page, key, tmp_path):
    start(browser, page, "P 7")
    orders = browser.js("trials.map(t => [t.key, t.choices.map(c => c.key)])")
    choose(browser, 2)
    browser.reload()
    browser.wait(SHOWN.format("trial"))
    assert browser.js("document.getElementById('progress-text').textContent") == "Image 2 of 3"
    assert browser.js("trials.map(t => [t.key, t.choices.map(c => c.key)])") == orders
    choose(browser, 0)
    browser.click("#back")  # a change of mind
    assert browser.js(f"[...document.querySelectorAll('{CHOICES}')].map(b => b.ariaPressed)") == [
        "true", "false", "false"]  # fmt: skip
    choose(browser, 1)
    choose(browser, 0)
    browser.wait(SHOWN.format("end"))
    browser.click("#download")
    path = downloaded(tmp_path)
    record = json.loads(path.read_text("utf-8"))
    assert re.fullmatch(r"answers-P_7-[0-9a-f]+\.json", path.name)
    assert (record["participant"], record["checksum"]) == ("P 7", key.checksum)
    assert record["finished"] >= record["started"]
    assert [[answer["trial"], answer["order"]] for answer in record["answers"]] == orders
    assert [a["order"].index(a["choice"]) for a in record["answers"]] == [2, 1, 0]
    assert all(0 < answer["seconds"] < 60 for answer in record["answers"])
    score = score_study([path], key)
    assert (score.answers, score.unfinished, score.positions) == (3, 0, (1, 1, 1))
    chosen = {answer["trial"]: answer["choice"] for answer in record["answers"]}
    votes = Counter(trial.choices[chosen[trial.key]] for trial in key.trials)
    assert {s.method: s.votes for s in score.methods if s.votes} == votes


def test_the_keyboard_is_enough(browser, page, tmp_path):
    browser.open(page)
    for _ in range(2):  # to the field, to the button
        browser.press("Tab")
    browser.press("Enter", windowsVirtualKeyCode=13)
    browser.wait(SHOWN.format("trial"))
    for place, key in enumerate("132"):
        browser.press(key)
        browser.wait(f"session.place === {place + 1} && !holding")
    browser.wait(SHOWN.format("end"))
    assert browser.js("document.activeElement.id") == "thanks"
    answers = json.loads(browser.js("exported()"))
    assert [a["order"].index(a["choice"]) for a in answers["answers"]] == [0, 2, 1]
    assert re.fullmatch("anonymous-[0-9a-f]{8}", answers["participant"])


def test_arrows_go_back_and_forth_but_never_past_an_open_question(browser, page):
    start(browser, page)
    browser.press("ArrowRight")
    browser.press("ArrowLeft")
    browser.press("4")  # there are three
    browser.press("0")
    assert browser.js("[session.place, Object.keys(session.answers).length]") == [0, 0]
    choose(browser, 1)
    browser.press("ArrowLeft")
    assert browser.js("session.place") == 0
    browser.press("ArrowRight")
    assert browser.js("session.place") == 1
    browser.press("Backspace")
    assert browser.js("session.place") == 0


def test_a_double_click_answers_once(browser, page):
    start(browser, page)
    browser.click(CHOICES, 1, times=2)
    browser.wait("session.place === 1 && !holding")
    assert browser.js("Object.keys(session.answers).length") == 1


def test_focus_starts_at_the_question_and_goes_through_the_versions_in_order(browser, page):
    start(browser, page)
    choose(browser, 0)
    assert browser.js("document.activeElement.id") == "question"
    names = []
    for _ in range(6):
        browser.press("Tab", windowsVirtualKeyCode=9)
        names.append(browser.js(
            "document.activeElement.querySelector('img')?.alt ?? document.activeElement.id"
        ))  # fmt: skip
    versions = [f"Version {number} of 3" for number in (1, 2, 3)]
    assert names == [*versions, "back", "zoom", "sofar"]


def test_what_assistive_technology_reads_says_everything_but_the_methods(browser, page):
    start(browser, page)
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    read = [
        (n["role"]["value"], n["name"]["value"]) for n in nodes if n.get("name", {}).get("value")
    ]
    for number in 1, 2, 3:
        assert ("button", f"Version {number} of 3") in read
    assert ("heading", "Which image looks most realistic?") in read
    assert ("group", "Which image looks most realistic?") in read
    assert ("progressbar", "Images answered") in read
    assert not re.search(METHOD_NAMES, json.dumps(nodes))


def test_nothing_in_the_running_page_names_a_method(browser, page):
    start(browser, page)
    assert not re.search(METHOD_NAMES, browser.js("document.documentElement.outerHTML"))
    assert not re.search(METHOD_NAMES, browser.js("JSON.stringify(localStorage) + exported()"))


def test_orders_are_uniform_over_participants_and_fixed_by_the_seed(browser, page):
    browser.open(page)
    count = 6000
    plans = browser.js(
        f"Array.from({{length: {count}}}, (_, i) => plan(Math.imul(i, 2654435761))"
        ".map(t => [t.key, t.choices.map(c => c.key)]))"
    )
    assert browser.js("JSON.stringify(plan(7)) === JSON.stringify(plan(7))")
    trials = Counter(tuple(key for key, _ in plan) for plan in plans)
    choices = Counter(
        tuple(order) for plan in plans for key, order in plan if key == plans[0][0][0]
    )
    for found in trials, choices:  # six orders each
        assert len(found) == 6
        expected = count / 6
        chi_square = sum((seen - expected) ** 2 / expected for seen in found.values())
        assert chi_square < 20.5  # exceeded once in 1000, with 5 degrees of freedom


def test_participants_get_different_seeds(browser, page):
    start(browser, page)
    first = browser.js("session.seed")
    browser.js("localStorage.clear()")
    start(browser, page)
    assert browser.js("session.seed") != first


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (844, 390)])
def test_all_versions_fit_the_screen(browser, folders, tmp_path, width, height):
    inputs = folders["beta_method"]
    build_study(folders, tmp_path / "with.html", inputs=inputs)
    start(browser, tmp_path / "with.html", width=width, height=height, phone=width != 1280)
    boxes = browser.js(
        "[...document.querySelectorAll('.frame')].map(f => {const b = f.getBoundingClientRect();"
        "return [b.left, b.top, b.right, b.bottom]})"
    )
    assert len(boxes) == 4
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert (right - left) / (bottom - top) == pytest.approx(4 / 3, rel=0.02)
        assert right - left >= 100
    for part in "html", "main":
        element = f"document.querySelector('{part}')"
        assert browser.js(f"{element}.scrollWidth === {element}.clientWidth")
    bars = browser.js("document.getElementById('sofar').getBoundingClientRect().bottom")
    assert bars <= height


def test_inputs_are_shown_and_cannot_be_chosen(browser, folders, tmp_path):
    build_study(folders, tmp_path / "with.html", inputs=folders["beta_method"])
    start(browser, tmp_path / "with.html")
    assert browser.js("document.querySelector('#grid > :first-child').tagName") == "DIV"
    browser.click("#grid > :first-child")
    assert browser.js("[holding, Object.keys(session.answers).length]") == [False, 0]
    alt = browser.js("document.querySelector('#grid img').alt")
    assert alt == "The image before, for reference"


def test_all_versions_are_enlarged_at_the_place_under_the_pointer(browser, page):
    start(browser, page)
    browser.press("z")
    assert browser.js("document.getElementById('zoom').ariaPressed") == "true"
    x, y, w, h = browser.js(
        "(() => {const b = document.querySelectorAll('.frame')[1].getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]})()"
    )
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + w / 4, y=y + h / 2)
    styles = browser.js(
        "[...document.images].map(i => {const s = getComputedStyle(i);"
        "return [s.transform, ...s.transformOrigin.split(' ').map(parseFloat)]})"
    )
    assert len(styles) == 3
    for transform, at_x, at_y in styles:
        assert transform == "matrix(3, 0, 0, 3, 0, 0)"
        assert (at_x, at_y) == (pytest.approx(w / 4, abs=1), pytest.approx(h / 2, abs=1))
    browser.press("ArrowRight")  # moves the view, not the study
    browser.press("ArrowUp")
    assert browser.js("parseFloat(document.getElementById('grid').style.getPropertyValue('--x'))"
                      ) == pytest.approx(35, abs=1)  # fmt: skip
    browser.press("Escape")
    assert browser.js("getComputedStyle(document.images[0]).transform") == "none"


def test_zoom_works_by_touch(browser, page):
    start(browser, page, width=390, height=844, phone=True)
    browser.click("#zoom")
    x, y = browser.js("(() => {const b = document.querySelector('.frame').getBoundingClientRect();"
                      "return [b.x + b.width / 2, b.y + b.height / 2]})()")  # fmt: skip
    for kind, at in ("touchStart", x), ("touchMove", x + 20), ("touchMove", x + 40):
        browser.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": at, "y": y}])
    browser.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    moved = browser.js("parseFloat(document.getElementById('grid').style.getPropertyValue('--x'))")
    assert moved > 60
    assert browser.js("Object.keys(session.answers).length") == 0  # a drag is no choice


def luminance(color):
    """Relative luminance (WCAG 2.2)."""
    red, green, blue = (
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (int(number) / 255 for number in re.findall(r"\d+", color)[:3])
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_texts_stand_out_and_the_page_has_no_hue(browser, page):
    found = []
    colors = """[...document.body.querySelectorAll('*')].filter(e => e.checkVisibility()
      && !e.disabled && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
      let b = e;
      while (getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
      return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor]})"""
    browser.open(page)
    found += browser.js(colors)
    browser.click("form button")
    found += browser.js(colors)
    for _ in range(3):
        choose(browser, 0)
    found += browser.js(colors)
    assert len(found) > 20
    for pair in found:
        dark, light = sorted(map(luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # level AA
        assert all(len(set(re.findall(r"\d+", color)[:3])) == 1 for color in pair)


def test_nothing_is_loaded_nor_may_be(browser, page):
    start(browser, page)
    urls = [event["params"]["request"]["url"] for event in browser.events
            if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "about"}
    assert (
        browser.js("fetch('http://127.0.0.1:9/').then(() => 'sent', e => 'refused')") == "refused"
    )
    violations = [e for e in browser.events if "Content Security Policy" in json.dumps(e)]
    assert len(violations) >= 1


def test_unfinished_answers_can_be_saved_and_are_reported(browser, page, key, tmp_path):
    start(browser, page, "8")
    choose(browser, 0)
    browser.click("#sofar")
    path = downloaded(tmp_path)
    assert json.loads(path.read_text("utf-8"))["finished"] is None
    score = score_study([path], key, partial=True)
    assert (score.unfinished, score.answers) == (1, 1)
    choose(browser, 0)  # and one may go on
    assert browser.js("session.place") == 2


def finish(browser, page, participant=""):
    start(browser, page, participant)
    for _ in range(3):
        choose(browser, 0)
    browser.wait(SHOWN.format("end"))


def test_answers_are_copied_to_the_clipboard(browser, page):
    finish(browser, page)
    browser.js("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    browser.click("#copy")
    browser.wait("document.getElementById('said').textContent === 'Copied.'")
    assert browser.js("copied === exported()")


def test_where_there_is_no_clipboard_the_text_is_selected(browser, page):
    finish(browser, page)
    browser.js("navigator.clipboard.writeText = async () => { throw new Error('denied') }")
    browser.js("document.execCommand = () => false")
    browser.click("#copy")
    browser.wait("document.getElementById('said').textContent.startsWith('Please copy')")
    assert browser.js("getSelection().toString() || (t => t.value.slice(t.selectionStart, "
                      "t.selectionEnd))(document.getElementById('answers'))"
                      ) == browser.js("exported()")  # fmt: skip


def test_the_next_participant_starts_anew_after_a_question(browser, page):
    finish(browser, page, "9")
    browser.js("window.confirm = () => false")
    browser.click("#again")
    assert browser.js("session.participant") == "9"
    browser.js("window.confirm = () => window.before = true")
    browser.click("#again")
    browser.wait(
        f"!window.before && document.readyState === 'complete' && {SHOWN.format('start')}"
    )
    assert browser.js("document.getElementById('participant').value") == ""


def test_a_browser_that_keeps_nothing_says_so_and_works(browser, page):
    browser.send(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(window, 'localStorage', {get() { throw new Error() }})",
    )
    finish(browser, page)
    assert browser.js("!document.getElementById('notice').hidden")
    assert len(json.loads(browser.js("exported()"))["answers"]) == 3


def test_time_while_the_page_is_hidden_does_not_count(browser, page):
    start(browser, page)
    browser.js("""(() => {
      let now = 1000; performance.now = () => now;
      let hidden = false; Object.defineProperty(document, 'hidden', {get: () => hidden});
      const turn = (to, at) => { hidden = to; now = at;
        document.dispatchEvent(new Event('visibilitychange')); };
      shownSince = 1000;
      turn(true, 4000); turn(false, 60000); now = 62000; choose(0);
    })()""")
    (seconds,) = browser.js("Object.values(session.seconds)")
    assert math.isclose(seconds, 5.0)


def test_the_page_reports_no_error(browser, page):
    finish(browser, page)
    browser.click("#review")
    browser.reload()
    wrong = [event for event in browser.events
             if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]  # fmt: skip
    assert wrong == []
