r"""The work of `opmask harmonize` on a clip: a file, or a folder of numbered frames.

Clip, region, checkpoint -> :func:`harmonize_clip` -> clip, and a line about it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from opmask.cli.errors import in_words_of_the_command
from opmask.cli.photos import is_clip
from opmask.files import check_outputs
from opmask.files.exif import upright
from opmask.files.photo import Photo, read_photo
from opmask.files.pictures import open_picture, picture_files
from opmask.files.reading import why_unreadable
from opmask.files.regions import soft
from opmask.files.saving import write_photo
from opmask.files.video import check_clip_output, import_av, open_clip, write_clip
from opmask.inference.plan import check_options, check_size
from opmask.inference.regions import to_plane
from opmask.inference.video import LAG, harmonize_frames
from opmask.wrapper import OperatorMaskWrapper

__all__ = ["harmonize_clip"]

Region = Image.Image | np.ndarray


def harmonize_clip(
    clip: Path,
    out: Path,
    open_model: Callable[[], OperatorMaskWrapper],
    *,
    region: Path | None = None,
    strength: float | str = "auto",
    work_size: int = 256,
    lag: int = LAG,
    overwrite: bool = False,
) -> str:
    r"""Harmonizes a clip and writes another, with masks that are smoothed over time.

    All that can be refused is refused before `open_model` is called. A file appears whole or not
    at all. Of a folder of frames each file does; what was written before Ctrl-C stays.

    Args:
        clip: A clip, or a folder of frames: pictures in the order of the numbers in their names.
        out: The clip to write, or the folder for the frames.
        open_model: Gives the model, on the device where it is to run.
        region: Where the clip was changed: a picture for all frames, a clip or a folder of
            pictures, one for each frame.
        strength: As for :func:`opmask.plan`.
        work_size: As for :func:`opmask.plan`.
        lag: As for :func:`opmask.inference.video.harmonize_frames`.
        overwrite: Whether outputs that are there are replaced.

    Returns:
        A line about what was written.

    Raises:
        ValueError: If the clip, the region, an option or the output is refused.
        ImportError: If PyAV is needed and not installed.
        OSError: If an output cannot be written.
    """
    check_options(strength, work_size)
    if clip.is_dir():
        return _folder(clip, out, open_model, region, (strength, work_size, lag), overwrite)
    import_av()
    check_outputs({"--out": out}, inputs=[clip, region], overwrite=overwrite)
    with open_clip(clip) as opened, _regions(region, opened.size) as regions:
        check_size(opened.size)
        with in_words_of_the_command({"'path'": "'--out'"}):
            remarks = check_clip_output(opened, out)
        model = _fitting(open_model(), region)
        frames = harmonize_frames(
            model,
            tqdm(opened.frames(), total=opened.count or None, unit="frame", disable=None),
            regions=regions,
            strength=strength,
            work_size=work_size,
            lag=lag,
        )
        count = write_clip(opened, frames, out)
        height, width = opened.size
        remarks += opened.remarks
    return " ".join(
        [f"Written: {out} ({width}x{height}; {count} frame{'s' * (count != 1)})", *remarks]
    )


def _folder(
    clip: Path,
    out: Path,
    open_model: Callable[[], OperatorMaskWrapper],
    region: Path | None,
    options: tuple[float | str, int, int],
    overwrite: bool,
) -> str:
    """As :func:`harmonize_clip`, of a folder of frames."""
    files = _numbered(clip)
    targets = [out / file.name for file in files]
    _check_targets(out, files, targets, overwrite)
    first = read_photo(files[0])
    check_size(first.size)
    strength, work_size, lag = options
    with _regions(region, first.size) as regions:
        model = _fitting(open_model(), region)
        frames: Iterable[Photo] = map(read_photo, tqdm(files, unit="frame", disable=None))
        harmonized = harmonize_frames(
            model, frames, regions=regions, strength=strength, work_size=work_size, lag=lag
        )
        remarks: dict[str, None] = {}
        for target, photo in zip(targets, harmonized, strict=True):
            remarks |= dict.fromkeys(write_photo(photo, target))
    height, width = first.size
    line = f"Written: {len(files)} frames to {out} ({width}x{height})"
    return " ".join([line, *remarks])


def _numbered(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of the numbers in their names: 9 before 10."""
    files = picture_files(folder)
    if not files:
        raise ValueError(f"'CLIP' must be a folder with frames, got {folder}, which has none.")
    return sorted(files, key=lambda file: [*map(int, re.findall(r"\d+", file.stem))])


def _check_targets(out: Path, files: list[Path], targets: list[Path], overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"'--out' must be a folder for a folder of frames, got {out}.")
    if out.exists():
        for target in targets:
            check_outputs({"--out": target}, inputs=files, overwrite=overwrite)
    else:
        check_outputs({"--out": out})  # which can be made


@contextmanager
def _regions(path: Path | None, size: tuple[int, int]) -> Iterator[Iterable[Region] | None]:
    """The region of each frame; the first is checked."""
    if path is None:
        yield None
    elif path.is_dir():
        yield _checked((upright(open_picture(file)) for file in _numbered(path)), size)
    elif is_clip(path):
        with open_clip(path) as opened:
            # What a codec with losses makes of black and white is grey here and there.
            yield _checked((soft(frame.mean(-1).astype(frame.dtype)) for frame in opened.frames()),
                           size)  # fmt: skip
    else:
        if why := why_unreadable(path):
            raise ValueError(f"{path} cannot be read: {why}.")
        plane = to_plane(upright(open_picture(path)), size)
        yield itertools.repeat(plane[0].numpy())


def _checked(regions: Iterator[Region], size: tuple[int, int]) -> Iterator[Region]:
    first = next(regions)
    to_plane(first, size)
    return itertools.chain([first], regions)


def _fitting(model: OperatorMaskWrapper, region: Path | None) -> OperatorMaskWrapper:
    if region is not None and not model.region:
        raise ValueError("'--region' must not be given to a blind model.")
    return model
