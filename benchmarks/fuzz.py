"""What does the library do with hostile files? Thousands of them, through its public doors.

Each case builds a sound file, spoils it, and uses it: pictures, models of this library and of the
published code, manifests, tables of colours, studies. It should end in a success, or in an error
that says what is wrong with which file, within limits of time and memory, and leave nothing
behind. A case depends on its seed, kind and number only, so that it can be run again alone.

    python benchmarks/fuzz.py --count 3000 --seed 0
    python benchmarks/fuzz.py --kind cube --count 100
    python benchmarks/fuzz.py --only image:17 --keep /tmp/cases

It runs where processes can be forked, on Linux. The status is 1 if there is a fault.
"""

from __future__ import annotations

import os

# Read when these libraries are loaded: forks of a process with several threads may hang.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}

import argparse
import contextlib
import faulthandler
import multiprocessing
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import torch
from fuzzing import checkpoint, image, pth, texts
from fuzzing.case import Case
from fuzzing.judging import OUTCOMES, judge, place, snapshot

KINDS = {
    "image": image.image,
    "checkpoint": checkpoint.checkpoint,
    "pth": pth.pth,
    "manifest": texts.manifest,
    "cube": texts.cube,
    "study": texts.study,
}
GOOD = ("success", "clear")


class Limits(NamedTuple):
    seconds: float
    memory: int  # bytes


class Result(NamedTuple):
    kind: str
    number: int
    outcome: str
    line: str  # the message, or what was left
    where: str  # the line of the library
    damage: str  # what was done to the files
    seconds: float
    peak: int  # bytes

    def __str__(self) -> str:
        parts = [f"{self.kind}:{self.number}", self.outcome, self.where, self.damage, self.line]
        return " | ".join(" ".join(part.split())[:240] for part in parts)


