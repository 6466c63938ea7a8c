"""Ray as the engine of work that is a function of numbers: on this machine, or on a cluster.

function, numbers -> `Engine` -> Ray Data -> results, in the order of the numbers.

Functions, and what they hold, are pickled and sent to where they run; files that they name must be
there under the same path, on storage that all machines share.
"""

from __future__ import annotations

import argparse
import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
PATIENCE = 5.0  # seconds; Ray itself would try for minutes


def cluster(text: str) -> str:
    """A `type=` for the address of a cluster; Ray Data does not work through `ray://`."""
    host, _, port = text.rpartition(":")
    if text != "auto" and not (
        host and "/" not in host and port.isdecimal() and 0 < int(port) < 2**16
    ):
        raise argparse.ArgumentTypeError(
            f"must be HOST:PORT, or auto on a machine of the cluster, got {text}."
        )
    return text


def start(address: str | None) -> None:
    """Connects to the cluster of an address, or starts Ray on this machine.

    Raises:
        SystemExit: If Ray is not installed, or the cluster does not answer.
    """
    # Ray says in a line that it reads this; else it warns of the processes that Ray Data makes.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here = {} if address else {"include_dashboard": False}
    try:
        import ray
    except ImportError as error:
        raise SystemExit("Ray is not installed. Run: pip install 'opmask[ray]'") from error
    try:
        if address and address != "auto":
            _knock(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **here)
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"'--address' must be that of a running cluster, got {address}: {error}"
        ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True


def _knock(address: str) -> None:
    """Raises an error if nothing listens at an address."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()


def check_gpus(gpus: float, workers: int) -> None:
    """Refuses shares of GPUs for which Ray would wait, once it runs.

    Raises:
        SystemExit: If the cluster has no room for so many processes with such a share.
    """
    import ray

    if not gpus:
        return
    there = int(ray.cluster_resources().get("GPU", 0))
    if not there:
        raise SystemExit(
            f"'--gpus' must be 0 where Ray finds no GPU, got {gpus:g}. Leave it out, or give the "
            "'--address' of a cluster with GPUs."
        )
    room = there * int(1 / gpus)
    if workers > room:
        raise SystemExit(
            f"'--workers' must be at most {room} with '--gpus {gpus:g}', as Ray finds {there} "
            f"GPU{'s' * (there > 1)}, got {workers}."
        )


@dataclass(frozen=True)
class Engine:
    """Computes a function of numbers on Ray.

    Attributes:
        workers: How many calls run at a time.
    """

    workers: int

    def __call__(self, function: Callable[[int], Any], numbers: Sequence[int]) -> Iterator[Any]:
        rows = [{"number": number} for number in numbers]
        for row in stream(_Call, rows, self.workers, function):
            yield pickle.loads(row["result"])


class _Call:
    """A function of a number, as one of a row; Arrow knows few types, so results are pickled."""

    def __init__(self, function: Callable[[int], Any]) -> None:
        self.function = function

    def __call__(self, row: Row) -> Row:
        return {"result": pickle.dumps(self.function(row["number"]))}


def stream(
    kind: type, rows: Sequence[Row], workers: int, *arguments: object, gpus: float = 0
) -> Iterator[Row]:
    """What becomes of rows, each as soon as those before it are there.

    Args:
        kind: What maps a row to another; one is built in each process, with the arguments.
        rows: The rows.
        workers: How many processes there are.
        arguments: Those of `kind`.
        gpus: The share of a GPU that each process gets.
    """
    import ray

    if not rows:
        return
    data = ray.data.from_items(list(rows), override_num_blocks=min(len(rows), 8 * workers))
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # which is set up only now
    pool = ray.data.ActorPoolStrategy(size=min(workers, len(rows)))
    made = data.map(kind, fn_constructor_args=arguments, compute=pool, num_gpus=gpus or None)
    yield from made.iter_rows()
