import pytest


@pytest.fixture(autouse=True)
def torch_home(monkeypatch, tmp_path):
    """An empty cache of torchvision's weights: scores depend on what lies there."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"
