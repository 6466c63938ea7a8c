r"""The work of `opmask harmonize`: photos are read, harmonized and written, one after another.

It is a module of its own because it imports torch, which help and checks of names do not need.

Jobs -> :func:`harmonize_jobs` -> files, and a report.
"""

from __future__ import annotations

import filecmp
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from opmask.checkpoints import load
from opmask.cli.errors import EXPECTED, in_words_of_the_command
from opmask.cli.options import RegionOptions
from opmask.cli.photos import EDIT, Job
from opmask.cli.reporting import Report
from opmask.color import to_levels
from opmask.files import replacing
from opmask.files.decoding import LARGEST
from opmask.files.exif import upright
from opmask.files.photo import Photo, read_photo
from opmask.files.pictures import open_picture
from opmask.files.regions import boxes_region, inverted, label_region, soft, strokes_region
from opmask.files.saving import check_writable, write_photo
from opmask.inference import Edit, plan
from opmask.inference.explain import Explanation
from opmask.inference.panel import draw_panel
from opmask.inference.plan import check_options
from opmask.inference.regions import shrink, tells_where, to_plane
from opmask.wrapper import OperatorMaskWrapper
from opmask.wrapper.model import fit_longer_side, resize
from opmask.wrapper.sizes import SMALLEST

CHANGED = 4
"""The levels of 255 above which a pixel counts as changed, as in :mod:`opmask.metrics`."""

NEXT_TO_NOTHING = 0.005
"""The share of a photo that must visibly change, or a model that was told nothing was not sure."""


@dataclass(frozen=True)
class Settings:
    """What decides how photos are harmonized, as on the command line."""

    model: Path | None = None
    strength: float | str = "auto"
    work_size: int = 256
    device: str | None = None
    region: RegionOptions = field(default_factory=RegionOptions)
    max_pixels: int | None = None
    compile: bool = False


def harmonize_jobs(
    jobs: Sequence[Job],
    settings: Settings,
    report: Report,
    network: OperatorMaskWrapper | None = None,
) -> None:
    """Harmonizes photos; one that fails is reported, and the others go on.

    The model is loaded when it is needed, unless there is a `network` already.

    Raises:
        ValueError: If the settings are refused, which holds for all photos.
    """
    check_options(settings.strength, settings.work_size, settings.region.refining)
    place = find_device(settings.device)
    for job in tqdm(jobs, unit="photo", disable=None if len(jobs) > 1 else True):
        try:
            photo = open_photo(job.photo, settings.max_pixels)
            lost = check_out(photo, job.out)
            area = read_region(photo, job.region, settings.region, settings.work_size)
        except EXPECTED as error:
            report.failed(job, error)
            continue
        if network is None:
            network = load_model(settings.model, guided=area is not None).to(place)
        try:
            notes = [f"{path} was there, and stays." for path in job.kept]
            edit = make_plan(network, photo, area, settings, notes)
            after = write(edit, photo, job, compile=settings.compile)
            hint = where_to_tell(edit) if network.region else None
            said = [*notes, *photo.remarks, *lost]
            trusted = _trusted(edit) if settings.strength == "auto" else None
            _report(report, job, photo, after, edit.region, said, hint, trusted)
        except EXPECTED as error:
            report.failed(job, error)


def write(edit: Edit, photo: Photo, job: Job, *, compile: bool = False) -> Photo:
    """Writes all that a job asks for and that is not kept, or nothing; the photo as it is there.

    Raises:
        ValueError: If a file that is kept is another one than would be written.
    """
    after = edit.render(photo, compile=compile)
    writers: dict[Path | None, Callable[[Path], object]] = {
        job.out: lambda path: write_photo(after, path),
        job.edit: edit.save,
        job.panel: lambda path: save_panel(edit.explain(photo), path),
    }
    for path in job.kept:
        _check_same(path, writers[path])
    with ExitStack() as stack:  # what is begun first appears last: the photo
        for path in job.outputs:
            if path not in job.kept:
                writers[path](stack.enter_context(replacing(path)))
    return after


