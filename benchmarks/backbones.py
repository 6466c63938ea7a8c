"""Which networks can be wrapped? Some 300 of 16 libraries, each in a process of its own.

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
    python benchmarks/backbones.py --out backbones.jsonl --table backbones.md --no-run

It runs where processes can be forked, on Linux.
"""

from __future__ import annotations

import os

# Read when these libraries are loaded: forks of a process with several threads may hang.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

import argparse
import contextlib
import importlib
import json
import multiprocessing
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
    return "–" if value is None else "no" if isinstance(value, str) else str(value)


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
    head, scale = f"`{row.get('head')}`", row.get("scale", "–")
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


def causes(rows: list[Row]) -> list[str]:
    """Everything that did not go well, with its cause."""
    found = []
    for row in rows:
        where = f"{row['library']} {row['name']}"
        if row["wraps"] in REFUSED:
            why = row.get("why") or row.get("ended", "")
            found.append(f"{where}, {row['wraps']}: {why[-1] if isinstance(why, list) else why}")
            continue
        found += [
            f"{where}, {name}: {row[name]}"
            for name in ("identity", "odd", "small", "copy", "export", "compile", "learns")
            if isinstance(row.get(name), str) or row.get(name) is False
        ]
        if isinstance(row.get("learns"), dict) and row["learns"]["ratio"] > 0.9:
            found.append(f"{where}, learns: {row['learns']}")
        if "ended" in row:
            found.append(f"{where}: {row['ended']}")
    return found


def report(rows: list[Row]) -> str:
    return "\n\n".join(
        (
            markdown_table(SUMMARY, summary(rows)),
            markdown_table(HEADINGS, [cells(row) for row in rows]),
            "\n".join(f"- {cause}" for cause in causes(rows)),
        )
    )


def main() -> None:
    libraries = list(dict.fromkeys(case.library for case in CASES.values()))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="rows as JSON lines")
    parser.add_argument("--table", type=Path, help="where to write the table; printed if left out")
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
    text = report(read(flags.out))
    if flags.table is None:
        print(text)
    else:
        flags.table.write_text(text + "\n")


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main()
