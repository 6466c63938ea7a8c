r"""The page of the editor, in Gradio: what is shown, and what happens on a click.

Two components of its own, the stage (before and after, brush) and the panel (a row for each mask),
are HTML and JavaScript in `assets/`. They send changes; each answer is the session as it is then.

Data flow: `click -> handler -> Session -> view -> page`.
"""

from __future__ import annotations

import html
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import gradio as gr

from opmask.editor.cookies import known_browser
from opmask.editor.labels import label
from opmask.editor.pictures import area_uri, map_uri, photo_uri, read_area
from opmask.editor.session import Session

if TYPE_CHECKING:
    from opmask.editor.server import Desk

__all__ = ["STYLE", "Page", "act", "build_page", "look", "panel_view", "stage_view"]

ASSETS = Path(__file__).with_name("assets")
STYLE = (ASSETS / "style.css").read_text(encoding="utf-8")
EXPECTED = (OSError, ValueError, ImportError, MemoryError, RuntimeError)
INTRO = """<div class="intro"><h2>Edit by operator masks</h2>
<p>The model finds what does not fit, and shows it as masks that you can change.
Everything stays on this machine.</p></div>"""
UNOPENED = 600.0, 3600.0
"""How often uploads are removed that no page has opened, and after how long, in seconds. One that
was opened is removed at once, as the session has what it needs of it in memory."""

ONE_AT_A_TIME: dict[str, Any] = {
    "concurrency_id": "session",
    "concurrency_limit": 1,
    "show_progress": "hidden",
    "api_visibility": "private",
}

_serial = count()


def look() -> gr.themes.Base:
    """A theme without hues, and with the fonts of the system, so that none are fetched."""
    return gr.themes.Base(
        primary_hue="neutral",
        secondary_hue="neutral",
        neutral_hue="neutral",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )


def stage_view(session: Session, *, fresh: bool = False) -> dict[str, Any]:
    """What the stage shows.

    Args:
        session: The session, with a photo.
        fresh: Whether the photo is another one than before.

    Returns:
        Pictures as data URIs, and words.
    """
    layer, explanation = session.draft.layer, session.explanation
    chosen = layer.area is not None and bool(layer.area.any())
    height, width = session.before.shape[-2:]
    return {
        "serial": next(_serial),
        "before": photo_uri(session.before) if fresh else None,
        "after": photo_uri(session.after()),
        "width": width,
        "height": height,
        "scope": layer.scope,
        "area": area_uri(layer.area) if chosen and layer.area is not None else None,
        "chosen": chosen and layer.scope == "area",
        "guided": session.model.region,
        "refines": session.model.region and "gate" in session.model.retoucher.ranges,
        "sentences": explanation.sentences,
        "regions": len(explanation.regions),
    }


def panel_view(session: Session) -> dict[str, Any]:
    """What the panel shows: the controls of the layer, and the effective masks."""
    draft, edit = session.draft, session.edit
    rows = []
    for name, mask in edit.masks(effective=True).items():
        words, row = label(edit.retoucher, name), draft.layer.row(name)
        rows.append(
            {
                "name": name,
                "title": words.title,
                "operation": words.operation,
                "reach": words.reach,
                "limit": words.limit,
                "scale": words.scale,
                "unit": words.unit,
                "strength": row.strength,
                "offset": row.offset,
                "on": row.on,
                "picture": map_uri(mask, edit.retoucher.ranges[name].identity, words.limit),
            }
        )
    return {
        "serial": next(_serial),
        "rows": rows,
        "whole": draft.whole,
        "scope": draft.layer.scope,
        "chosen": draft.layer.area is not None and bool(draft.layer.area.any()),
        "gated": bool(edit.retoucher.gates),
    }


def act(session: Session, change: Mapping[str, Any]) -> Sequence[str]:
    """Does what a change sent by the page says.

    Returns:
        What is to be said of it, a sentence each.

    Raises:
        ValueError: If it is none that a page sends, or the session refuses it.
    """
    actions: dict[str, Callable[..., Sequence[str] | None]] = {
        "set": session.set_control,
        "whole": session.set_whole,
        "scope": session.set_scope,
        "paint": lambda area: session.paint(read_area(area, session.draft.base.size)),
        "pick": session.pick,
        "pick_region": session.pick_region,
        "clear": session.clear_area,
        "match": session.match_area,
    }
    known = isinstance(change, Mapping) and change.get("action") in [*actions]
    if not known:
        raise ValueError(f"a change must name one of {', '.join(actions)}. Reload the page.")
    given = {name: value for name, value in change.items() if name != "action"}
    try:
        return actions[change["action"]](**given) or ()
    except TypeError as error:
        raise ValueError("a change has wrong arguments. Reload the page.") from error


