"""What `evaluate.py` scores on, and how: sample sets, pictures, masks and speed."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import opmask
from opmask.backbones import paste
from opmask.datasets import Composites, IHarmony4, Triptychs
from opmask.files import replacing
from opmask.files.pictures import check_opaque, open_picture, picture_files, to_rgb
from opmask.fitting import fit_masks
from opmask.losses import LPIPS
from opmask.metrics import (
    PROTOCOLS,
    MaskError,
    mask_error,
    reference_panel,
    reference_rgb_panel,
    score_outputs,
    to_uint8,
)
from opmask.metrics.localization import SWEEP
from opmask.perturb import (
    DEFAULT,
    REFERENCE,
    REFERENCE_RGB,
    Composite,
    CompositeBatch,
    collate,
    composite,
    draw,
)
from reproduction import data
from reproduction.data import on_device, validation_loader
from reproduction.train import inputs_of

WARM_UP, TIMED = 3, 20  # calls
Pictures = Callable[[Tensor], np.ndarray]


@dataclass(frozen=True)
class Target:
    """What is scored on, and how: composites of photos, or one of two kinds of pictures.

    Args:
        size: Height and width of the images, in pixels.
        protocol: One of PROTOCOLS.
        data: The root of the photos; else synthetic scenes.
        triptychs: A folder of real | composite | region.
        iharmony4: The root of iHarmony4.
        split: The split of iHarmony4.
        subset: The subset of iHarmony4; else all.
        inverted: Whether its masks are black where the composites were changed.
        recompress: Whether composites lose the traces that only synthetic ones have.
        workers: Data loading processes.
        paneled: Whether pictures go through the lossy chain of the paper's script (D-14).
    """

    size: int
    protocol: str = "opmask"
    data: Path | None = None
    triptychs: Path | None = None
    iharmony4: Path | None = None
    split: str = "test"
    subset: str | None = None
    inverted: bool = False
    recompress: bool = False
    workers: int = 0
    paneled: bool = False


class Samples(NamedTuple):
    """What is scored on, in batches; the name of each image, and its subset if it has one."""

    loader: DataLoader[Composite]
    names: list[str]
    subsets: list[str] = []

    def labelled(self, rows: list[dict[str, float]]) -> list[dict[str, str | float]]:
        """The scores of the images, in order, with their names and subsets."""
        told = [{"name": name} for name in self.names]
        for who, subset in zip(told, self.subsets, strict=bool(self.subsets)):
            who["subset"] = subset
        return [{**who, **row} for who, row in zip(told, rows, strict=True)]


def open_samples(target: Target, model: nn.Module | None, batch: int = 16) -> Samples:
    """The samples for one model; the reference code reads its pictures in the model's colours."""
    size, workers, subsets = target.size, target.workers, []
    if target.iharmony4:
        how = PROTOCOLS[target.protocol].interpolation
        where = target.iharmony4, target.split, target.subset
        samples = IHarmony4(*where, size=size, interpolation=how)
        samples.inverted = target.inverted
        names, subsets = [path.stem for path in samples.paths], samples.subsets
    elif target.triptychs:
        rgb = isinstance(model, opmask.DirectRGB)
        settings = (REFERENCE_RGB if rgb else REFERENCE) if target.paneled else DEFAULT
        samples = Triptychs(target.triptychs, settings, size=size)
        names = [path.stem for path in samples.paths]
    else:
        loader = validation_loader(target.data, size, workers, recompress=target.recompress)
        samples = loader.dataset
        names = [f"{position:06d}" for position in range(len(loader.sampler))]
    positions = range(len(names))
    loader = DataLoader(samples, batch, sampler=positions, num_workers=workers, collate_fn=collate)
    return Samples(loader, names, subsets)


