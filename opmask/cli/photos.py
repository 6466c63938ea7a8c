r"""Which photos a command works on, with which regions, and where it writes.

All of it is read off names and folders, before a photo is opened or a model is loaded.

`PHOTO...`, `--region`, `--out` -> :func:`find_jobs` -> jobs.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from opmask.files import check_outputs, shorten
from opmask.files.endings import MASK, READ, WRITTEN
from opmask.files.reading import LONGEST_NAME, why_unreadable

CLIPS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv")
"""The endings of what is taken for a clip."""

PANELS = (".png", ".jpg", ".jpeg", ".webp")
"""The endings of panels."""

EDIT = ".opmask"
"""The ending of edits."""

ENDINGS = {
    "--out": WRITTEN,
    "--save-edits": (EDIT,),
    "--save-composite": WRITTEN,
    "--save-region": (".png",),
    "--panel": PANELS,
}
"""The endings of the files that an option names."""


def is_clip(path: Path) -> bool:
    """Whether a file is a clip, by its ending."""
    return path.suffix.lower() in CLIPS


def check_kinds(
    photo: Path | None, edit: Path | None = None, *, names: tuple[str, str] = ("PHOTO", "EDIT")
) -> None:
    r"""Refuses, by their endings, an edit in place of a photo, and a photo in place of an edit.

    Args:
        photo: What must be a photo.
        edit: What must be an edit.
        names: What the command calls the two.

    Raises:
        ValueError: If one is of the other kind, or both are.

    Example:
        >>> check_kinds(Path("a.opmask"), Path("a.jpg"))
        Traceback (most recent call last):
        ...
        ValueError: 'PHOTO' and 'EDIT' must not be swapped, got a.opmask and a.jpg.
    """
    is_edit = photo is not None and photo.suffix.lower() == EDIT and not photo.is_dir()
    is_photo = edit is not None and edit.suffix.lower() in READ
    if is_edit and is_photo:
        raise ValueError(
            f"'{names[0]}' and '{names[1]}' must not be swapped, got {photo} and {edit}."
        )
    if is_edit:
        raise ValueError(f"'{names[0]}' must be a photo, got the edit {photo}.")
    if is_photo:
        raise ValueError(f"'{names[1]}' must be an edit, got the photo {edit}.")


@dataclass(frozen=True)
class Job:
    """A photo, its region if there is one, and the files to write.

    Those of them that are `kept` are there already, and stay.
    """

    photo: Path
    region: Path | None
    out: Path
    edit: Path | None = None
    panel: Path | None = None
    kept: tuple[Path, ...] = ()

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files that are wanted."""
        return tuple(path for path in (self.out, self.edit, self.panel) if path is not None)


def find_jobs(
    arguments: Sequence[Path],
    out: Path,
    *,
    region: Path | None = None,
    model: Path | None = None,
    edits: Path | None = None,
    panels: Path | None = None,
    overwrite: bool = False,
) -> tuple[list[Job], list[Job]]:
    r"""Finds photos, pairs them with regions, and says where each is written to.

    A single photo is written to the file `out`, or into the folder `out` if there is one. Several
    photos are written into the folder `out`, which need not be there, under their own names; those
    of formats that are not written become PNG files.

    A region belongs to the photo of its name, whatever the endings: to `barn.jpg` belongs
    `barn_mask.png`, or else `barn.png`, which must lie in another folder than the photo.

    Args:
        arguments: Photos, folders of photos (but not the folders in them), and patterns such as
            `photos/*.jpg`. Of folders and patterns is left out what lies in the folder `out` or
            that of the panels, and the regions in the folder of the photos, if that is where
            regions come from.
        out: The file, or the folder, to write.
        region: A region for all photos, or a folder of regions.
        model: The model, which is read, too.
        edits: The file for the edit of a single photo, or the folder for edits.
        panels: The file for the panel of a single photo, or the folder for panels.
        overwrite: Whether outputs that are there are replaced. Without it those of a single photo
            are refused, and those in folders are kept.

    Returns:
        The jobs to do and those that are finished, of which all is there, both in the order of the
        arguments; the photos of a folder or a pattern are sorted by their names.

    Raises:
        ValueError: If a photo or a region is missing, a folder or a pattern holds no photo, two
            photos would be written to one file, or an output may not be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in "barn.jpg", "barn_mask.png", "dog.bmp", "dog_mask.png":
        ...     (folder / name).touch()
        >>> to_do, finished = find_jobs([folder], folder / "out", region=folder)
        >>> [(job.photo.name, job.region.name, job.out.name) for job in to_do]
        [('barn.jpg', 'barn_mask.png', 'barn.jpg'), ('dog.bmp', 'dog_mask.png', 'dog.png')]
    """
    for argument in arguments:
        check_kinds(argument)
    into_folder = out.is_dir() or len(arguments) > 1 or _is_several(arguments[0])
    if into_folder:
        _check_folder("--out", out)
        for name, folder in ("--save-edits", edits), ("--panel", panels):
            if folder is not None:
                _check_folder(name, folder)
    else:
        outputs = {"--out": out, "--save-edits": edits, "--panel": panels}
        check_written(outputs, [arguments[0], region, model], overwrite=overwrite)
    photos = _photos(arguments, (out, panels) if into_folder and panels else (out,), region)
    jobs = []
    for photo, mask in zip(photos, _regions(photos, region), strict=True):
        if into_folder:
            beside = _beside(photo, edits, ".opmask"), _beside(photo, panels, ".png")
            jobs.append(Job(photo, mask, _target(photo, out), *beside))
        else:
            jobs.append(Job(photo, mask, out, edits, panels))
    _check_targets(jobs, model)
    if not overwrite:
        jobs = [replace(job, kept=tuple(filter(Path.is_file, job.outputs))) for job in jobs]
    to_do = [job for job in jobs if job.kept != job.outputs]
    return to_do, [job for job in jobs if job.kept == job.outputs]


