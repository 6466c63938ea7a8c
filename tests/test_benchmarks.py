import ast
import importlib.util
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_conditioning_benchmark_runs(monkeypatch, tmp_path, capsys):
    module = load("conditioning")
    monkeypatch.setattr(module, "NETWORKS", {"pix2pix": lambda: module.PixelToPixel(4)})
    monkeypatch.setattr(module, "batches", lambda seed, count, size: random_batches(size))
    flags = ["--steps", "12", "--seeds", "1", "--size", "32", "--out", str(tmp_path / "rows.json")]
    monkeypatch.setattr("sys.argv", ["conditioning.py", *flags])
    module.main()
    assert "| pix2pix |" in capsys.readouterr().out


def random_batches(size):
    return [tuple(torch.rand(4, channels, size, size) for channels in (3, 3, 1))] * 3


def test_mutations_change_code_and_leave_messages_alone():
    module = load("mutation")
    source = "def f(x):\n    if x < 0:\n        raise ValueError(f'{x + 1}')\n    return 2 * x"
    texts = {module.mutated(source, number, kind)[0] for number, kind in module.sites(source)}
    assert len(texts) == 6  # the comparison, its constant, three for the product, its constant
    assert all("x + 1" in text and ast.parse(text) for text in texts)
