"""How many files must a reader open? Counts those whose functions run, and the jumps between them.

Four walks: a training step of `train_hscene.py` without its data, a step of `train_minimal.py`,
`opmask.harmonize`, and `Perturber`. A file counts if one of its functions was called between the
first call of the function that is walked through and its return; only files of `opmask/` and
`examples/` are counted. It is a measure of how far one idea is spread, not of speed.

    python benchmarks/walk.py
    python benchmarks/walk.py --list
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

import torch

ROOT = Path(__file__).resolve().parents[1]
HOUSE = tuple(str(ROOT / folder) + "/" for folder in ("opmask", "examples"))


class Walk:
    """A profiler that notes the files of one call of a function, the last one if it has several.

    Attributes:
        files: The files in which functions ran, in the order in which they were entered.
        jumps: How often a call led into another file than the call before it.
    """

    def __init__(self, function: str, file: str) -> None:
        self.function, self.file = function, file
        self.files: list[str] = []
        self.jumps = 0
        self._root: FrameType | None = None
        self._last = ""

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Is called by the interpreter at each call and return."""
        code = frame.f_code
        if self._root is None and event == "call" and self._is_wanted(code):
            self._root, self.files, self.jumps, self._last = frame, [], 0, ""
        if self._root is None or not code.co_filename.startswith(HOUSE):
            return
        if event == "call":
            name = str(Path(code.co_filename).relative_to(ROOT))
            self.jumps += self._last not in ("", name)
            self._last = name
            if name not in self.files:
                self.files.append(name)
        elif event == "return" and frame is self._root:
            self._root = None

    def _is_wanted(self, code: CodeType) -> bool:
        return code.co_name == self.function and code.co_filename.endswith(self.file)


def walk(function: str, file: str, run: Callable[[], object]) -> Walk:
    """Runs something, and notes where it goes in the last call of a function."""
    note = Walk(function, file)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        sys.setprofile(note)
        try:
            run()
        finally:
            sys.setprofile(None)
    if not note.files:
        raise SystemExit(f"{function} of {file} was not called.")
    return note


def run_script(name: str, flags: str) -> None:
    """Runs an example with a few flags, in a folder of its own."""
    script = ROOT / "examples" / name
    sys.argv = [name, *flags.split()]
    sys.path.insert(0, str(script.parent))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            runpy.run_path(str(script), run_name="__main__")
        finally:
            os.chdir(ROOT)


def train_hscene() -> None:
    flags = "--model om --steps 2 --size 32 --batch-size 2 --workers 0 --device cpu"
    run_script("train_hscene.py", flags)


def train_minimal() -> None:
    run_script("train_minimal.py", "--steps 2")


def harmonize() -> None:
    import opmask

    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(width=8)).eval()
    opmask.harmonize(model, torch.rand(3, 64, 96))


def perturb() -> None:
    from opmask.perturb import Perturber

    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    label_maps = torch.arange(64).view(1, 1, 64).expand(2, 64, 64) // 16
    for _ in range(2):  # tables are made at the first call
        Perturber()(images, label_maps, [0, 1])


WALKS: dict[str, tuple[str, str, Callable[[], None]]] = {
    "a training step": ("advance", "examples/reproduction/train.py", train_hscene),
    "a step of train_minimal.py": (
        "train_step",
        "examples/train_minimal.py",
        train_minimal,
    ),
    "harmonize": ("harmonize", "opmask/inference/plan.py", harmonize),
    "Perturber": ("__call__", "opmask/perturb/composite.py", perturb),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the files, too")
    args = parser.parse_args()
    print("| walk | files | jumps |\n|---|---:|---:|")
    for name, how in WALKS.items():
        note = walk(*how)
        print(f"| {name} | {len(note.files)} | {note.jumps} |")
        if args.list:
            print("\n".join(f"  {file}" for file in note.files))


if __name__ == "__main__":
    main()
