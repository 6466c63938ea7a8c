r"""The server of the editor: on this machine alone, and each browser for itself.

A browser is known by a cookie that it got with the page. What is not on the list of paths that the
page needs is not there; above all, no path reads a file by its name. Uploads go to a folder of the
server's own, from which a session takes them at once. The page may ask no other host for anything,
and the browser sees to that.

Data flow: `browser -> Guard -> Gradio -> page`, and `browser -> Guard -> download`.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from opmask.editor.cookies import COOKIE, known_browser
from opmask.editor.session import Session
from opmask.wrapper import OperatorMaskWrapper

__all__ = ["Desk", "create_app", "listen", "serve"]

PORTS = range(7860, 7880)
"""Where a free port is looked for."""

MOST_SESSIONS = 8
"""How many pages may be open; with one more, that which was used least recently is closed."""

LARGEST_UPLOAD = 1_000_000_000
"""The largest file that is taken, in bytes."""

OPEN_PATHS = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/(assets|static)/[\w./-]+"
    r"|/gradio_api/(queue/(join|data)|upload|upload_progress|heartbeat/\w+|startup-events|cancel"
    r"|reset|app_id|info)/?|/download/[\w-]+/[^/]+"
)
"""What a page needs; no other path is served."""

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
"""What the page may load: nothing but what this server sends."""


class Desk:
    r"""The sessions of all pages that are open, each known to one browser alone.

    Args:
        model: The model that all share.
        first: A photo that is open in the first browser that comes.

    Example:
        >>> import opmask
        >>> desk = Desk(opmask.load())
        >>> desk.session("a" * 43, "page") is desk.session("a" * 43, "page")
        True
        >>> desk.session("a" * 43, "page") is desk.session("b" * 43, "page")
        False
        >>> desk.close()
    """

    def __init__(self, model: OperatorMaskWrapper, first: Path | None = None) -> None:
        self.model = model
        self._first, self._first_browser = first, ""
        self._sessions: dict[tuple[str, str], Session] = {}
        self._lock = threading.Lock()

    def session(self, browser: str | None, page: str | None) -> Session:
        """The session of a page in a browser, new if need be.

        Raises:
            ValueError: If the browser is not known.
        """
        if not browser or not page:
            raise ValueError("this page needs cookies. Allow them for this address, and reload.")
        with self._lock:
            found = self._sessions.pop((browser, page), None) or Session(self.model)
            self._sessions[browser, page] = found  # the last one is the most recent
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions))).close()
        return found

    def first_photo(self, browser: str | None) -> Path | None:
        """The photo that the server was started with, for the first browser that asks."""
        with self._lock:
            self._first_browser = self._first_browser or browser or ""
            return self._first if browser and browser == self._first_browser else None

    def download(self, browser: str | None, key: str) -> Path | None:
        """The file that a session of this browser offers by that key."""
        with self._lock:
            own = [s for (owner, _), s in self._sessions.items() if owner == browser]
        return next((s.downloads[key] for s in own if key in s.downloads), None)

    def leave(self, browser: str | None, page: str | None) -> None:
        """Ends the session of a page that was closed."""
        with self._lock:
            found = self._sessions.pop((browser or "", page or ""), None)
        if found is not None:
            with found.lock:
                found.close()

    def close(self) -> None:
        """Ends all sessions."""
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()


class Guard:
    r"""Lets through what the page needs, from this machine, and hands out cookies.

    Args:
        app: The application behind it.
    """

    def __init__(self, app: Any) -> None:  # noqa: ANN401
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Answers a request, or has it answered."""
        from starlette.requests import ClientDisconnect  # late: it comes with the editor's extra

        if scope["type"] != "http":
            await (
                self.app(scope, receive, send) if scope["type"] == "lifespan" else _refuse(send)
            )
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = re.sub(r":\d+$", "", headers.get(b"host", ""))
        own_origin = headers.get(b"origin") in (None, f"http://{headers.get(b'host')}")
        known = host in ("127.0.0.1", "localhost") and own_origin
        if not known or not OPEN_PATHS.fullmatch(scope["path"]) or ".." in scope["path"]:
            await _refuse(send)
            return
        fresh = known_browser(headers.get(b"cookie", "")) is None and scope["path"] == "/"

        async def answer(message: Any) -> None:  # noqa: ANN401
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_headers(fresh)]
            await send(message)

        with suppress(ClientDisconnect):  # a page that was closed during an upload
            await self.app(scope, receive, answer)


