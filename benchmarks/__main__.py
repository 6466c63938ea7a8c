r"""Runs all benchmarks, and writes their tables: CSV files, and one page in Markdown.

    python -m benchmarks --quick
    python -m benchmarks --data ADE20K_ROOT --pool ROOT --photo PHOTO --out results
    python -m benchmarks --only operators rerender

Each is a script and a process of its own; its command stands with its tables. With `--quick` they
do little, in a quarter of an hour: that shows that all of them run, and its figures are no
measurements. What the same command left in the folder stays, so that an interrupted run goes on.
A benchmark that fails, or was asked for and lacks something, is said, the others go on, and the
status is 1 in the end.

BENCHMARKS -> processes -> OUT/NAME.md, OUT/NAME.csv -> OUT/summary.md
"""

from __future__ import annotations

import argparse
import ast
import csv
import io
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from opmask.files import replacing
from opmask.launching import INTERRUPTED, how_to_install

FOLDER = Path(__file__).parent
CELL = re.compile(r"(?<!\\)\|")


class Benchmark(NamedTuple):
    """A script of this folder: what it is measured against, and how it does little."""

    question: str
    competitor: str
    quick: str
    reads: str = ""  # "data" or "photo", else drawn scenes; or "pool", and nothing else
    needs: str = ""  # a package


BENCHMARKS = {
    "operators": Benchmark(
        "How fast are colours and retouching?",
        "kornia",
        "--batch 2 --size 64 --repeats 3 --no-compile",
        reads="photo",
    ),
    "rerender": Benchmark(
        "How long does a re-render take?", "kornia", "--size 320 --repeats 3", reads="photo"
    ),
    "wrapper": Benchmark(
        "What does wrapping cost?",
        "the bare network",
        "--repeats 3 --networks SmallUNet",
        reads="photo",
    ),
    "perturb": Benchmark(
        "How fast are composites made?",
        "the reference pipeline: pilgram, Pillow, NumPy, OpenCV",
        "--photos 2 --repeats 2 --batch 4",
        reads="data",
        needs="pilgram",
    ),
    "training_step": Benchmark(
        "What share of a training step goes into perturbing?",
        "the reference pipeline",
        "--backbone small --steps 2 --batch-size 4",
        reads="data",
        needs="pilgram",
    ),
    "fit": Benchmark(
        "How good are fitted masks, and how fast?",
        "SciPy's least_squares",
        "--photos 2 --size 32 --repeats 1",
        reads="data",
        needs="scipy",
    ),
    "filters": Benchmark(
        "Are the filters pilgram's, bit for bit?",
        "pilgram",
        "--photos 2 --only clarendon toaster",
        reads="data",
        needs="pilgram",
    ),
    "onnx_parity": Benchmark(
        "Does ONNX Runtime give what PyTorch gives?",
        "PyTorch",
        "--only hls_retoucher SmallUNet",
        needs="onnxruntime",
    ),
    "heads": Benchmark(
        "Masks from a tapped layer, or a network's own output?",
        "OutputHead, as the paper's networks",
        "--steps 2 --size 32 --batch-size 2",
        reads="data",
    ),
    "conditioning": Benchmark(
        "Which conditioning of features suits every network?",
        "two other ways",
        "--steps 12 --seeds 1 --size 32",
    ),
    "expressiveness": Benchmark(
        "What can a set of operators express?",
        "the other presets, constants",
        "--photos 1 --size 32",
        reads="data",
    ),
    "flicker": Benchmark(
        "How much do masks flicker in a clip?",
        "frame by frame",
        "--photos 1 --frames 3 --lags 1",
        reads="data",
    ),
    "command": Benchmark(
        "What does the command make of composites?",
        "doing nothing",
        "--count 2 --size 96",
        reads="pool",
    ),
    "scale": Benchmark(
        "What do more processes bring to a folder?",
        "the command with one process",
        "--count 8 --size 64 --repeats 1",
        reads="data",
        needs="ray",
    ),
    "walk": Benchmark("How many files must a reader open?", "", ""),
    "fuzz": Benchmark("What does the library do with hostile files?", "", "--count 24"),
}
"""All but `backbones.py` and `mutation.py`, for hours, and `tables.py`, which reads scores."""

FLAGS = {"data": "--data", "pool": "--data", "photo": "--photo"}
SHOWN = {"--data": "ROOT", "--photo": "PHOTO"}  # instead of where they are on this machine
OWN_OUTPUT = {"conditioning": "--out {folder}/conditioning.json --overwrite"}


def command(name: str, quick: bool, photos: Mapping[str, Path], folder: Path) -> list[str]:
    """What is run: the script and its flags."""
    benchmark = BENCHMARKS[name]
    words = [f"benchmarks/{name}.py", *shlex.split(benchmark.quick if quick else "")]
    if path := photos.get(benchmark.reads):
        words += [FLAGS[benchmark.reads], str(path)]
    return words + shlex.split(OWN_OUTPUT.get(name, "").format(folder=shlex.quote(str(folder))))


def missing(name: str, photos: Mapping[str, Path]) -> str | None:
    """What a benchmark lacks here, if anything."""
    benchmark = BENCHMARKS[name]
    if benchmark.reads == "pool" and "pool" not in photos:
        return "photographs: --pool"
    if benchmark.needs and not find_spec(benchmark.needs):
        return f"{benchmark.needs}: {how_to_install(benchmark.needs)}"
    return None


