r"""The commands about edits: `explain`, `edit`, `render` and `paste`.

Edit file, photo -> command -> edit file, photo, and a line about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opmask.cli import options
from opmask.cli.errors import EXPECTED, describe, in_words_of_the_command
from opmask.cli.photos import Job, check_ending, check_kinds, check_written
from opmask.files import check_outputs, check_regular
from opmask.launching import was_interrupted

if TYPE_CHECKING:
    from opmask.inference import Edit
    from opmask.inference.explain import Explanation

EXACT = options.RegionOptions(refine=False)
LARGEST = 2**40  # of files that are checked for being files only

EditFile = Annotated[Path, typer.Argument(metavar="EDIT", help="A file that ends in .opmask.")]
PhotoFile = Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo.")]


def render(
    photo: PhotoFile,
    edit: EditFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="The photo to write.")],
    force: options.Force = False,
    compile: options.Compile = False,
    max_pixels: options.MaxPixels = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Apply a saved edit to its photo, or with --force to another one."""
    check_kinds(photo, edit)
    check_written({"--out": out}, [photo, edit], overwrite=overwrite)
    check_regular(edit, LARGEST)

    from opmask.cli.harmonizing import check_out, open_photo
    from opmask.files.saving import write_photo
    from opmask.inference import Edit

    document, picture = Edit.load(edit), open_photo(photo, max_pixels)
    lost = check_out(picture, out)
    with in_words_of_the_command(_of(photo)):
        after = document.render(picture, force=force, compile=compile)
    write_photo(after, out)
    height, width = after.size
    typer.echo(" ".join([f"Written: {out} ({width}x{height})", *picture.remarks, *lost]))


