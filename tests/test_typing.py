"""The package's types, as a type checker sees them from outside."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONSUMER = Path(__file__).with_name("typed_consumer.py")


def check(file, folder):
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder / "cache", file]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_typed_code_of_somebody_else_passes_and_wrong_code_does_not(tmp_path):
    done = check(CONSUMER, tmp_path)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import opmask\n"
        "from PIL import Image\n"
        "edit = opmask.plan(opmask.load(), Image.new('RGB', (64, 64)))\n"
        "edit.explain(3)\n"
        "opmask.Retoucher('lab')\n"
        "total: int = opmask.harmonize(opmask.load(), Image.new('RGB', (64, 64)))\n"
    )
    done = check(wrong, tmp_path)
    assert [line.split(":")[1] for line in done.stdout.splitlines()[:-1]] == ["4", "5", "6"]


@pytest.mark.third_party
@pytest.mark.skipif(not shutil.which("node"), reason="pyright runs on Node.js")
def test_pyright_finds_nothing_in_typed_code_of_somebody_else():
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, CONSUMER]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
