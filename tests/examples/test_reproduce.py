import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "reproduce.sh"


def reproduce(*arguments):
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "2"}
    command = ["bash", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--weights must be a folder with the weights of LPIPS's networks, got ''."),
        (["--weights", "."], "--ade20k must be the root of ADE20K, got ''."),
        (["--weights", ".", "--only", "hlip"], "--lip must be the root of LIP, got ''."),
        (["--weights", ".", "--only", "coco"], "--only must be hscene or hlip, got 'coco'."),
        (
            ["--weights", "/dev", "--ade20k", ".", "--only", "hscene"],
            "must hold torchvision's vgg",
        ),
    ],
)
def test_what_is_missing_is_said_before_any_work(arguments, message):
    done = reproduce(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_without_sense_the_usage_is_shown():
    done = reproduce("--what")
    assert done.returncode == 2
    assert "bash examples/reproduce.sh --ade20k" in done.stderr
    assert "#" not in done.stderr


@pytest.fixture
def roots(data_root, tmp_path):
    """Few photographs of both kinds, in the layouts of ADE20K and LIP."""
    for part in ("images/training", "images/validation"):
        for kind in ("images", "annotations"):
            name = part.replace("images", kind)
            (tmp_path / "ade" / name).mkdir(parents=True)
            for path in sorted((data_root / "scenes" / name).iterdir())[:6]:
                shutil.copy(path, tmp_path / "ade" / name)
    for split in ("train", "val"):
        names = (data_root / "people" / f"{split}_id.txt").read_text().split()[:6]
        for kind, ending in (("images", "jpg"), ("segmentations", "png")):
            folder = tmp_path / "lip" / f"{split}_{kind}"
            folder.mkdir(parents=True)
            for name in names:
                source = data_root / "people" / f"{split}_{kind}" / f"{name}.{ending}"
                shutil.copy(source, folder)
        (tmp_path / "lip" / f"{split}_id.txt").write_text("\n".join(names))
    return tmp_path


@pytest.mark.slow
def test_the_whole_pipeline_runs_and_is_not_run_twice(roots, data_root):
    arguments = ("--ade20k", roots / "ade", "--lip", roots / "lip", "--out", roots / "paper",
                 "--weights", data_root / "weights", "--smoke")  # fmt: skip
    done = reproduce(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    tables = (roots / "paper" / "tables.md").read_text()
    assert "hscene-small-lpips.csv: data images, images 6, size 32, protocol reference" in tables
    assert "not there" not in tables
    assert "two-stages-small-lpips.csv: data synthetic scenes, images 64, size 32" in tables
    for table in tables.split("\n\n"):
        rows = [line.split(" | ")[1:] for line in table.splitlines() if line.startswith("| ")]
        assert all(any(cell.strip(" |") for cell in line) for line in rows[2:])  # no empty row
        assert all(
            any(cell.strip(" |") for cell in column) for column in zip(*rows[2:], strict=True)
        )
    assert (roots / "paper" / "hlip-small-lpips" / "figures" / "panels.png").exists()
    again = reproduce(*arguments)
    assert again.returncode == 0
    assert "==" not in again.stdout
