r"""The command `opmask`: what the library does most often, from a terminal.

Each subcommand is a thin function that hands its arguments to the library and prints what came of
it. What the library refuses becomes one line on the standard error, and a status of 1.

Arguments -> :func:`main` -> subcommand -> library.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

import torch
import typer

from opmask.cli.benchmark import build as build_benchmark
from opmask.cli.export import export_model
from opmask.cli.harmonize import harmonize_file
from opmask.cli.study import app as study
from opmask.files import shorten

app = typer.Typer(
    help="Operator masks: editable maps that say where and how much to change a photo.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(study, name="study")
app.command("harmonize")(harmonize_file)
app.command("build-benchmark")(build_benchmark)
app.command("export-onnx")(export_model)


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
    try:
        app(arguments, prog_name="opmask")
    except (OSError, ValueError, ImportError, MemoryError, RuntimeError) as error:
        print("opmask:", _line(error).strip(), file=sys.stderr)
        sys.exit(1)


def _line(error: Exception) -> str:
    text = " ".join(_said(error).split())
    # Of the processor's memory torch says so in a RuntimeError, after the name of a file of its.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text:
        return f"there is not enough memory. Try a smaller photo or another --device. {text}"
    return text or type(error).__name__


def _said(error: Exception) -> str:
    """The message, without the number of an error that the system knows."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None:
        return error.strerror
    return f"{shorten(error.filename)!r} cannot be used: {error.strerror}."
