r"""The command `opmask`: what the library does most often, from a terminal.

Each subcommand is a thin function that hands its arguments to the library and prints what came of
it. What the library refuses becomes one line on the standard error, and a status of 1.

Help and version come at once: no subcommand imports the library before it runs.

Arguments -> :func:`run` -> subcommand -> library.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from opmask._version import __version__
from opmask.cli.benchmark import build as build_benchmark
from opmask.cli.benchmark import make_iharmony4
from opmask.cli.editor import open_editor
from opmask.cli.edits import edit_file, explain, paste, render
from opmask.cli.errors import EXPECTED, describe
from opmask.cli.export import export_model
from opmask.cli.export_edit import export_edit
from opmask.cli.harmonize import harmonize_files
from opmask.cli.study import app as study
from opmask.launching import INTERRUPTED, was_interrupted

app = typer.Typer(
    help="Operator masks: editable maps that say where and how much to change a photo.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(study, name="study")
app.command("harmonize")(harmonize_files)
app.command("paste")(paste)
app.command("explain")(explain)
app.command("edit")(edit_file)
app.command("render")(render)
app.command("build-benchmark")(build_benchmark)
app.command("make-iharmony4")(make_iharmony4)
app.command("export-onnx")(export_model)
app.command("export-edit")(export_edit)
app.command("editor")(open_editor)


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


def _show_warning(message: Warning | str, *_: object) -> None:
    """Says a warning in one line; where in the code it arose is not for those who use commands."""
    print("opmask:", message, file=sys.stderr)


def run(arguments: Sequence[str] | None) -> None:
    """Runs the command and exits, as :func:`opmask.cli.main` says."""
    # What Pillow warns of, it also copes with or refuses.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            app(arguments, prog_name="opmask")
    except EXPECTED as error:
        if was_interrupted(error):
            print("Interrupted.", file=sys.stderr)
            sys.exit(INTERRUPTED)
        print("opmask:", describe(error), file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:  # which typer makes of Ctrl-C
        if end.code == INTERRUPTED:
            print("Interrupted.", file=sys.stderr)
        raise
