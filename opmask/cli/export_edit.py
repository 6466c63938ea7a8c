r"""The command `opmask export-edit`: an edit as files that other programs open.

Edit file, photo -> `export_edit` -> masks, layers or colour tables, and a line about them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from opmask.cli.errors import in_words_of_the_command
from opmask.cli.photos import check_kinds

LAYERS, TABLES = ".ora", ".cube"


def export_edit(
    file: Annotated[Path, typer.Argument(metavar="FILE.opmask", help="The edit.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="What to write. Masks: .npz, or a folder of 16-bit pictures, .png (or no ending) "
            "or .tif. Layers: .ora. Colour tables with masks, in a folder: .cube.",
        ),
    ],
    photo: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PHOTO]", help="Its photo, for .ora and .cube.", show_default=False
        ),
    ] = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="Masks: with the gate multiplied in.")
    ] = False,
    size: Annotated[
        Literal["masks", "photo"], typer.Option(help="Masks: at their own size, or the photo's.")
    ] = "masks",
    force: Annotated[
        bool, typer.Option("--force", help="Take PHOTO even if it is not that of the edit.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it is there.")
    ] = False,
) -> None:
    """Export an edit: masks, layers for Krita and GIMP, or .cube tables with masks."""
    check_kinds(photo, file, names=("PHOTO", "FILE.opmask"))
    suffix = out.suffix.lower()
    needs_photo = suffix in (LAYERS, TABLES)
    if needs_photo and photo is None:
        raise ValueError(
            f"'PHOTO' must be given for {suffix}, which shows what the edit does to it."
        )
    if needs_photo and (effective or size != "masks"):
        raise ValueError(f"'--out' must be of masks for --effective and --size, got {out}.")
    if not needs_photo and (photo or force):
        asked = "a PHOTO" if photo else "--force"
        raise ValueError(
            f"'--out' must end in .ora or .cube where {asked} is given, got {out}. Masks need no "
            "photo, and go to .npz, .png or .tif."
        )

    from opmask.export.cube import cube_target, to_cube
    from opmask.export.masks import masks_target, save_masks
    from opmask.export.openraster import ora_target, to_openraster
    from opmask.files.photo import read_photo
    from opmask.inference import Edit

    words = {"'path'": "'--out'", "'image'": photo}
    with in_words_of_the_command(words):
        check = {LAYERS: ora_target, TABLES: cube_target}.get(suffix, masks_target)
        target = check(out, overwrite=overwrite)
        edit = Edit.load(file)
        if photo is None:
            wanted = edit.source.size if size == "photo" else edit.size
            save_masks(edit, out, effective=effective, size=wanted, overwrite=overwrite)
            said = f"{len(edit.masks(effective))} masks, {wanted[1]}x{wanted[0]}"
        elif suffix == LAYERS:
            left_out = to_openraster(
                edit, read_photo(photo), out, force=force, overwrite=overwrite
            )
            said = ". ".join(("layers", *left_out)).rstrip(".")
        else:
            made = to_cube(edit, read_photo(photo), out, force=force, overwrite=overwrite)
            tables = "1 table" if len(made.regions) == 1 else f"{len(made.regions)} tables"
            said = (
                f"{tables}; {made.psnr:.1f} dB from the rendered photo, where the photo itself is "
                f"{made.untouched:.1f} dB from it"
            )
    typer.echo(f"Written: {target} ({said})")