def _check_same(path: Path, write: Callable[[Path], object]) -> None:
    """Raises unless a file holds what would be written; of pictures, the same pixels."""
    with tempfile.TemporaryDirectory(prefix="opmask-") as folder:
        new = Path(folder, path.name)
        write(new)
        if path.suffix == EDIT:
            same = filecmp.cmp(path, new, shallow=False)
        else:
            found, wanted = (read_photo(file, max_pixels=sys.maxsize) for file in (path, new))
            same = np.array_equal(found.pixels, wanted.pixels)
    if not same:
        raise ValueError(
            f"{path} is there already, and other than these options make it. Choose another "
            "folder; --overwrite replaces it."
        )


def plan_one(photo: Photo, region: Path | None, settings: Settings, notes: list[str]) -> Edit:
    """The edit of a photo that is the only one; `notes` are added to."""
    area = read_region(photo, region, settings.region, settings.work_size)
    place = find_device(settings.device)
    network = load_model(settings.model, guided=area is not None).to(place)
    return make_plan(network, photo, area, settings, notes)


def make_plan(
    network: OperatorMaskWrapper,
    photo: Photo,
    area: Tensor | None,
    settings: Settings,
    notes: list[str],
) -> Edit:
    """The edit of one photo; what is to be said of its region is added to `notes`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        edit = plan(
            network,
            photo,
            region=area,
            refine=settings.region.refining,
            strength=settings.strength,
            work_size=settings.work_size,
        )
    assert isinstance(edit, Edit)
    notes += [f"{str(w.message)[0].upper()}{str(w.message)[1:]}" for w in caught]
    if edit.region is not None and not _is_told(edit.region, area):
        share = edit.region.float().clamp_min(0).mean().item()
        notes.append(f"The region was refined, to {share:.0%} of the photo.")
    return edit


def _is_told(region: Tensor, area: Tensor | None) -> bool:
    """Whether an edit has the region that was told, at its own size."""
    if area is None:
        return True
    return region.equal(shrink(area.float(), (region.shape[-2], region.shape[-1])).to(region))


def open_photo(path: Path, max_pixels: int | None, *, smallest: int = SMALLEST) -> Photo:
    """A photo that is large enough; `--max-pixels` lifts the limit of what is too large."""
    photo = read_photo(path, max_pixels=max_pixels or LARGEST)
    height, width = photo.size
    if min(height, width) < smallest:
        raise ValueError(
            f"{path} must be of at least {smallest}x{smallest} pixels, got {width}x{height}."
        )
    return photo


def check_out(photo: Photo, out: Path, name: str = "--out") -> tuple[str, ...]:
    """Refuses an output that could not hold the photo; what it will not hold."""
    with in_words_of_the_command({"'path'": f"'{name}'"}):
        return check_writable(photo, out)


def read_region(
    photo: Photo, path: Path | None, options: RegionOptions, work_size: int
) -> Tensor | None:
    """The region of a photo at the size of its masks; None if nothing is told of it."""
    with in_words_of_the_command({"'region'": path} if path else {}):
        plane = _region(photo, path, options)
    # Of the size of the photo it would take as much memory as that.
    return None if plane is None else shrink(plane, fit_longer_side(photo.size, work_size))


def _region(photo: Photo, path: Path | None, options: RegionOptions) -> Tensor | None:
    height, width = photo.size
    if options.alpha:
        if photo.alpha is None:
            raise ValueError("'--alpha' must go with a photo that has alpha, got one without.")
        region = photo.alpha if photo.pixels.dtype.kind == "f" else soft(photo.alpha, "alpha")
    elif options.boxes:
        region = boxes_region(options.boxes, photo.size)
    elif path is None:
        return None
    else:
        picture = upright(open_picture(path))
        if options.label is not None:
            region = label_region(picture, options.label)
        elif options.strokes:
            region = strokes_region(picture)
        else:
            plane = to_plane(picture, photo.size)
            return 1 - plane if options.invert else plane
    return to_plane(inverted(region) if options.invert else region, (height, width))


def load_model(path: Path | None, *, guided: bool) -> OperatorMaskWrapper:
    """The model of a file, or the bundled one; one without masks is refused."""
    network = load(path)
    if not isinstance(network, OperatorMaskWrapper):
        raise ValueError(f"'--model' must be one that predicts masks, got {path}, which has none.")
    if guided and not network.region:
        raise ValueError(f"'--model' must be one that takes a region, got {path}, which is blind.")
    return network


def find_device(name: str | None) -> torch.device:
    """The device of a name, or what there is; one that does not work is refused."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without it
        reason = str(error).splitlines()[0].partition(". ")[0].rstrip(".")
        raise ValueError(
            f"'--device' must be one that works, got {name!r}: {reason}. Try cpu."
        ) from error
    return torch.device(name)


