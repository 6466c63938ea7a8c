r"""The commands `opmask study build` and `opmask study score`.

Arguments -> library -> files, and what is worth knowing on the standard output.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from opmask.files import check_outputs, replacing

app = typer.Typer(help="Ask people which method's images look best.", no_args_is_help=True)


@app.command("build")
def _build(
    method: Annotated[
        list[str], typer.Option(help="NAME=FOLDER of a method's outputs; two or more times.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")],
    inputs: Annotated[
        Path | None, typer.Option("--input", help="A folder of composites, for reference.")
    ] = None,
    title: Annotated[str, typer.Option(help="What stands above the page.")] = "Image comparison",
    question: Annotated[
        str, typer.Option(help="What is asked of each image.")
    ] = "Which image looks most realistic?",
    max_side: Annotated[
        int, typer.Option(help="The longest side of the images, in pixels.")
    ] = 1024,
    seed: Annotated[int, typer.Option(help="Decides the names in the page.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the page, if its key is the same.")
    ] = False,
) -> None:
    """Write a page that shows the outputs of several methods and records choices."""
    from opmask.study.page import build_study, key_path

    check_outputs({"--out": out, "the key": key_path(out)}, overwrite=overwrite)
    key = build_study(
        _methods(method),
        out,
        inputs=inputs,
        title=title,
        question=question,
        max_side=max_side,
        seed=seed,
    )
    typer.echo(f"{len(key.trials)} images, {len(key.methods)} methods.")
    typer.echo(f"Page, for the participants: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    typer.echo(f"Key, for you alone: {key_path(out)}")


@app.command("score")
def _score(
    answers: Annotated[list[Path], typer.Argument(help="The files that participants sent.")],
    key: Annotated[Path, typer.Option(help="The key that was written beside the page.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A Markdown file to write; JSON goes beside it."),
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(help="A picture to draw; needs matplotlib.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Count participants who did not finish, too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that are there.")
    ] = False,
) -> None:
    """Count the votes of a study."""
    if out is not None and out.suffix != ".md":
        raise ValueError(f"'--out' must end in .md, got {out}.")
    record = None if out is None else out.with_suffix(".json")
    outputs = {"--out": out, "the JSON beside it": record, "--chart": chart}
    check_outputs(outputs, inputs=[key, *answers], overwrite=overwrite)
    from opmask.study.chart import save_chart
    from opmask.study.key import StudyKey
    from opmask.study.scoring import score_study, to_markdown

    score = score_study(answers, StudyKey.read(key), partial=partial)
    table = to_markdown(score)
    typer.echo(table, nl=False)
    for path, text in (out, table), (record, json.dumps(asdict(score), indent=1)):
        if path is not None:
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    if chart is not None:
        save_chart(score, chart)


def _methods(arguments: list[str]) -> dict[str, Path]:
    methods: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = argument.partition("=")
        if not (name and equals and folder):
            raise ValueError(f"'--method' must be NAME=FOLDER, got {argument!r}.")
        if name in methods:
            raise ValueError(
                f"'--method' must have a different name each time, got {name!r} twice."
            )
        methods[name] = Path(folder)
    return methods
