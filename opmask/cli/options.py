r"""Options that several commands share, and what they say together.

Nothing here imports the library before it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Region = Annotated[
    Path | None,
    typer.Option(
        help="A picture that is white where the photo was changed and black elsewhere, or a "
        "cut-out of what was changed. Or a folder of them: barn_mask.png, or else barn.png, "
        "belongs to barn.jpg."
    ),
]
Label = Annotated[
    int | None, typer.Option(help="The region is where --region, a label map, has this number.")
]
Strokes = Annotated[
    bool,
    typer.Option(
        "--strokes",
        help="--region holds strokes: white was changed, black was not, all else is unknown.",
    ),
]
Alpha = Annotated[
    bool, typer.Option("--alpha", help="The region is where the photo itself is opaque.")
]
Box = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X0,Y0,X1,Y1",
        help="A box that was changed, in pixels; the last two are just outside. Repeatable.",
    ),
]
Invert = Annotated[
    bool, typer.Option("--invert", help="The region is what was NOT changed: turn it around.")
]
Refine = Annotated[
    bool | None,
    typer.Option(
        "--refine/--no-refine",
        help="Make the region finer first: what the model sees was changed in it. Default: do it "
        "with boxes and strokes, if the model was found fit for it.",
        show_default=False,
    ),
]
Grabcut = Annotated[
    bool,
    typer.Option(
        "--grabcut", help="Make boxes and strokes finer with GrabCut, too: needs OpenCV."
    ),
]
Strength = Annotated[
    str,
    typer.Option(
        help="How much of the change to apply: a number from 0 on, or auto, which is less where "
        "the model is less sure, as of small changes. A model may have a largest one."
    ),
]
Model = Annotated[
    Path | None, typer.Option(help="A checkpoint. Default: the one that comes with opmask.")
]
WorkSize = Annotated[
    int, typer.Option(help="The longer side at which masks are predicted, in pixels.")
]
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda. Default: what there is.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the retouching: worth it for many large photos.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there.")]
MaxPixels = Annotated[
    int | None,
    typer.Option(min=1, help="Photos of more pixels are refused. Default: 500 million."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one line for each photo.")]
Force = Annotated[
    bool, typer.Option("--force", help="Take another photo than the edit was planned for.")
]


@dataclass(frozen=True)
class RegionOptions:
    """How the region is told, besides the file."""

    label: int | None = None
    strokes: bool = False
    alpha: bool = False
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    invert: bool = False
    refine: bool | str | None = None

    @property
    def refining(self) -> bool | str:
        """As `opmask.plan` takes it. What is opaque is exact, even if it is a rectangle."""
        if self.refine is None:
            return False if self.alpha else "auto"
        return self.refine

    @property
    def needs_file(self) -> bool:
        """Whether a file is needed that is not there without --region."""
        return self.label is not None or self.strokes


def region_options(
    region: Path | None,
    label: int | None = None,
    strokes: bool = False,
    alpha: bool = False,
    box: list[str] | None = None,
    invert: bool = False,
    refine: bool | None = None,
    grabcut: bool = False,
) -> RegionOptions:
    """The options of a region, or a refusal of what does not go together."""
    if grabcut and refine is not None:
        raise ValueError("'--grabcut' must not go with --refine or --no-refine.")
    finer = "grabcut" if grabcut else refine
    options = RegionOptions(label, strokes, alpha, tuple(map(_box, box or ())), invert, finer)
    if options.needs_file and region is None:
        name = "--label" if label is not None else "--strokes"
        raise ValueError(f"'{name}' must go with --region, the file that it is about.")
    told = [
        name
        for name, given in (
            ("--label", label is not None),
            ("--strokes", strokes),
            ("--alpha", alpha),
            ("--box", bool(box)),
        )
        if given
    ]
    if region is not None and not options.needs_file and told:
        told = ["--region", *told]
    if len(told) > 1:
        raise ValueError(f"'{told[0]}' must not go with {', '.join(told[1:])}: tell one region.")
    for name, wanted in (
        ("--invert", invert),
        ("--refine", refine is not None),
        ("--grabcut", grabcut),
    ):
        if wanted and region is None and not told:
            raise ValueError(
                f"'{name}' must go with a region: --region (--strokes), --box or --alpha."
            )
    return options


def parse_strength(text: str) -> float | str:
    """What `--strength` says."""
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"'--strength' must be auto or a number, got {text!r}.") from None


def _box(text: str) -> tuple[int, int, int, int]:
    try:
        left, top, right, bottom = map(int, text.split(","))
    except ValueError:
        raise ValueError(f"'--box' must be X0,Y0,X1,Y1 in whole pixels, got {text!r}.") from None
    return left, top, right, bottom
