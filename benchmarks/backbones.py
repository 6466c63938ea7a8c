"""Which networks can be wrapped? Some 320 of 16 libraries, each in a process of its own.

Each is a real class of its library, mostly with few blocks and always with random weights. It is
noted what the wrapper had to be told (`nothing`, or `call=`, `example=`, `head=`), the layer
that masks are read from and its scale, by how much an untrained wrapper misses its input, also at
an odd size, whether a change of one quadrant moves the masks there most, whether the state
dictionary kept its keys, whether the wrapper copies, exports and compiles (the last two of some of
them), and how far the loss falls in 8 CPU seconds.

A row is written as soon as it is done, and rows that are there are skipped, so that a run can be
interrupted. What crashes, hangs or wants too much memory is a row with its cause.

    pip install 'opmask[zoo]'
    python benchmarks/backbones.py --out backbones.jsonl
    python benchmarks/backbones.py --out backbones.jsonl --libraries smp timm
    python benchmarks/backbones.py --out backbones.jsonl --csv docs/tables --no-run

It runs where processes can be forked, on Linux.
"""

from __future__ import annotations

import os

# Read when these libraries are loaded: forks of a process with several threads may hang.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

import argparse
import contextlib
import csv
import importlib
import json
import multiprocessing
import re
import resource
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from zoo import CASES, MODULES, Case
from zoo.measuring import Row, measure

from opmask.markdown import markdown_table

HEADINGS = (
    "library", "network", "wraps with", "head", "scale", "identity", "odd size", "quadrants",
    "state dict", "copy", "export", "compile", "learns",
)  # fmt: skip
CAUSES = ("library", "network", "what", "why")
MEASURED = {"odd": "odd size", "small": "17x33 pixels"}
LONGEST = 200  # characters of a cause
SUMMARY = ("library", "networks", "classes wrapped", "with nothing", "told more", "not wrapped")
REFUSED = ("refused", "not built", "crashed")


