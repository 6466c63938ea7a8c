"""What tests share: a browser, photographs if they are there, and what is skipped without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from chromium import browser, chromium  # noqa: F401 (fixtures)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_root():
    """The shared photographs: $OPMASK_TEST_DATA, or shared/data beside the repository."""
    root = Path(os.environ.get("OPMASK_TEST_DATA") or SHARED_DATA)
    if not root.is_dir():
        pytest.skip(f"no photographs in {root}; set OPMASK_TEST_DATA to the folder that has them")
    return root


@pytest.fixture
def torch_home(monkeypatch, tmp_path):
    """An empty cache of torchvision's weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what uses `data_root`, before `-m` selects."""
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


def pytest_runtest_setup(item):
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def pytest_terminal_summary(terminalreporter):
    """Say how many tests the missing photographs cost."""
    reports = terminalreporter.stats.get("skipped", [])
    # A module that is skipped as a whole has no keywords.
    skipped = [report for report in reports if "data" in getattr(report, "keywords", ())]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests on real photographs were SKIPPED: {skipped[0].longrepr[2]}",
            yellow=True,
        )