class Page:
    r"""The handlers of the page.

    Args:
        desk: The sessions.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def answer(
        self, request: gr.Request, work: Callable[[Session], object], *, fresh: bool = False
    ) -> list[Any]:
        """Works on the session of a page, says what was refused, and shows the session."""
        session = self.session(request)
        with session.lock:
            self.attempt(session, work)
            return show(session, fresh) if session.is_open else [gr.skip()] * OUTPUTS

    def session(self, request: gr.Request) -> Session:
        """The session of a page."""
        try:
            return self.desk.session(browser_of(request), request.session_hash)
        except ValueError as error:
            raise gr.Error(html.escape(str(error))) from error

    def attempt(self, session: Session, work: Callable[[Session], object]) -> None:
        """Does what may be refused, and says so."""
        try:
            work(session)
        except EXPECTED as error:
            said = str(error).replace(f"{session.folder}{os.sep}", "")
            if "." not in said.partition(" ")[0]:  # which would be the name of a file
                said = said[:1].upper() + said[1:]
            gr.Warning(html.escape(said or type(error).__name__), duration=15)

    def load(self, request: gr.Request) -> list[Any]:
        """A page is opened: the photo of the command line is shown to the first browser."""
        first = self.desk.first_photo(browser_of(request))

        def work(session: Session) -> None:
            if first is not None:
                tell(session.open_photo(first, first.name))

        return self.answer(request, work, fresh=True)

    def act(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Changes come from the stage or the panel."""
        changes = (event._data or {}).get("changes")

        def work(session: Session) -> None:
            if not isinstance(changes, list):
                raise ValueError("a page must send changes. Reload it.")
            for change in changes:
                tell(act(session, change))

        return self.answer(request, work)

    def open_photo(self, upload: str, request: gr.Request) -> list[Any]:
        """A photo was dropped or chosen."""

        def work(session: Session) -> None:
            with taken(session, upload) as path:
                tell(session.open_photo(path, path.name))

        return self.answer(request, work, fresh=True)

    def open_region(self, upload: str, request: gr.Request) -> list[Any]:
        """A mask was chosen that says where the photo was changed."""

        def work(session: Session) -> None:
            with taken(session, upload) as path:
                session.open_region(path)

        return self.answer(request, work)

    def open_edit(self, upload: str, request: gr.Request) -> list[Any]:
        """A saved edit was chosen."""

        def work(session: Session) -> None:
            with taken(session, upload) as path:
                session.open_edit(path)

        return self.answer(request, work)

    def undo(self, request: gr.Request) -> list[Any]:
        """One step back."""
        return self.answer(request, lambda session: session.undo())

    def redo(self, request: gr.Request) -> list[Any]:
        """One step forward."""
        return self.answer(request, lambda session: session.redo())

    def save_edit(self, request: gr.Request) -> str:
        """The address at which the edit is downloaded."""
        return self.offer(request, lambda session: session.save_edit())

    def save_photo(self, request: gr.Request) -> str:
        """The address at which the photo is downloaded, at full size."""

        def work(session: Session) -> Path:
            path, left_out = session.save_photo()
            tell(left_out)
            return path

        return self.offer(request, work)

    def offer(self, request: gr.Request, work: Callable[[Session], Path]) -> str:
        """The address of a file that is written now; empty if that fails."""
        session, found = self.session(request), list[str]()

        def write(session: Session) -> None:
            path = work(session)
            found.append(f"/download/{session.offer(path)}/{quote(path.name)}")

        with session.lock:
            self.attempt(session, write)
        return found[0] if found else ""

    def leave(self, request: gr.Request) -> None:
        """A page was closed."""
        self.desk.leave(browser_of(request), request.session_hash)


OUTPUTS = 11
"""How many components a handler updates, see :func:`show`."""

DOWNLOAD = """(address) => {
  if (!address) return;
  const link = document.createElement("a");
  link.href = address;
  link.download = "";
  document.body.append(link);
  link.click();
  link.remove();
}"""


