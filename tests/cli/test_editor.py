"""The command `opmask editor`: what it refuses before any work, and what it serves."""

import sys

import pytest
from quiet_gradio import importing_gradio

from opmask.cli import main
from opmask.editor import server


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["editor", *map(str, arguments)])
    return end.value.code, capsys.readouterr().err


def test_a_photo_that_is_not_there_or_none_is_refused(capsys, tmp_path):
    assert fails(capsys, tmp_path / "no.jpg")[0] == 1
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    code, said = fails(capsys, tmp_path / "bad.jpg")
    assert (code, "bad.jpg cannot be read" in said) == (1, True)


def test_a_port_that_is_taken_is_refused(capsys):
    with server.listen(0) as taken:
        taken.listen()
        code, said = fails(capsys, "--port", taken.getsockname()[1])
    assert (code, "'--port' must be one that is free" in said) == (1, True)


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"pip install 'opmask\[editor\]'"):
        server.create_app(None)


def test_it_serves_the_page_and_prints_its_address(capsys, monkeypatch):
    with importing_gradio():
        import uvicorn
    served = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: served.extend(sockets))
    with importing_gradio(), pytest.raises(SystemExit) as end:
        main(["editor", "--port", "0", "--no-browser"])
    port = served[0].getsockname()[1]
    served[0].close()
    assert end.value.code == 0
    assert f"http://127.0.0.1:{port}/" in capsys.readouterr().out
