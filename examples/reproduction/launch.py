"""How the scripts begin and end.

A script that is started imports this module before all others, and gives :func:`run` its main
function. Whatever ends it before its time, such as Ctrl-C or a full disk, is reported in one line.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from opmask.launching import (
    INTERRUPTED,
    how_to_install,
    interrupt,
    leave,
    let_threads_sleep,
    was_interrupted,
)

let_threads_sleep()


def run(main: Callable[[], object]) -> None:
    """Runs a script; with `python -X dev` an error has its traceback.

    Raises:
        SystemExit: If it does not come to its end: with status 130 after Ctrl-C, with 1 and the
            reason where a library refuses, memory runs out or a disk is full.
    """
    signal.signal(signal.SIGINT, interrupt)
    try:
        main()
    except KeyboardInterrupt as error:
        _end(error, INTERRUPTED, f"Interrupted {error}".strip() + ".")
    except (OSError, ValueError, ImportError, RuntimeError, MemoryError) as error:
        if was_interrupted(error):  # within a class that was being made, say
            _end(error, INTERRUPTED, "Interrupted.")
        if sys.flags.dev_mode:
            raise
        _end(error, 1, f"{Path(sys.argv[0]).name}: {_describe(error)}")
    else:  # Python gives the signal its deadly default back while it closes its modules
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _describe(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name} is not installed. Run: {how_to_install(error.name)}"
    whole = _without_traceback(str(error))
    text = " ".join(whole.split())
    if isinstance(error, MemoryError):
        return f"out of memory. {text}".strip()
    if isinstance(error, RuntimeError):  # PyTorch's may go on with what C++ called
        return f"{whole.strip().splitlines()[0]} (`python -X dev` shows where.)"
    return text


def _without_traceback(text: str) -> str:
    """What an error says that a process which loads data has raised; others as they are."""
    if not text.startswith("Caught ") or "\n  File " not in text:
        return text
    lines = text.rpartition("\n  File ")[2].splitlines()[1:]
    while lines and lines[0].startswith(" "):  # the line that raised
        lines.pop(0)
    return "\n".join(lines).partition(": ")[2] or text


def _end(error: BaseException, status: int, text: str) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    traceback.clear_frames(error.__traceback__)  # ends processes that load data, closes bars
    print(text, file=sys.stderr)
    sys.exit(status)


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What is missing is told in one line, also where a script imports it."""
    ours = str(getattr(error, "name", "")).partition(".")[0] in ("opmask", "reproduction")
    if isinstance(error, ModuleNotFoundError) and not ours and not sys.flags.dev_mode:
        print(f"{Path(sys.argv[0]).name}: {_describe(error)}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _hook
# A script that has not begun is left: importing a module turns exceptions into others.
signal.signal(signal.SIGINT, leave)
