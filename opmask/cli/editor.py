r"""The command `opmask editor`: a page on this machine on which masks are seen and changed.

Photo, port -> `open_editor` -> a server, until Ctrl-C.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opmask.cli.photos import check_kinds
from opmask.files import check_regular


def open_editor(
    photo: Annotated[Path | None, typer.Argument(help="A photo to begin with.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: the first free one from 7860.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A checkpoint. Default: the one that comes with opmask.")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Open the editor: a page in the browser, served to this machine alone."""
    check_kinds(photo)
    if photo is not None:
        check_regular(photo, 2**62)

    from opmask.checkpoints import load
    from opmask.editor.server import listen, serve
    from opmask.inference import read_photo
    from opmask.wrapper import OperatorMaskWrapper

    if photo is not None:
        read_photo(photo)
    listening = listen(port)
    network = load(model)
    if not isinstance(network, OperatorMaskWrapper):
        raise ValueError(
            f"'--model' must be one that predicts masks, got {model}, which has none."
        )
    serve(network, listening, photo=photo, browser=not no_browser)
