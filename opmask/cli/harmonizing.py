r"""The work of `opmask harmonize`: photos are read, harmonized and written, one after another.

It is a module of its own because it imports torch, which help and checks of names do not need.

Jobs -> :func:`harmonize_jobs` -> files, and a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from opmask.checkpoints import load
from opmask.cli.errors import EXPECTED
from opmask.cli.photos import Job
from opmask.cli.reporting import Report
from opmask.cli.saving import check_saving, saving_options
from opmask.files import replacing
from opmask.files.exif import upright
from opmask.files.pictures import open_picture
from opmask.inference.images import changed_share, check_mode, kept_info
from opmask.inference.plan import check_options, check_size, harmonize
from opmask.inference.regions import to_plane
from opmask.wrapper import OperatorMaskWrapper


@dataclass(frozen=True)
class Settings:
    """What decides how photos are harmonized, as on the command line."""

    model: Path | None
    strength: float | str
    work_size: int
    device: str | None


def harmonize_jobs(jobs: Sequence[Job], settings: Settings, report: Report) -> None:
    """Harmonizes photos; one that fails is reported, and the others go on.

    Raises:
        ValueError: If the settings are refused, which holds for all photos.
    """
    check_options(settings.strength, settings.work_size)
    place, network = _device(settings.device), None
    for job in tqdm(jobs, unit="photo", disable=None if len(jobs) > 1 else True):
        try:
            photo, area = _read(job)
        except EXPECTED as error:
            report.failed(job, error)
            continue
        if network is None:
            network = _network(settings.model, guided=area is not None).to(place)
        try:
            after = harmonize(
                network,
                photo,
                region=area,
                strength=settings.strength,
                work_size=settings.work_size,
            )
            _write(after, job.out)
            _report(report, job, photo, after, area)
        except EXPECTED as error:
            report.failed(job, error)


def _read(job: Job) -> tuple[Image.Image, Tensor | None]:
    """The photo, upright, and its region; what cannot be used is refused."""
    photo = upright(open_picture(job.photo))
    check_mode(photo)
    check_size((photo.height, photo.width))
    check_saving(photo, job.out, saving_options(job.out))
    if job.region is None:
        return photo, None
    return photo, to_plane(open_picture(job.region), (photo.height, photo.width))


def _network(path: Path | None, *, guided: bool) -> OperatorMaskWrapper:
    network = load(path)
    if not isinstance(network, OperatorMaskWrapper):
        raise ValueError(f"'--model' must be one that predicts masks, got {path}, which has none.")
    if guided and not network.region:
        raise ValueError(f"'region' must be None for a blind model, such as {path}.")
    return network


def _write(picture: Image.Image, out: Path) -> None:
    with replacing(out) as temporary:
        picture.save(temporary, **saving_options(out), **kept_info(picture))


def _report(
    report: Report, job: Job, before: Image.Image, after: Image.Image, area: Tensor | None
) -> None:
    share = changed_share(before, after)
    remark = f"{share:.0%} of it visibly changed"
    if area is not None and not area.any():
        remark = "nothing is selected, so it stays as it is"
    elif area is not None and bool((area == 1).all()):
        remark += "; all of it is selected, so there is nothing to match it with"
    width, height = after.size
    report.written(job, remark, width=width, height=height, changed=share)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without it
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"'--device' must be one that works, got {name!r}: {reason}. Try cpu."
        ) from error
    return torch.device(name)