def tables(text: str) -> Iterator[list[list[str]]]:
    """The cells of each Markdown table of a text, the headings first."""
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip().replace("\\|", "|") for cell in CELL.split(line)[1:-1]]
            if any(cell.strip(":-") for cell in cells):  # not the rule under the headings
                rows.append(cells)
        elif rows:
            yield rows
            rows = []


def machine() -> str:
    """Which class of machine this is, and with which versions."""
    from importlib.metadata import version

    model = ""
    if (info := Path("/proc/cpuinfo")).exists():
        found = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)
        model = f"{found[1]}, " if found else ""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "kornia", "numpy"))
    return (
        f"{model}{platform.machine()}, {os.cpu_count()} logical cores, {platform.system()}; "
        f"Python {platform.python_version()}, {versions}"
    )


def described(name: str) -> str:
    """What the script of a benchmark says it does, without its commands."""
    text = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))) or ""
    _, *parts = text.split("\n\n")
    return "\n\n".join(part for part in parts if not part.startswith((" ", "References")))


def shown_command(words: list[str], folder: Path, quick: bool) -> str:
    """The command, which says nothing of where things are."""
    words = [word.replace(str(folder), "OUT") for word in words]
    words = [SHOWN.get(before, word) for before, word in pairwise(["", *words])]
    return f"`python {shlex.join(words)}`" + ", quick: no measurement" * quick


def section(name: str, told: str, output: str) -> str:
    """A benchmark as a part of the page, with the command as `shown_command` tells it."""
    benchmark = BENCHMARKS[name]
    question = benchmark.question
    if benchmark.competitor:
        question += f" Beside: {benchmark.competitor}."
    shown = re.sub(r"^([^|\n].*\n)(?=\|)", r"\1\n", output.strip(), flags=re.MULTILINE)
    files = csv_names(name, len([*tables(output)]))
    if links := ", ".join(f"[{file}]({file})" for file in files):
        shown += f"\n\nAs CSV: {links}"
    return (
        f"## {name}\n\n{question}\n\n{described(name)}\n\n"
        f"{told}, {date.today()}, {machine()}\n\n{shown}\n"
    )


def csv_names(name: str, count: int) -> list[str]:
    """The files of so many tables."""
    return [
        f"{name}.csv" if number == 1 else f"{name}-{number}.csv" for number in range(1, count + 1)
    ]


def write_csv(rows: list[list[str]], path: Path) -> None:
    """One table, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def run(name: str, words: list[str], told: str, folder: Path) -> str | None:
    """Runs one benchmark, and writes what it says. What went wrong, if anything."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["examples", str(FOLDER.parent)])}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=FOLDER.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return f"status {done.returncode}: {lines[-1]}"
    found = [*tables(done.stdout)]
    for file, rows in zip(csv_names(name, len(found)), found, strict=True):
        write_csv(rows, folder / file)
    with replacing(folder / f"{name}.md") as temporary:
        temporary.write_text(section(name, told, done.stdout), encoding="utf-8")
    return None


def summarize(folder: Path, remarks: list[str]) -> str:
    """The page: every benchmark that is there, and what could not be run."""
    parts = [folder / f"{name}.md" for name in BENCHMARKS]
    text = "\n".join(path.read_text(encoding="utf-8") for path in parts if path.exists())
    left = "".join(f"\n- {remark}" for remark in remarks)
    return f"# Results of the benchmarks\n\n{text}" + (f"\n## Not run\n{left}\n" if left else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="do little, to see that all run")
    parser.add_argument("--data", type=Path, help="root of photographs as ADE20K's; else scenes")
    parser.add_argument("--pool", type=Path, help="root of those that the bundled model knows")
    parser.add_argument("--photo", type=Path, help="a detailed photo; else drawn scenes")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=[*BENCHMARKS])
    parser.add_argument("--out", type=Path, help="a folder (runs/benchmarks, or -quick)")
    parser.add_argument("--overwrite", action="store_true", help="run again what is there")
    args = parser.parse_args()
    photos = {kind: path.absolute() for kind in FLAGS if (path := getattr(args, kind))}
    for kind, path in photos.items():
        if not (path.is_file() if kind == "photo" else path.is_dir()):
            parser.error(
                f"--{kind} must be a {'file' * (kind == 'photo') or 'folder'}, got {path}."
            )
    folder = args.out or Path("runs", "benchmarks-quick" if args.quick else "benchmarks")
    folder = folder.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        parser.error(f"--out must be a folder, or new, got {folder}.")
    remarks, kept, failed = [], [], False
    for name in (progress := tqdm(args.only, "benchmarks")):
        progress.set_postfix_str(name)
        words = command(name, args.quick, photos, folder)
        told, part = shown_command(words, folder, args.quick), folder / f"{name}.md"
        if not args.overwrite and part.exists() and f"{told}, 2" in part.read_text("utf-8"):
            kept.append(name)
            continue
        if lacking := missing(name, photos):
            remarks.append(f"`{name}` needs {lacking}.")
            failed |= args.only != [*BENCHMARKS]  # it was asked for by name
            continue
        if fault := run(name, words, told, folder):
            remarks.append(f"`{name}` failed with {fault}")
            failed = True
    page = summarize(folder, remarks)
    with replacing(folder / "summary.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(page)
    if kept:
        print(f"Run before, and kept: {', '.join(kept)}. --overwrite runs them again.")
    print(f"Written: {folder}")
    return int(failed)


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(status)