def _is_several(argument: Path) -> bool:
    """Whether an argument stands for any number of photos: a folder or a pattern."""
    return argument.is_dir() or (not os.path.lexists(argument) and glob.has_magic(str(argument)))


def _photos(arguments: Sequence[Path], written: Sequence[Path], region: Path | None) -> list[Path]:
    """The photos, none of them out of a folder with pictures that are written."""
    found: dict[str, Path] = {}
    for argument in arguments:
        if _is_several(argument):
            photos = _several(argument, written, region)
        else:
            _check_readable(argument)
            photos = [argument]
        if not photos and not any(_is_same(argument, folder) for folder in written):
            raise ValueError(
                f"'PHOTO' must be a photo, or a folder or a pattern with photos in it, got "
                f"{argument}, which has none."
            )
        for photo in photos:
            found.setdefault(os.path.realpath(photo), photo)
    if not found:
        names = "'--out' and '--panel'" if len(written) > 1 else "'--out'"
        raise ValueError(
            f"{names} must be another folder than that of the photos, got "
            f"{' and '.join(map(str, written))}. One within it will do."
        )
    return list(found.values())


def _several(argument: Path, written: Sequence[Path], region: Path | None) -> list[Path]:
    """The photos of a folder or a pattern, without what was written and without regions."""
    places = [os.path.realpath(folder) for folder in written]
    from opmask.files.pictures import picture_files

    if argument.is_dir():
        found = picture_files(argument)
    else:
        paths = sorted(Path(path) for path in glob.glob(str(argument), recursive=True))
        found = [path for path in paths if path.suffix.lower() in READ and path.is_file()]
    return [
        photo
        for photo in found
        if not any(Path(os.path.realpath(photo)).is_relative_to(place) for place in places)
        and not (photo.stem.endswith(MASK) and region and _is_same(photo.parent, region))
    ]


def _check_readable(path: Path) -> None:
    """Raises unless there is a file that can be opened."""
    if why := why_unreadable(path):
        raise ValueError(f"{shorten(path, LONGEST_NAME)} cannot be read: {why}.")


def _is_same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _regions(photos: Sequence[Path], region: Path | None) -> Sequence[Path | None]:
    """The region of each photo."""
    if region is not None and region.is_dir():
        from opmask.files.regions import region_files

        return region_files(photos, region, "'--region'")
    if region is not None:
        _check_readable(region)
    return [region] * len(photos)


def _target(photo: Path, folder: Path) -> Path:
    return folder / (photo.name if photo.suffix.lower() in WRITTEN else f"{photo.stem}.png")


def _beside(photo: Path, folder: Path | None, suffix: str) -> Path | None:
    # With the whole name, because barn.jpg and barn.png may be two photos.
    return None if folder is None else folder / f"{photo.name}{suffix}"


def check_written(
    outputs: Mapping[str, Path | None], inputs: Sequence[Path | None], *, overwrite: bool
) -> None:
    """Refuses outputs, by their options, of another ending or that may not be written."""
    for name, path in outputs.items():
        if path is not None:
            check_ending(name, path, ENDINGS[name])
    check_outputs(outputs, inputs=inputs, overwrite=overwrite)


def check_ending(name: str, path: Path, endings: Sequence[str]) -> None:
    """Refuses an output of another ending."""
    if path.suffix.lower() not in endings:
        one = "one of " if len(endings) > 1 else ""
        folder = "" if path.suffix or name != "--out" else " A folder must be there already."
        raise ValueError(f"'{name}' must end in {one}{', '.join(endings)}, got {path}.{folder}")


def _check_folder(name: str, out: Path) -> None:
    """Raises unless files can be written to a folder, which need not be there."""
    file = out.suffix.lower() in (*WRITTEN, EDIT)
    if (out.exists() and not out.is_dir()) or (not out.exists() and file):
        raise ValueError(f"'{name}' must be a folder for several photos, got the file {out}.")
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ValueError(f"'{name}' must be a folder that can be written to, got {out}.")


def _check_targets(jobs: Sequence[Job], model: Path | None) -> None:
    """Raises if two photos would be written to one file, or one to a file that is read."""
    inputs = {path for job in jobs for path in (job.photo, job.region)} | {model}
    read = {_identity(path) for path in inputs if path is not None and path.exists()}
    writers: dict[str, Path] = {}
    for job in jobs:
        outputs = {"--out": job.out, "--save-edits": job.edit, "--panel": job.panel}
        for name, path in outputs.items():
            if path is None:
                continue
            # Without regard to case, because some file systems have none.
            other = writers.setdefault(os.path.realpath(path).casefold(), job.photo)
            if other != job.photo:
                raise ValueError(
                    f"'PHOTO' must have a name of its own, got {other} and {job.photo}, which "
                    f"would both become {path}. Rename one, or give them another folder each."
                )
            if path.exists() and _identity(path) in read:
                raise ValueError(
                    f"'{name}' must not hold files that are read, got {path}. Choose another "
                    "folder."
                )


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