def child(case: Case, memory: int, seconds: int, learning: float, sender: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    measure(case, learning, sender.send)


def run(case: Case, memory: int, seconds: int, learning: float) -> Row:
    """Measures one network in a process of its own, within limits."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=child, args=(case, memory, seconds, learning, sender))
    process.start()
    sender.close()
    row: Row = {"library": case.library, "name": case.name, "wraps": "crashed"}
    # Other processes may keep the processor busy: four times the seconds on the clock.
    end = time.monotonic() + 4 * seconds
    try:
        while receiver.poll(max(0.0, end - time.monotonic())):
            row = receiver.recv()
    except EOFError:
        pass
    else:
        process.kill()
    process.join()
    if process.exitcode:
        limits = f"after at most {seconds} CPU seconds or {4 * seconds} s"
        row["ended"] = f"ended with status {process.exitcode}, {limits}"
    return row


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [json.loads(text) for text in path.read_text().splitlines()]


def in_turn(libraries: list[str], only: str) -> Iterator[Case]:
    """The networks, a library after the other, so that a run that is stopped has some of each."""
    queues = [[c for c in CASES.values() if c.library == name] for name in libraries]
    while any(queues):
        for queue in queues:
            case = queue.pop(0) if queue else None
            if case is not None and only in f"{case.library} {case.name}":
                yield case


def shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0e}"
    if isinstance(value, dict):
        return f"{value['ratio']:.2f} ({value['steps']})"
    if isinstance(value, str):  # what the bare network cannot either is no fault of the wrapper
        return "neither" if "The bare network: " in value and not value.endswith("does") else "no"
    return "–" if value is None else str(value)


def cells(row: Row) -> tuple[str, ...]:
    name = row["name"].replace("|", "/")
    if row["wraps"] in REFUSED:
        return (row["library"], name, row["wraps"], *["–"] * (len(HEADINGS) - 3))
    measured = (
        "identity",
        "odd",
        "quadrants",
        "state_dict",
        "copy",
        "export",
        "compile",
        "learns",
    )
    head, scale = f"``{row.get('head')}``", row.get("scale", "–")
    return (
        row["library"], name, row["wraps"], head, scale, *(shown(row.get(m)) for m in measured)
    )  # fmt: skip


def summary(rows: list[Row]) -> list[tuple[str, ...]]:
    lines = []
    for library in [*sorted({row["library"] for row in rows}), "all"]:
        of = [row for row in rows if library in (row["library"], "all")]
        wrapped = [row for row in of if row["wraps"] not in REFUSED]
        plain = sum(row["wraps"] == "nothing" for row in wrapped)
        classes = len({(row["library"], row.get("class")) for row in wrapped})
        counts = (len(of), classes, plain, len(wrapped) - plain, len(of) - len(wrapped))
        lines.append((library, *map(str, counts)))
    return lines


def causes(rows: list[Row]) -> Iterator[tuple[str, str, str, str]]:
    """Everything that did not go well, with its cause."""
    for row in rows:
        where = row["library"], row["name"]
        if row["wraps"] in REFUSED:
            why = row.get("why") or row.get("ended", "")
            yield *where, row["wraps"], brief(why[-1] if isinstance(why, list) else why)
            continue
        for name in ("identity", "odd", "small", "copy", "export", "compile", "learns"):
            if isinstance(row.get(name), str) or row.get(name) is False:
                yield *where, MEASURED.get(name, name), brief(str(row[name]))
        learnt = row.get("learns")
        if isinstance(learnt, dict) and not learnt["ratio"] <= 0.9:  # or not a number
            yield (
                *where,
                "learns",
                f"{learnt['ratio']:.2f} of the loss is left, steps in the time: {learnt['steps']}",
            )
        if "ended" in row:
            yield *where, "all that follows", row["ended"]


def brief(cause: str) -> str:
    """Without the folders of a machine, and without what no table holds."""
    text = re.sub(r"'?/\S*/site-packages/", "", cause)
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    return re.sub(r"([*`|_\\])", r"\\\1", text)  # which Markdown and reStructuredText would read


def tables(rows: list[Row]) -> dict[str, list[tuple[str, ...]]]:
    """The tables by name, each with its headings."""
    return {
        "summary": [SUMMARY, *summary(rows)],
        "networks": [HEADINGS, *(cells(row) for row in rows)],
        "causes": [CAUSES, *causes(rows)],
    }


def main() -> None:
    libraries = list(dict.fromkeys(case.library for case in CASES.values()))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="rows as JSON lines")
    parser.add_argument("--csv", type=Path, help="a folder for the tables; printed if left out")
    parser.add_argument("--libraries", nargs="+", choices=libraries, default=libraries)
    parser.add_argument("--only", default="", help="a part of the library's and network's name")
    parser.add_argument("--seconds", type=int, default=120, help="CPU seconds for each network")
    parser.add_argument("--learn", type=float, default=8, help="of which to learn; 0: not at all")
    parser.add_argument("--memory", type=int, default=12, help="GiB of memory for each network")
    parser.add_argument("--no-run", action="store_true", help="only print what is in --out")
    flags = parser.parse_args()
    done = {(row["library"], row["name"]) for row in read(flags.out)}
    for case in [] if flags.no_run else in_turn(flags.libraries, flags.only):
        if (case.library, case.name) in done:
            continue
        for module in MODULES[case.library]:  # before the fork, and once
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        row = run(case, flags.memory * 2**30, flags.seconds, flags.learn)
        with flags.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{case.library} {case.name}: {row['wraps']}", flush=True)
    made = tables(sorted(read(flags.out), key=lambda row: (row["library"], row["name"])))
    for name, (headings, *lines) in made.items():
        if flags.csv is None:
            print(markdown_table(headings, lines), end="\n\n")
            continue
        with (flags.csv / f"backbones-{name}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([headings, *lines])


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
