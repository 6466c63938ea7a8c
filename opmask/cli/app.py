r"""The command `opmask`: what the library does most often, from a terminal.

Each subcommand is a thin function that hands its arguments to the library and prints what came of
it. What the library refuses becomes one line on the standard error, and a status of 1.

Help and version come at once: no subcommand imports the library before it runs.

Arguments -> :func:`main` -> subcommand -> library.
"""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from opmask._version import __version__
from opmask.cli.benchmark import build as build_benchmark
from opmask.cli.errors import EXPECTED, describe
from opmask.cli.harmonize import harmonize_files
from opmask.cli.study import app as study
from opmask.launching import INTERRUPTED, interrupt_or_leave, let_threads_sleep

app = typer.Typer(
    help="Operator masks: editable maps that say where and how much to change a photo.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(study, name="study")
app.command("harmonize")(harmonize_files)
app.command("build-benchmark")(build_benchmark)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"opmask {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """The options of the command itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits.

    Args:
        arguments: Those of the command line, without the name of the program. Default: those that
            the program was started with.

    Raises:
        SystemExit: Always; with status 0 if all went well, 1 if the library refused or memory ran
            out, 2 if the arguments make no sense and 130 after Ctrl-C.
    """
    # What Pillow warns of, it also copes with or refuses.
    warnings.filterwarnings("ignore", module="PIL")
    let_threads_sleep()
    with _interruptible(is_program=arguments is None):
        try:
            app(arguments, prog_name="opmask")
        except EXPECTED as error:
            print("opmask:", describe(error), file=sys.stderr)
            sys.exit(1)
        except SystemExit as end:  # which typer makes of Ctrl-C
            if end.code == INTERRUPTED:
                print("Interrupted.", file=sys.stderr)
            raise


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