def run_case(case: Case, errors: Path, limits: Limits) -> Result:
    """Builds the files of a case, uses them, and looks at what came of it."""
    use = KINDS[case.kind](case)
    damage = "; ".join([use.door, *case.damage])
    errors.with_name("damage").write_text(damage, errors="replace")  # for what never comes back
    before, error = snapshot(case.folder), None
    os.ftruncate(2, 0)
    reset_peak()
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for quiet in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", quiet)
        try:
            use.run()
        except (Exception, SystemExit) as raised:
            error = raised
    seconds, peak = time.perf_counter() - start, peak_memory()
    sys.stderr.flush()
    heard = errors.read_text(errors="replace")
    # Warnings that name a file are meant for the user.
    loud = [str(w.message) for w in warned if not any(name in str(w.message) for name in before)]
    gone = [
        text.removesuffix(" is missing") for text in case.damage if text.endswith(" is missing")
    ]
    after = snapshot(case.folder)
    outcome, line = judge(error, heard, loud, before, after, use, gone=gone, sound=case.sound)
    if peak > limits.memory and outcome in GOOD:
        outcome, line = "crash", f"{peak / 1e6:.0f} MB of memory, after: {line or 'success'}"
    line = line.replace(f"{case.folder}/", "")
    return Result(case.kind, case.number, outcome, line, place(error), damage, seconds, peak)


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def work(inbox: Connection, seed: int, folder: Path, limits: Limits) -> None:
    """Runs cases as they come, in a process of its own."""
    errors = folder / "stderr"
    heard = os.open(errors, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(heard, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = Path("/proc/self/status").read_text()
    used = 1024 * int(status.split("VmData:")[1].split()[0])
    resource.setrlimit(resource.RLIMIT_DATA, (used + limits.memory, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        kind, number = inbox.recv()
        own = folder / f"{kind}-{number}"
        tempfile.tempdir = str(own)  # what is left there is left behind, too
        own.mkdir()
        os.chdir(own)
        errors.with_name("damage").write_text("")
        faulthandler.dump_traceback_later(0.9 * limits.seconds, file=2)
        result = run_case(Case(seed, kind, number, own), errors, limits)
        faulthandler.cancel_dump_traceback_later()
        os.chdir(folder)
        inbox.send(result)


class Worker:
    """A process, the case that it is at, and since when."""

    def __init__(self, seed: int, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self.task: tuple[str, int] | None = None
        self.since = self.used = 0.0
        self.pipe, theirs = multiprocessing.Pipe()
        folder.mkdir(exist_ok=True)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=work, args=(theirs, seed, folder, limits))
        self.process.start()
        theirs.close()

    def give(self, task: tuple[str, int]) -> None:
        self.task, self.since, self.used = task, time.monotonic(), self._state()[1]
        self.pipe.send(task)

    @property
    def late(self) -> bool:
        """Whether it has had its time, and did not only wait for a processor."""
        if time.monotonic() - self.since < self.limits.seconds:
            return False
        state, used = self._state()
        return state != "R" or used - self.used > self.limits.seconds

    def _state(self) -> tuple[str, float]:
        """Whether the process runs or sleeps, and the seconds of a processor that it has had."""
        found = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return found[0], (int(found[11]) + int(found[12])) / os.sysconf("SC_CLK_TCK")

    def take(self) -> Result:
        """The result of its case; or what is known about it if the process has ended or hangs."""
        if self.pipe.poll():
            with contextlib.suppress(EOFError):
                return self.pipe.recv()
            self.process.join()
            last = (self.folder / "stderr").read_text(errors="replace").strip().splitlines()[-1:]
            return self._lost("crash", f"it ended with {self.process.exitcode}: {last}")
        return self._lost("hang", f"more than {self.limits.seconds} s")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def _lost(self, outcome: str, line: str) -> Result:
        damage, heard = (
            (self.folder / name).read_text(errors="replace") for name in ("damage", "stderr")
        )
        frames = [line for line in heard.splitlines() if "/opmask/" in line]
        where = frames[0].rpartition("/opmask/")[2].replace('", line ', ":") if frames else ""
        seconds = time.monotonic() - self.since
        return Result(*self.task, outcome, line, where, damage, seconds, 0)


def run_all(
    tasks: list[tuple[str, int]], seed: int, limits: Limits, workers: int, keep: Path | None
) -> Iterable[Result]:
    """The results, as they come."""
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    queue = list(reversed(tasks))
    crew = [Worker(seed, scratch / str(n), limits) for n in range(min(workers, len(tasks)))]
    for worker in crew:
        worker.give(queue.pop())
    while crew:
        ready = wait([worker.pipe for worker in crew], timeout=0.2)
        for n, worker in enumerate(crew):
            if worker.pipe not in ready and not worker.late:
                continue
            result = worker.take()
            own = worker.folder / f"{result.kind}-{result.number}"
            if keep and result.outcome not in GOOD:
                shutil.copytree(own, keep / own.name, symlinks=True, ignore=_pipes)
            shutil.rmtree(own)
            yield result
            if not queue or result.outcome not in (*GOOD, "vague"):
                worker.stop()  # a process that went wrong is not trusted again
                crew[n] = Worker(seed, worker.folder, limits) if queue else None
            if queue:
                crew[n].give(queue.pop())
        crew = [worker for worker in crew if worker]
    shutil.rmtree(scratch)


def _pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_fifo()]


def table(results: list[Result]) -> str:
    """A row for each kind, and one for all."""
    head = ["kind", "cases", *OUTCOMES, "peak, MB", "slowest, s"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    kinds = sorted({result.kind for result in results})
    for kind in [*kinds, "all"]:
        mine = [result for result in results if kind in (result.kind, "all")]
        counts = Counter(result.outcome for result in mine)
        peak, slowest = max(r.peak for r in mine) / 1e6, max(r.seconds for r in mine)
        found = [counts[outcome] for outcome in OUTCOMES]
        lines.append([kind, *map(str, [len(mine), *found]), f"{peak:.0f}", f"{slowest:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=600, help="how many cases, of all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help="default: all, with equal shares")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one case")
    parser.add_argument("--keep", type=Path, help="a folder for the files of faults")
    parser.add_argument("--seconds", type=float, default=20.0, help="the time of a case")
    parser.add_argument("--memory", type=float, default=2.0, help="the memory of a case, in GB")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(1)
    kinds = [args.kind] if args.kind else list(KINDS)
    tasks = [(kinds[i % len(kinds)], i // len(kinds)) for i in range(args.count)]
    if args.only:
        kind, _, number = args.only.partition(":")
        tasks = [(kind, int(number))]
    limits = Limits(args.seconds, int(args.memory * 1e9))
    start, results = time.perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="fuzz-bases-") as bases:
        with contextlib.redirect_stdout(None):
            for module in (image, checkpoint, pth, texts):
                module.prepare(Path(bases))
        for result in run_all(tasks, args.seed, limits, args.workers, args.keep):
            results.append(result)
            if result.outcome not in GOOD or args.only:
                print(result, flush=True)
    print(f"\n{table(results)}\n\nSeed {args.seed}, {time.perf_counter() - start:.0f} s.")
    sys.exit(any(result.outcome not in GOOD for result in results))


if __name__ == "__main__":
    main()