def show(session: Session, fresh: bool) -> list[Any]:
    """The session on the page: stage, panel, title, two columns, and six buttons."""
    height, width = session.photo.size
    about = f"{session.name} \u00b7 {width} \u00d7 {height}"
    ready = gr.update(interactive=True)
    return [
        stage_view(session, fresh=fresh),
        panel_view(session),
        title(about),
        gr.update(visible=False),
        gr.update(visible=True),
        gr.update(interactive=session.can_undo),
        gr.update(interactive=session.can_redo),
        gr.update(interactive=session.model.region),
        *[ready] * 3,
    ]


def build_page(desk: Desk) -> gr.Blocks:
    """The page.

    Args:
        desk: The sessions.

    Returns:
        The page, to be served.
    """
    do = Page(desk)
    every, after = UNOPENED
    with gr.Blocks(
        title="opmask editor",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(every, after),  # type: ignore[arg-type]  # which need not be whole
    ) as page:
        with gr.Row(elem_id="bar"):
            about = gr.HTML(title(""), elem_id="title")
            photo = gr.UploadButton("Open photo", size="sm", elem_id="open-photo")
            region = gr.UploadButton("Add mask", **_button("open-region"))
            edit = gr.UploadButton("Open edit", **_button("open-edit"))
            undo = gr.Button("Undo", **_button("undo"), elem_classes="gap")
            redo = gr.Button("Redo", **_button("redo"))
            save = gr.Button("Save edit", **_button("save-edit"), elem_classes="gap")
            download = gr.Button("Download photo", **_button("download"), variant="primary")
        with gr.Column(elem_id="start") as start:
            gr.HTML(INTRO)
            drop = gr.File(label="Photo", show_label=False, height=260, elem_id="drop")
        with gr.Row(elem_id="work", visible=False) as work:
            with gr.Column(elem_id="stage-box"):
                stage = _component("stage")
            with gr.Column(elem_id="panel-box"):
                panel = _component("panel")
        address = gr.Textbox(visible=False)
        seen = [stage, panel, about, start, work, undo, redo, region, edit, save, download]
        for upload, opens in (
            (photo, do.open_photo),
            (drop, do.open_photo),
            (region, do.open_region),
            (edit, do.open_edit),
        ):
            waited = ONE_AT_A_TIME | {"show_progress": "minimal"}
            upload.upload(opens, upload, seen, **waited).then(
                None, None, upload, js="() => null", **{"api_visibility": "private"}
            )
        undo.click(do.undo, None, seen, **ONE_AT_A_TIME)
        redo.click(do.redo, None, seen, **ONE_AT_A_TIME)
        for button, writes in ((save, do.save_edit), (download, do.save_photo)):
            button.click(writes, None, address, **ONE_AT_A_TIME).then(
                None, address, None, js=DOWNLOAD, **{"api_visibility": "private"}
            )
        stage.input(do.act, None, seen, **ONE_AT_A_TIME, trigger_mode="multiple")
        panel.input(do.act, None, seen, **ONE_AT_A_TIME, trigger_mode="multiple")
        page.load(do.load, None, seen, **ONE_AT_A_TIME)
        page.unload(do.leave)
    page.queue(max_size=64, api_open=False)
    return page


def title(about: str) -> str:
    """The head of the page."""
    return f"<h1>opmask editor</h1><p>{html.escape(about) or 'No photo yet'}</p>"


def tell(sentences: Sequence[str]) -> None:
    """Says what a user may want to know."""
    for sentence in sentences:
        gr.Info(html.escape(sentence))


@contextmanager
def taken(session: Session, upload: str) -> Iterator[Path]:
    """Takes an uploaded file into the session's folder, for as long as it is read."""
    if not upload:
        raise ValueError("no file came. Choose one.")
    path = session.folder / Path(upload).name
    shutil.move(upload, path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def browser_of(request: gr.Request) -> str | None:
    """The browser that a request came from."""
    return known_browser(request.headers.get("cookie", ""))


def _button(name: str) -> dict[str, Any]:
    return {"size": "sm", "interactive": False, "elem_id": name}


def _component(name: str) -> gr.HTML:
    """A component of HTML and JavaScript from `assets/`."""
    return gr.HTML(
        value={},
        html_template=(ASSETS / f"{name}.html").read_text(encoding="utf-8"),
        js_on_load=(ASSETS / f"{name}.js").read_text(encoding="utf-8"),
        elem_id=name,
    )
