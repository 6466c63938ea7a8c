import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"


def fuzz(*arguments):
    command = [sys.executable, FUZZ, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it forks, and reads /proc")
def test_spoiled_files_of_all_kinds_are_refused_clearly():
    done = fuzz("--count", 120, "--seed", 0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all | 120 |" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it forks, and reads /proc")
def test_a_case_can_be_run_again_alone():
    first, second = (fuzz("--only", "cube:7").stdout.splitlines()[0] for _ in range(2))
    assert first == second
    assert first.startswith("cube:7 | ")
