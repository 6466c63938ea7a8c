r"""How the command and the scripts begin, and what Ctrl-C does to them.

It is imported before torch is, and imports nothing itself that takes time.

Ctrl-C -> :func:`interrupt` -> `KeyboardInterrupt`, or :func:`leave` -> status 130.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

__all__ = [
    "INTERRUPTED",
    "interrupt",
    "interrupt_or_leave",
    "leave",
    "let_threads_sleep",
    "was_interrupted",
]

INTERRUPTED = 128 + signal.SIGINT
"""The exit status after Ctrl-C that shells know."""

_PROCESS = os.getpid()


def let_threads_sleep() -> None:
    r"""Lets threads that wait sleep soon; to be called before torch is imported.

    How often a waiting thread of GNU's OpenMP looks for work before it sleeps: its own choice is
    300,000 times, and 1000 where it knows of more threads than cores. Of other processes it does
    not know, and beside a busy one threads that wait would keep from the cores those that work.
    What `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY` say in the environment stays.

    Example:
        >>> let_threads_sleep()
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def leave(*_: object) -> NoReturn:
    """Ends the process, which has begun no work: imports turn exceptions into others."""
    print("Interrupted.", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupts this process alone: those that it has started to load data end with it."""
    if os.getpid() == _PROCESS:
        raise KeyboardInterrupt


def interrupt_or_leave(number: int, frame: FrameType | None) -> None:
    """As :func:`interrupt`; but while a module is being imported, :func:`leave`."""
    if os.getpid() == _PROCESS and _is_importing(frame):
        leave()
    interrupt(number, frame)


def was_interrupted(error: BaseException | None) -> bool:
    r"""Whether an exception comes of Ctrl-C, which Python itself may turn into another one.

    Args:
        error: The exception.

    Returns:
        Whether it, or what it was raised from, is a `KeyboardInterrupt`.

    Example:
        >>> was_interrupted(ValueError())
        False
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