def create_app(desk: Desk) -> Any:  # noqa: ANN401
    r"""The application, to be run by a server.

    Args:
        desk: The sessions.

    Returns:
        A FastAPI application.

    Raises:
        ImportError: If Gradio is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            "The editor needs Gradio, which is not installed. Run: pip install 'opmask[editor]'"
        ) from error
    from fastapi import FastAPI, Request
    from fastapi.responses import FileResponse, PlainTextResponse, Response

    from opmask.editor.page import STYLE, build_page, look

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def download(key: str, name: str, request: Request) -> Response:
        path = desk.download(known_browser(request.headers.get("cookie", "")), key)
        if path is None or not path.is_file():
            return PlainTextResponse("not found", 404)
        return FileResponse(path, filename=path.name, headers={"Cache-Control": "no-store"})

    # Annotations are texts here, and FastAPI does not know what is imported in a function.
    download.__annotations__ = {"key": str, "name": str, "request": Request}
    app.get("/download/{key}/{name}", response_model=None)(download)
    app.add_middleware(Guard)
    page = build_page(desk)
    # Otherwise Gradio would open whatever file of this machine a page names as its upload.
    page.has_launched = True
    return gradio.mount_gradio_app(
        app,
        page,
        path="/",
        server_name="127.0.0.1",
        allowed_paths=[],
        max_file_size=LARGEST_UPLOAD,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=look(),
        css=STYLE,
    )


def listen(port: int | None) -> socket.socket:
    r"""A socket of this machine alone.

    Args:
        port: The port; the first free one from 7860 on if `None`, any free one if 0.

    Returns:
        The socket.

    Raises:
        ValueError: If it cannot be used.
    """
    for one in PORTS if port is None else [port]:
        found = socket.socket()
        try:
            if sys.platform != "win32":
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", one))
        except (OSError, OverflowError) as error:
            found.close()
            reason = getattr(error, "strerror", None) or error
            last = error, reason
            continue
        return found
    wanted = f"{PORTS[0]} to {PORTS[-1]}" if port is None else port
    raise ValueError(f"'--port' must be one that is free, got {wanted}: {last[1]}.") from last[0]


def serve(
    model: OperatorMaskWrapper,
    listening: socket.socket,
    *,
    photo: Path | None = None,
    browser: bool = True,
) -> None:
    r"""Serves the editor until it is interrupted.

    Args:
        model: The model, in evaluation mode.
        listening: What :func:`listen` made.
        photo: A photo that is open from the beginning, in the first browser that comes.
        browser: Whether a browser is opened.

    Raises:
        ImportError: If Gradio is not installed.
    """
    desk = Desk(model, photo)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    with tempfile.TemporaryDirectory(prefix="opmask-editor-") as folder, _private(folder):
        app = create_app(desk)
        import uvicorn

        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        print(f"The editor is open at {address} (Ctrl-C ends it).", flush=True)
        if browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            desk.close()


@contextmanager
def _private(folder: str) -> Iterator[None]:
    """Has Gradio keep uploads in a folder of ours, and tell nobody of its use."""
    wanted = {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _headers(fresh: bool) -> Iterator[tuple[bytes, bytes]]:
    yield b"content-security-policy", POLICY.encode()
    yield b"x-content-type-options", b"nosniff"
    yield b"referrer-policy", b"no-referrer"
    if fresh:
        value = f"{COOKIE}={secrets.token_urlsafe(32)}; HttpOnly; SameSite=Strict; Path=/"
        yield b"set-cookie", value.encode()


async def _refuse(send: Any) -> None:  # noqa: ANN401
    start = {"type": "http.response.start", "status": 404}
    await send({**start, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"not found"})
