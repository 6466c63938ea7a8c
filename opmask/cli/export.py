r"""The command `opmask export-onnx`: a model, or a part of it, as an ONNX file.

Model file -> `export_model` -> ONNX file, and a line about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from opmask.files import check_outputs

Parts = Literal["predictor", "retoucher", "both"]


def export_model(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: .onnx.")],
    model: Annotated[
        Path | None, typer.Option(help="A checkpoint. Default: the one that comes with opmask.")
    ] = None,
    parts: Annotated[Parts, typer.Option(help="What goes into the file.")] = "both",
    half: Annotated[
        bool, typer.Option("--half", help="Store weights in half precision: half the size.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it is there.")
    ] = False,
) -> None:
    """Export a model to ONNX, to run it without opmask and PyTorch."""
    if out.suffix.lower() != ".onnx":
        raise ValueError(f"'--out' must end in .onnx, got {out}.")
    check_outputs({"--out": out}, inputs=[model], overwrite=overwrite)

    from opmask.checkpoints import load
    from opmask.export import to_onnx
    from opmask.wrapper import OperatorMaskWrapper

    network = load(model)
    if not isinstance(network, OperatorMaskWrapper):
        raise ValueError(
            f"'--model' must be one that predicts masks, got {model}, which has none."
        )
    to_onnx(network, out, parts=parts, half=half)
    typer.echo(f"Written: {out} ({out.stat().st_size / 1e6:.1f} MB; {parts})")
