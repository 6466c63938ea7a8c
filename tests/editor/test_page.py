"""The handlers of the page, without a browser."""

import pytest
from quiet_gradio import importing_gradio

from opmask.editor.pictures import area_uri
from opmask.editor.server import Desk

with importing_gradio():
    import gradio as gr

    from opmask.editor.page import OUTPUTS, Page, act, panel_view, show, stage_view

BROWSER = "a" * 43


class Request:
    headers = {"cookie": f"opmask_editor={BROWSER}"}
    session_hash = "page"


class Event:
    def __init__(self, *changes):
        self._data = {"changes": [*changes]}


@pytest.fixture
def page(model):
    desk = Desk(model)
    yield Page(desk)
    desk.close()


@pytest.fixture
def warned(monkeypatch):
    """What the page warned of."""
    said = []
    monkeypatch.setattr(gr, "Warning", lambda text, **_: said.append(text))
    return said


@pytest.fixture
def opened(page, photo):
    page.open_photo(str(photo), Request)
    return page


def test_a_dropped_photo_is_shown_and_its_upload_removed(page, photo):
    stage, panel, title, *_ = page.open_photo(str(photo), Request)
    assert stage["before"].startswith("data:image/jpeg")
    assert [row["name"] for row in panel["rows"]] == [
        "l_mul", "a_mul", "b_mul", "l_add", "a_add", "b_add"]  # fmt: skip
    assert "house.png · 80 × 60" in title
    session = page.session(Request)
    assert not photo.exists()
    assert not [*session.folder.iterdir()]


def test_changes_of_the_page_change_the_edit(opened):
    change = {"action": "set", "name": "l_add", "control": "offset", "value": 0.1}
    stage, panel, *_ = opened.act(Event(change, {"action": "whole", "value": 0.5}), Request)
    assert (panel["rows"][3]["offset"], panel["whole"]) == (0.1, 0.5)
    assert stage["before"] is None
    assert opened.undo(Request)[1]["whole"] == 1
    assert opened.redo(Request)[1]["whole"] == 0.5


def test_what_was_painted_is_where_changes_act(session, left):
    act(session, {"action": "paint", "area": area_uri(left)})
    view = stage_view(session)
    assert (view["scope"], view["chosen"]) == ("area", True)
    act(session, {"action": "clear"})
    assert not panel_view(session)["chosen"]


@pytest.mark.parametrize(
    "change",
    [None, {}, {"action": "close"}, {"action": "whole"}, {"action": "whole", "much": 1},
     {"action": ["whole"]}],
)  # fmt: skip
def test_what_no_page_sends_is_refused(session, change):
    with pytest.raises(ValueError, match="Reload the page"):
        act(session, change)


def test_what_is_refused_is_said_and_changes_nothing(opened, warned, tmp_path):
    (tmp_path / "<b>.png").write_bytes(b"nothing")
    opened.open_photo(str(tmp_path / "<b>.png"), Request)
    opened.act(Event({"action": "whole", "value": 9}), Request)
    opened.open_region("", Request)
    opened.open_edit("", Request)
    event = Event()
    event._data = None
    opened.act(event, Request)
    assert (
        warned[0]
        == "&lt;b&gt;.png cannot be read: it is no picture, or of a format that is not known."
    )
    assert [text.split(" ")[0] for text in warned[1:]] == ["&#x27;whole&#x27;", "No", "No", "A"]


def test_downloads_have_an_address_that_is_not_guessed(opened, warned):
    edit, photo = opened.save_edit(Request), opened.save_photo(Request)
    assert edit.endswith("/house.opmask")
    assert photo.endswith("/house-edited.png")
    key = photo.split("/")[2]
    assert len(key) == 32
    assert opened.desk.download(BROWSER, key).is_file()


def test_before_a_photo_is_open_nothing_is_shown_or_saved(page, warned):
    assert len(page.load(Request)) == OUTPUTS
    assert page.save_edit(Request) == ""
    assert warned == ["No photo is open. Open one first."]


def test_the_photo_of_the_command_line_is_open(model, photo):
    page = Page(Desk(model, photo))
    assert "house.png" in page.load(Request)[2]
    page.leave(Request)
    page.desk.close()


def test_a_browser_without_cookies_gets_an_error(page):
    class Unknown(Request):
        headers = {}

    with pytest.raises(gr.Error, match="needs cookies"):
        page.load(Unknown)


def test_every_component_gets_its_update(session):
    assert len(show(session, fresh=True)) == OUTPUTS
