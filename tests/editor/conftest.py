"""A small photo of two halves, a model that wants to change the left one, and a session."""

import gc
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import opmask
from opmask.backbones import SmallUNet
from opmask.editor.session import Session


@pytest.fixture(scope="session")
def model():
    """Gated, told the region, and with masks that are not at their identity."""
    torch.manual_seed(0)
    retoucher = opmask.Retoucher(opmask.Gated(opmask.Mul(opmask.LAB), opmask.Add(opmask.LAB)))
    built = opmask.OperatorMaskWrapper(SmallUNet(4, width=8), retoucher, region=True)
    for parameter in built.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


@pytest.fixture
def pixels():
    """A photo with some detail: blue and yellow."""
    noise = np.random.default_rng(0).integers(-20, 20, (60, 80, 3))
    pixels = np.full((60, 80, 3), (200, 180, 60))
    pixels[:, :40] = (60, 90, 190)
    return (pixels + noise).astype(np.uint8)


@pytest.fixture
def photo(pixels, tmp_path):
    """The file of it."""
    Image.fromarray(pixels).save(tmp_path / "house.png")
    return tmp_path / "house.png"


@pytest.fixture
def clock():
    """A clock that is put forward by hand."""

    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def session(model, photo, clock):
    """A session with the photo."""
    made = Session(model, clock)
    made.open_photo(photo, "house.png")
    yield made
    made.close()


@pytest.fixture
def left():
    """The left half as an area."""
    area = torch.zeros(1, 1, 60, 80)
    area[..., :40] = 1
    return area


@pytest.fixture(scope="session")
def address():
    """The address of an editor that the command has opened, in a process of its own."""
    command = [sys.executable, "-m", "opmask", "editor", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        yield re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


# Gradio and its test client leave event loops and sockets open, which warn when collected.
LEFT_OPEN = "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            for left in LEFT_OPEN:
                item.add_marker(pytest.mark.filterwarnings(left))


@pytest.fixture(autouse=True, scope="module")
def _collect_what_was_left_open():
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