def save_region_of(edit: Edit, path: Path) -> None:
    """Draws the region that an edit is for, white inside and black outside, as large as its photo.

    What is unknown is transparent, as in pictures of strokes.

    Raises:
        ValueError: If it is for none.
    """
    if edit.region is None:
        raise ValueError(
            "'--save-region' must go with a region, or an edit that was planned for one."
        )
    region, size = edit.region.float(), edit.source.size
    plane = resize(region.clamp_min(0), size)
    levels = to_levels(plane)[0, 0].cpu().numpy()
    if (region < 0).any():
        known = F.interpolate((region >= 0).float(), size)[0, 0] > 0
        white = np.where(levels > 127, 255, 0)
        levels = np.stack([white, 255 * known.cpu().numpy()], -1).astype(np.uint8)
    with replacing(path) as temporary:
        Image.fromarray(levels).save(temporary)


def save_panel(explanation: Explanation, path: Path) -> None:
    """Draws what an edit does to a photo."""
    picture = draw_panel(explanation)
    with replacing(path) as temporary:
        picture.save(temporary, quality=95)


def changed_share(before: np.ndarray, after: np.ndarray, white: float = 255) -> float:
    r"""The share of a picture's pixels of which a channel has changed visibly.

    Args:
        before: The pixels, with shape :math:`(H, W, C)`.
        after: What became of them, with the same shape and type.
        white: The level of white.

    Returns:
        The share of pixels that moved by more than :data:`CHANGED` of 255 levels, in
        :math:`[0, 1]`.

    Example:
        >>> grey = np.full((1, 4, 3), 100, np.uint8)
        >>> changed_share(grey, grey + np.array([0, 5, 0], np.uint8))
        1.0
    """
    count = 0
    for old, new in zip(before, after, strict=True):  # a row at a time, in little memory
        moved = np.abs(new.astype(np.float32) - old.astype(np.float32)).max(-1)
        count += int((moved > CHANGED / 255 * white).sum())
    return count / (before.shape[0] * before.shape[1])


def where_to_tell(edit: Edit) -> str | None:
    """How to tell a model where, if it was not told and did less for lack of trust."""
    told = edit.region is not None and tells_where(edit.region)
    if told or not any(a.region is not None for a in edit.adjustments[:1]):
        return None
    if edit.region is None:
        return "the model is not sure where, so tell it: --region, --box or --strokes"
    return "the region says only what was not changed, so tell the model also what was"


def _trusted(edit: Edit) -> float | None:
    """The strength with which a region was changed that a model was told, if not in full."""
    first = edit.adjustments[:1]
    return first[0].strength if first and first[0].region is None else None


def _report(
    report: Report,
    job: Job,
    before: Photo,
    after: Photo,
    area: Tensor | None,
    notes: Sequence[str],
    hint: str | None,
    trusted: float | None,
) -> None:
    share = changed_share(before.pixels, after.pixels, before.levels)
    remark = f"{share:.0%} of it visibly changed"
    if trusted is not None:
        remark += f", at strength {trusted:.2f}"
    if area is not None and not area.any():
        remark = "nothing is selected, so it stays as it is"
    elif area is not None and bool((area == 1).all()):
        remark += "; all of it is selected, so there is nothing to match it with"
    elif hint and share < NEXT_TO_NOTHING:
        remark += f"; {hint}"
    height, width = after.size
    report.written(job, remark, notes, width=width, height=height, changed=share)
