"""A headless Chromium, driven over its debugging pipe."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

import pytest

SECONDS = 60  # how long anything in the browser may take; the machine may be busy


class Chromium:
    """One tab at a time, spoken to in the DevTools protocol; messages end in a zero byte."""

    def __init__(self, program, profile):
        there, here = os.pipe(), os.pipe()

        def connect():  # Chromium reads from descriptor 3 and writes to 4
            read, write = os.dup(there[0]), os.dup(here[1])
            os.dup2(read, 3)
            os.dup2(write, 4)

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # offline
        self.process = subprocess.Popen(
            [program, *flags, f"--user-data-dir={profile}", "--no-first-run", "about:blank"],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for unused in there[0], here[1]:
            os.close(unused)
        self.pipes, self.buffer, self.number, self.events = (here[0], there[1]), b"", 0, []
        self.tab = {}

    def new_tab(self, downloads):
        """A tab that knows nothing of those before."""
        self.tab, self.events = {}, []
        context = self.send("Target.createBrowserContext")
        target = self.send("Target.createTarget", url="about:blank", **context)
        opened = self.send("Target.attachToTarget", **target, flatten=True)
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads),
                  **context)  # fmt: skip
        self.tab = {"sessionId": opened["sessionId"]}
        for domain in "Page", "Runtime", "Network", "Log":
            self.send(f"{domain}.enable")
        return context

    def send(self, method, **parameters):
        """Send a command, and wait for its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters, **self.tab}
        os.write(self.pipes[1], json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _receive(self):
        while b"\0" not in self.buffer:
            assert select.select([self.pipes[0]], [], [], SECONDS)[0], "Chromium does not answer"
            read = os.read(self.pipes[0], 1 << 20)
            assert read, "Chromium ended"
            self.buffer += read
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def js(self, expression):
        """The value of a JavaScript expression."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition):
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + SECONDS
        while not self.js(condition):
            assert time.monotonic() < end, condition
            time.sleep(0.02)

    def open(self, page, width=1280, height=800, phone=False):
        """Open a file or an address."""
        address = page if isinstance(page, str) else page.as_uri()
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.protocol !== 'about:'")

    def reload(self):
        self.js("window.before = true")
        self.send("Page.reload")
        self.wait("!window.before && document.readyState === 'complete'")

    def click(self, selector, place=0, times=1):
        """Click with the mouse in the middle of an element, after it was scrolled to."""
        x, y = self.js(
            f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{place}];"
            "e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for count in range(1, times + 1):
            for kind in "mousePressed", "mouseReleased":
                self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left",
                          clickCount=count)  # fmt: skip

    def drag(self, selector, start, end):
        """Drag with the mouse from one place in an element to another, as shares of its size."""
        box = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            "return [b.x, b.y, b.width, b.height]; })()"
        )
        for kind, (across, down) in (
            ("mouseMoved", start), ("mousePressed", start), ("mouseMoved", end),
            ("mouseReleased", end),
        ):  # fmt: skip
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1,
                      x=box[0] + across * box[2], y=box[1] + down * box[3])  # fmt: skip

    def choose_file(self, selector, path):
        """Click on what opens the dialog for files, and choose one in it."""
        self.send("Page.setInterceptFileChooserDialog", enabled=True)
        end, name = time.monotonic() + SECONDS, "Page.fileChooserOpened"
        while not (opened := [e for e in self.events if e.get("method") == name]):
            assert time.monotonic() < end, f"no dialog opens at {selector}"
            self.click(selector)  # again, if the page was not yet listening
            self.js("new Promise(done => setTimeout(done, 300))")
        self.events.remove(opened[0])
        node = opened[0]["params"]["backendNodeId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], backendNodeId=node)
        self.events = [e for e in self.events if e.get("method") != name]

    def press(self, key, **more):
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind in "keyDown", "keyUp":
            self.send("Input.dispatchKeyEvent", type=kind, key=key, text=text, **more)

    def screenshot(self, path):
        data = self.send("Page.captureScreenshot")["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        self.tab = {}
        self.send("Browser.close")
        self.process.wait(SECONDS)
        for pipe in self.pipes:
            os.close(pipe)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium; on Debian: apt-get install chromium")
    chromium = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def browser(chromium, tmp_path):
    """A browser with an empty storage, whose downloads go to `tmp_path / "downloads"`."""
    context = chromium.new_tab(tmp_path / "downloads")
    yield chromium
    chromium.tab = {}
    chromium.send("Target.disposeBrowserContext", **context)
