"""What the server lets through, asked without a browser."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from quiet_gradio import importing_gradio

from opmask.editor.server import MOST_SESSIONS, Desk, Guard, create_app, listen

ANNA, BERT = "a" * 43, "b" * 43


@pytest.fixture
def desk(model):
    made = Desk(model)
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(model, tmp_path_factory):
    """A client that speaks to the application itself, as a browser on this machine does."""
    desk = Desk(model)
    with pytest.MonkeyPatch.context() as patch, importing_gradio():
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        from starlette.testclient import TestClient

        with TestClient(create_app(desk), base_url="http://127.0.0.1:7860") as made:
            made.desk = desk
            yield made
    desk.close()


def cookie(browser):
    return {"cookie": f"opmask_editor={browser}"}


def test_a_page_gives_each_browser_a_cookie_of_its_own_once(client):
    client.cookies.clear()
    first = client.get("/")
    assert first.status_code == 200
    assert "HttpOnly; SameSite=Strict" in first.headers["set-cookie"]
    assert "default-src 'self'" in first.headers["content-security-policy"]
    assert "set-cookie" not in client.get("/").headers


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/deep_link?session_hash=x",
        "/static/../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets//etc/passwd",
        "/docs",
        "/monitoring",
        "/gradio_api/vibe-edit/",
    ],
)
def test_no_path_reads_a_file_by_name(client, path):
    answer = client.get(path)
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text


def test_what_was_uploaded_is_served_to_nobody(client):
    answer = client.post("/gradio_api/upload", files={"files": ("../../house.png", b"secret")})
    [path] = answer.json()
    assert path.endswith("/house.png")
    assert client.get(f"/gradio_api/file={path}").status_code == 404


def test_uploads_that_no_page_opens_are_removed_after_a_while(model, tmp_path, monkeypatch):
    from starlette.testclient import TestClient

    from opmask.editor import page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(page, "UNOPENED", (0.05, 0.3))
    with importing_gradio(), TestClient(create_app(Desk(model)), "http://127.0.0.1:7860") as made:
        [old] = made.post("/gradio_api/upload", files={"files": ("a.png", b"old")}).json()
        assert Path(old).read_bytes() == b"old"
        until(lambda: not Path(old).exists())
        [new] = made.post("/gradio_api/upload", files={"files": ("b.png", b"new")}).json()
        assert Path(new).exists()


def until(holds, seconds=20):
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_download_is_for_the_browser_that_made_it(client, photo):
    session = client.desk.session(ANNA, "download")
    session.open_photo(photo, "house.png")
    key = session.offer(session.save_edit())
    address = f"/download/{key}/house.opmask"
    found = client.get(address, headers=cookie(ANNA))
    assert found.content == (session.folder / "house.opmask").read_bytes()
    assert "attachment" in found.headers["content-disposition"]
    client.cookies.clear()
    for headers in cookie(BERT), {}:
        assert client.get(address, headers=headers).status_code == 404
    assert client.get("/download/guess/x", headers=cookie(ANNA)).status_code == 404
    assert client.get(f"/download/{key}/..%2f..", headers=cookie(ANNA)).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:7860"},
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},  # a page in a sandbox
        {"origin": "http://127.0.0.1:1"},
    ],
)
def test_other_names_and_other_sites_are_not_answered(client, headers):
    assert client.get("/", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "house.png", "docs/images/edit.jpg", "/gradio_api/../etc/passwd", None]
)
def test_a_page_cannot_name_a_file_of_this_machine_as_its_upload(client, path, photo):
    config = client.get("/config").json()
    path = str(path or photo)  # a picture that can be read
    [opens] = [d["id"] for d in config["dependencies"] if d["targets"][0][1] == "upload"][:1]
    body = {
        "data": [{"path": path, "meta": {"_type": "gradio.FileData"}}],
        "fn_index": opens, "session_hash": "page", "trigger_id": None,
    }  # fmt: skip
    client.post("/gradio_api/queue/join", json=body, headers=cookie(ANNA))
    with client.stream("GET", "/gradio_api/queue/data?session_hash=page") as events:
        said = [json.loads(line[5:]) for line in events.iter_lines() if line.startswith("data:")]
    [done] = [one for one in said if one["msg"] == "process_completed"]
    assert not client.desk.session(ANNA, "page").is_open
    assert "root:" not in json.dumps(done)


def test_a_page_that_is_closed_during_an_upload_says_nothing_in_the_terminal():
    async def app(scope, receive, send):
        await Request(scope, receive).body()

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError("nobody is there to be answered")

    from starlette.requests import Request

    headers = [(b"host", b"127.0.0.1")]
    scope = {"type": "http", "path": "/gradio_api/upload", "headers": headers}
    asyncio.run(Guard(app)(scope, receive, send))


def test_uploads_that_are_too_large_are_refused(client, monkeypatch):
    monkeypatch.setattr(client.app.routes[-1].app.get_blocks(), "max_file_size", 4)
    answer = client.post("/gradio_api/upload", files={"files": ("a.png", b"12345")})
    assert answer.status_code == 413


def test_too_many_pages_close_the_one_used_least_recently(desk):
    first = desk.session(ANNA, "0")
    for number in range(1, MOST_SESSIONS):
        desk.session(ANNA, str(number))
    assert desk.session(ANNA, "0") is first
    second = desk.session(ANNA, "1")
    desk.session(ANNA, "0")
    for number in range(MOST_SESSIONS - 1):
        desk.session(BERT, str(number))
    assert first.folder.exists()
    assert not second.folder.exists()


def test_a_page_that_is_closed_leaves_nothing(desk):
    session = desk.session(ANNA, "page")
    desk.leave(ANNA, "page")
    assert not session.folder.exists()
    assert desk.session(ANNA, "page") is not session


def test_a_browser_without_cookies_is_told_so(desk):
    with pytest.raises(ValueError, match="needs cookies"):
        desk.session(None, "page")


def test_the_photo_of_the_command_line_is_for_the_first_browser(model, photo):
    desk = Desk(model, photo)
    assert desk.first_photo(ANNA) == photo
    assert desk.first_photo(BERT) is None
    assert desk.first_photo(ANNA) == photo


def test_a_port_that_is_taken_is_refused():
    with listen(0) as one:
        one.listen()
        assert one.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ValueError, match=r"'--port' must be one that is free, got \d+:"):
            listen(one.getsockname()[1])


def test_without_a_port_the_first_free_one_is_taken(monkeypatch):
    with listen(0) as one:
        one.listen()
        taken = one.getsockname()[1]
        monkeypatch.setattr("opmask.editor.server.PORTS", range(taken, taken + 1))
        with pytest.raises(ValueError, match="'--port' must be one that is free"):
            listen(None)