class Pasted(nn.Module):
    """A model whose images are pasted into their composites by the region."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.region = model, True

    def forward(self, image: Tensor, region: Tensor) -> opmask.Retouched:
        result = self.model(image, region) if self.model.region else self.model(image)
        return opmask.Retouched(paste(result.image, image, region), result.masks)


def write_notes(
    path: Path,
    scores: Mapping[str, Sequence[object]],
    target: Target,
    speeds: Mapping[str, Speed] | None = None,
    *,
    made: bool = False,
) -> None:
    """What the scores in a CSV beside the file were measured on; `made` of synthetic scenes."""
    data = None if made else target.data or target.triptychs or target.iharmony4
    notes = {
        "data": "synthetic scenes" if data is None else data.resolve().name,
        "images": len(scores["composite"]),
        "size": target.size,
        "protocol": target.protocol,
        "recompressed": target.recompress,
        "seconds": {name: round(speed.whole, 1) for name, speed in (speeds or {}).items()},
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(notes, indent=1) + "\n")


def panels(model: nn.Module | None) -> tuple[Pictures, Pictures]:
    """How outputs and real images become pictures in the paper's script, by a lossy chain."""
    rgb = isinstance(model, opmask.DirectRGB)
    panel = reference_rgb_panel if rgb else reference_panel

    def space(image: Tensor) -> Tensor:
        return 2 * image - 1 if rgb else opmask.LAB_CENTERED.from_rgb(image.double())

    def known(image: Tensor) -> Tensor:
        # Read as 8-bit codes, and to be cut off again: float32 must not decide which way.
        codes = (255 * (space(image) + 1) / 2).round().float()
        return panel((codes / 255 - 0.5) / 0.5)

    return (known if model is None else lambda image: panel(space(image))), known


def score_folder(
    folder: Path, samples: Samples, protocol: str, networks: list[LPIPS]
) -> list[dict[str, float]]:
    """Scores the pictures that some program made of the samples."""
    files = {path.stem: path for path in picture_files(folder)}
    missing = [name for name in samples.names if name not in files]
    if missing:
        raise SystemExit(
            f"--outputs must hold a picture for each of {len(samples.names)} samples, but "
            f"{len(missing)} are missing, such as {missing[0]}."
        )
    rows = []
    for name, sample in zip(samples.names, samples.loader, strict=True):
        picture = open_picture(files[name])
        check_opaque(picture, str(files[name]))
        output = torch.from_numpy(to_rgb(picture)).permute(2, 0, 1)[None].to(sample.real) / 255
        if output.shape != sample.real.shape:
            raise SystemExit(
                f"{files[name]} must be {sample.real.shape[2]}x{sample.real.shape[3]} as its "
                f"sample, got {output.shape[2]}x{output.shape[3]}. See --size."
            )
        rows += score_outputs(output, sample, protocol=protocol, lpips=networks, levels=SWEEP)
    return rows


@torch.no_grad()
def score_masks(
    model: opmask.OperatorMaskWrapper, composites: Composites, device: str
) -> dict[str, MaskError]:
    """How far the masks are from constants that undo what was done to each region."""
    images = []
    for position in tqdm(range(max(len(composites), data.VALIDATION)), "masks", leave=False):
        (photo, label_map, _), seed = composites.source(position)
        applied = draw(label_map, seed, composites.perturber.settings)
        made = composite(photo, label_map, applied, size=composites.size)
        regions = applied.region_map(label_map, made.real.shape[1:])
        sample = collate([made]).to(device)
        with torch.enable_grad():
            fitted = fit_masks(model.retoucher, *sample[:2], regions[None].to(device))
        masks = model(*inputs_of(model, sample)).masks
        identity = model.retoucher.identity(sample.composite)
        images.append(mask_error(masks, fitted, identity, sample.region))
    return {
        name: MaskError(
            torch.cat([errors[name].error for errors in images]),
            torch.cat([errors[name].identity for errors in images]),
        )
        for name in images[0]
    }


class Speed(NamedTuple):
    """Both timings: the paper's, over the whole set one by one, and the model's alone."""

    images: int
    whole: float  # seconds
    alone: float  # milliseconds

    def describe(self, device: str) -> str:
        return (
            f"end to end (reading, model, writing PNG, one by one): {self.whole:.1f} s, "
            f"{1000 * self.whole / self.images:.1f} ms an image; forward and retouch alone: "
            f"{self.alone:.1f} ms (median of {TIMED} after {WARM_UP} to warm up, on {device})"
        )


@torch.no_grad()
def measure_speed(model: nn.Module, target: Target, device: torch.device) -> Speed:
    samples = open_samples(target, model, batch=1)

    def run(sample: CompositeBatch) -> Tensor:
        return model(*inputs_of(model, sample)).image

    def synchronized() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for name, sample in zip(samples.names, on_device(samples.loader, device), strict=True):
            Image.fromarray(to_uint8(run(sample))[0]).save(Path(folder, f"{name}.png"))
        whole = time.perf_counter() - start
    times = []
    for _ in range(WARM_UP + TIMED):
        start = synchronized()
        run(sample)
        times.append(synchronized() - start)
    return Speed(len(samples.names), whole, 1000 * sorted(times[WARM_UP:])[TIMED // 2])
