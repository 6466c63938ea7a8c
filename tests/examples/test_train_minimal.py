import sys

import pytest
import train_minimal
from PIL import Image

import opmask


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Runs the script on a few small scenes, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_minimal, "VALIDATION", 16)
    monkeypatch.setattr(train_minimal, "SHOWN", 2)

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["train_minimal.py", *flags])
        train_minimal.main()
        return tmp_path / "runs"

    return run


def test_it_ends_in_a_table_a_picture_and_a_model(train, capsys):
    runs = train("--steps", "2")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["| model | MSE | PSNR |", "|---|---:|---:|"]
    assert [line.split()[1] for line in lines[2:4]] == ["composite", "om"]
    with Image.open(runs / "minimal-1/panel.png") as panel:
        assert panel.width > 400
    assert isinstance(
        opmask.load(runs / "minimal-1/model.safetensors"), opmask.OperatorMaskWrapper
    )


def test_another_run_replaces_nothing(train):
    runs = train("--steps", "1")
    train("--steps", "1")
    assert sorted(path.name for path in runs.iterdir()) == ["minimal-1", "minimal-2"]


def test_it_trains_on_photographs_in_the_layout_of_ade20k(train, data_root, capsys):
    train("--steps", "1", "--data", str(data_root / "ade150_sample"))
    assert "| om | " in capsys.readouterr().out


def test_no_steps_are_refused(train, capsys):
    with pytest.raises(SystemExit):
        train("--steps", "0")
    assert "--steps must be at least 1, got 0" in capsys.readouterr().err