def explain(
    photo: PhotoFile,
    edit: Annotated[
        Path | None, typer.Option(help="A saved edit. Default: what the model would do.")
    ] = None,
    region: options.Region = None,
    label: options.Label = None,
    strokes: options.Strokes = False,
    alpha: options.Alpha = False,
    box: options.Box = None,
    invert: options.Invert = False,
    refine: options.Refine = None,
    grabcut: options.Grabcut = False,
    save_region: Annotated[
        Path | None,
        typer.Option(
            help="A PNG to write of the region that the masks are for, such as a refined one: "
            "--region takes it; with --strokes if its ground is transparent, which is unknown.",
        ),
    ] = None,
    strength: options.Strength = "auto",
    panel: Annotated[Path | None, typer.Option(help="Draw it: a picture to write.")] = None,
    model: options.Model = None,
    work_size: options.WorkSize = 256,
    device: options.Device = None,
    force: options.Force = False,
    max_pixels: options.MaxPixels = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Say what an edit changes in a photo, where, and by how much."""
    told = options.region_options(region, label, strokes, alpha, box, invert, refine, grabcut)
    amount = options.parse_strength(strength)
    planning = region, told, amount, model, work_size, device
    if edit is not None and planning != (None, options.RegionOptions(), "auto", None, 256, None):
        raise ValueError(
            "'--edit' must not go with a region (--region, --box, ...), --strength, --model, "
            "--work-size or --device: it is planned already."
        )
    if force and edit is None:
        raise ValueError("'--force' must go with --edit, a saved edit of another photo.")
    with _refusing_in_json(photo, as_json):
        check_kinds(photo, edit, names=("PHOTO", "--edit"))
        outputs = {"--panel": panel, "--save-region": save_region}
        check_written(outputs, [photo, edit, region, model], overwrite=overwrite)

        from opmask.cli.harmonizing import (
            Settings,
            open_photo,
            plan_one,
            save_panel,
            save_region_of,
            where_to_tell,
        )
        from opmask.inference import Edit
        from opmask.inference.plan import check_options

        check_options(amount, work_size, told.refining)
        picture = open_photo(photo, max_pixels)
        settings = Settings(model, amount, work_size, device, told)
        notes: list[str] = []
        document = Edit.load(edit) if edit else plan_one(picture, region, settings, notes)
        with in_words_of_the_command(_of(photo)):
            found = document.explain(picture, force=force)
        if edit is None and not found.regions and (hint := where_to_tell(document)):
            notes.append(f"{hint[0].upper()}{hint[1:]}.")
        if save_region is not None:
            save_region_of(document, save_region)
        if panel is not None:
            save_panel(found, panel)
    said = _as_json(photo, found, notes) if as_json else "\n".join([*notes, *found.sentences])
    typer.echo(said)


def edit_file(
    edit: EditFile,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The edit to write; without it, show EDIT.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Such as l_add.strength=0.5, l_add.offset=0.1, or strength=0.8 for all masks; "
            "repeatable.",
        ),
    ] = None,
    region: Annotated[
        Path | None, typer.Option(help="Confines what is set to where this picture is white.")
    ] = None,
    undo: Annotated[int, typer.Option(help="First take back so many adjustments.")] = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Show an edit, or change it into a new one."""
    if out is None and (sets or undo):
        raise ValueError("'--out' must say where the changed edit goes.")
    check_kinds(None, edit)
    if undo < 0:
        raise ValueError(f"'--undo' must be a number from 0 on, got {undo}.")
    if region is not None and not sets:
        raise ValueError("'--region' must go with --set: it confines what is set.")
    if out is not None and not (sets or undo):
        raise ValueError("'--out' must go with --set or --undo, which change the edit.")
    changes = _changes(sets or ())
    if out is not None:
        check_ending("--out", out, (".opmask",))
        check_outputs({"--out": out}, inputs=[edit, region], overwrite=overwrite)

    from opmask.files.pictures import open_picture
    from opmask.inference import Edit

    document = Edit.load(edit)
    if undo > (count := len(document.adjustments)):
        raise ValueError(f"'--undo' must be at most {count}, as {edit} has no more, got {undo}.")
    for _ in range(undo):
        document = document.undo()
    where = None if region is None else open_picture(region)
    for name, values in changes.items():
        try:
            with in_words_of_the_command({"'region'": region, "'offset'": f"{name}.offset"}):
                document = document.adjust(name or None, **values, region=where)
        except KeyError as error:
            raise ValueError(f"'--set': {error.args[0]}") from None
    if out is not None:
        document.save(out)
    typer.echo(_described(document) if out is None else f"Written: {out}")


def paste(
    foreground: Annotated[Path, typer.Argument(help="A cut-out: a picture with alpha.")],
    background: Annotated[Path, typer.Argument(help="The photo to paste it into.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The photo to write.")],
    at: Annotated[
        str, typer.Option(metavar="X,Y", help="Where its upper left corner goes, in pixels.")
    ] = "0,0",
    scale: Annotated[float, typer.Option(help="The factor on the size of the cut-out.")] = 1.0,
    strength: options.Strength = "auto",
    save_edits: Annotated[
        Path | None,
        typer.Option(help="The file for the edit, which belongs to the composite."),
    ] = None,
    save_composite: Annotated[
        Path | None, typer.Option(help="The file for the photo as pasted, not yet harmonized.")
    ] = None,
    panel: Annotated[Path | None, typer.Option(help="A picture of what was changed.")] = None,
    model: options.Model = None,
    work_size: options.WorkSize = 256,
    device: options.Device = None,
    max_pixels: options.MaxPixels = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Paste a cut-out into a photo, and harmonize it with its surroundings."""
    outputs = {"--out": out, "--save-edits": save_edits, "--panel": panel}
    outputs |= {"--save-composite": save_composite}
    check_kinds(foreground, names=("FOREGROUND", ""))
    check_kinds(background, names=("BACKGROUND", ""))
    check_written(outputs, [foreground, background, model], overwrite=overwrite)
    amount, corner = options.parse_strength(strength), _corner(at)

    from opmask.cli.harmonizing import (
        Settings,
        check_out,
        find_device,
        load_model,
        make_plan,
        open_photo,
        write,
    )
    from opmask.files.saving import write_photo
    from opmask.inference.pasting import paste_into
    from opmask.inference.plan import check_options

    check_options(amount, work_size)
    photo = open_photo(background, max_pixels)
    cutout = open_photo(foreground, max_pixels, smallest=1)
    if cutout.alpha is None:
        raise ValueError(
            f"{foreground} must be a cut-out: a picture with alpha, which it has not."
        )
    composite, region = paste_into(photo, cutout, at=corner, scale=scale)
    lost = check_out(composite, out)
    if save_composite is not None:
        check_out(composite, save_composite, "--save-composite")
    network = load_model(model, guided=True).to(find_device(device))
    settings = Settings(strength=amount, work_size=work_size, region=EXACT)
    notes: list[str] = []
    edit = make_plan(network, composite, region, settings, notes)
    write(edit, composite, Job(background, None, out, save_edits, panel))
    if save_composite is not None:
        write_photo(composite, save_composite)
    height, width = composite.size
    notes += [*photo.remarks, *lost]
    said = [f"Written: {out} ({width}x{height}).", *edit.explain(composite).sentences, *notes]
    typer.echo(" ".join(said))


@contextmanager
def _refusing_in_json(photo: Path, wanted: bool) -> Iterator[None]:
    """Says what is refused in a line of JSON, too."""
    try:
        yield
    except EXPECTED as error:
        if wanted and not was_interrupted(error):
            typer.echo(json.dumps({"photo": str(photo), "error": describe(error)}))
        raise


def _as_json(photo: Path, found: Explanation, notes: list[str]) -> str:
    regions = [
        {"box": r.box, "share": r.share, "change": r.change, "sentence": r.sentence}
        for r in found.regions
    ]
    clipped = found.clipped.float().mean().item()
    about = {"photo": str(photo), "sentences": found.sentences, "notes": notes}
    return json.dumps({**about, "regions": regions, "clipped": clipped})


def _of(photo: Path) -> dict[str, object]:
    """What the library's words for a photo stand for here."""
    return {"'image'": photo}


def _changes(sets: Sequence[str]) -> dict[str, dict[str, float]]:
    """What `--set` says by the names of masks; those of all masks under ""."""
    changes: dict[str, dict[str, float]] = {}
    for text in sets:
        left, equals, right = text.partition("=")
        name, _, field = left.rpartition(".")
        try:
            value = float(right)
        except ValueError:
            value = float("nan")
        if not equals or field not in ("strength", "offset") or value != value:
            raise ValueError(
                "'--set' must be NAME.strength=NUMBER or NAME.offset=NUMBER, or without a name "
                f"for all masks, got {text!r}."
            )
        if field in changes.setdefault(name, {}):
            raise ValueError(f"'--set' must say each thing once, got {left}= twice.")
        changes[name][field] = value
    return changes


def _corner(text: str) -> tuple[int, int]:
    try:
        x, y = map(int, text.split(","))
    except ValueError:
        raise ValueError(f"'--at' must be X,Y in whole pixels, got {text!r}.") from None
    return x, y


def _described(edit: Edit) -> str:
    """What an edit holds: its photo, its masks, and its adjustments in order."""
    (height, width), size = edit.source.size, edit.size
    lines = [f"An edit for a photo of {width}x{height}, with masks of {size[1]}x{size[0]}:"]
    masks = edit.masks(effective=True)
    for name, mask in masks.items():
        identity = edit.retoucher.ranges[name].identity
        low, high = mask.min().item(), mask.max().item()
        lines.append(f"  {name:8} {low:+.3f} to {high:+.3f}, identity {identity:g}")
    for name, mask in edit.masks().items():
        if name not in masks:
            low, high = mask.min().item(), mask.max().item()
            lines.append(f"  {name:8} {low:.3f} to {high:.3f}, where the masks act")
    for i, a in enumerate(edit.adjustments, 1):
        where = "" if a.region is None else ", in a region"
        name = a.name or "all masks"
        lines.append(f"{i}. {name}: strength {a.strength:g}, offset {a.offset:g}{where}")
    return "\n".join(lines)
