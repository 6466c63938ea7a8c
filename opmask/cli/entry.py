r"""Where the command `opmask` begins: before anything is imported that takes time.

Arguments -> :func:`main` -> :func:`opmask.cli.app.run` -> exit status.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opmask.launching import interrupt_or_leave, let_threads_sleep


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits.

    Args:
        arguments: Those of the command line, without the name of the program. Default: those that
            the program was started with.

    Raises:
        SystemExit: Always; with status 0 if all went well, 1 if the library refused or memory ran
            out, 2 if the arguments make no sense and 130 after Ctrl-C.
    """
    let_threads_sleep()
    with _interruptible(is_program=arguments is None):
        from opmask.cli.app import run

        run(arguments)


@contextmanager
def _interruptible(*, is_program: bool) -> Iterator[None]:
    """Ctrl-C ends the command, but nothing that comes after it where this is all of a program."""
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    before = signal.signal(signal.SIGINT, interrupt_or_leave)
    try:
        yield
    finally:  # Python gives the signal its deadly default back while it closes its modules
        signal.signal(signal.SIGINT, signal.SIG_IGN if is_program else before)
