r"""The commands `opmask study build` and `opmask study score`.

Arguments -> library -> files, and what is worth knowing on the standard output.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from opmask.cli import options
from opmask.cli.errors import in_words_of_the_command
from opmask.files import check_outputs, replacing

app = typer.Typer(help="Ask people which method's images look best.", no_args_is_help=True)


@app.command("build")
def _build(
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=SOURCE, a method's outputs, repeatable: a folder of pictures, a model, "
            "or the files of a published network, such as dovenet:latest_net_G.pth.",
        ),
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(help="A run folder: each finished model is a method. Repeatable."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--input", help="A folder of composites: models harmonize them."),
    ] = None,
    region: Annotated[
        Path | None,
        typer.Option(
            help="A folder of pictures, white where composites were changed: barn_mask.png, or "
            "else barn.png, belongs to barn.jpg. Models that take a region get it."
        ),
    ] = None,
    show_inputs: Annotated[
        bool, typer.Option("--show-input/--hide-input", help="Show composites, as 'Before'.")
    ] = True,
    title: Annotated[str, typer.Option(help="What stands above the page.")] = "Image comparison",
    question: Annotated[
        str, typer.Option(help="What is asked of each image.")
    ] = "Which image looks most realistic?",
    max_side: Annotated[
        int, typer.Option(help="The longest side of the images, in pixels.")
    ] = 1024,
    seed: Annotated[int, typer.Option(help="Decides the names in the page.")] = 0,
    work_size: Annotated[
        int, typer.Option(help="The size at which models see composites, in pixels.")
    ] = 256,
    device: options.Device = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the page, if its key is the same.")
    ] = False,
) -> None:
    """Write a page on which people choose.

    It shows the outputs of several methods, and records what people choose.
    """
    from opmask.cli.harmonizing import find_device
    from opmask.study.page import build_study, key_path, outputs_path

    check_outputs({"--out": out, "the key": key_path(out)}, overwrite=overwrite)
    words = {"'inputs'": "'--input'", "'regions'": "'--region'", "'methods'": "'--method'"}
    with in_words_of_the_command(words):
        key = build_study(
            _methods(method or [], run or []),
            out,
            inputs=inputs,
            regions=region,
            show_inputs=show_inputs,
            title=title,
            question=question,
            max_side=max_side,
            seed=seed,
            work_size=work_size,
            device=find_device(device),
        )
    if (outputs := outputs_path(out)).is_dir():
        typer.echo(f"Pictures that models made: {outputs}")
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


def _methods(arguments: list[str], runs: list[Path]) -> dict[str, str | Path]:
    from opmask.study.sources import models_of_run

    methods: list[tuple[str, str | Path]] = []
    for argument in arguments:
        name, equals, source = argument.partition("=")
        if not (name and equals and source):
            raise ValueError(f"'--method' must be NAME=SOURCE, got {argument!r}.")
        methods.append((name, source))
    for run in runs:
        methods += models_of_run(run).items()
    names = [name for name, _ in methods]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"methods must have a different name each time, got {twice!r} twice.")
    return dict(methods)
