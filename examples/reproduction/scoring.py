"""What `evaluate.py` scores on, and how: sample sets, pictures, masks and speed."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

import opmask
from opmask.datasets import Sample, Triptychs
from opmask.datasets.iharmony4 import IHarmony4, resize_triple, to_sample
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
from opmask.perturb import DEFAULT, REFERENCE, REFERENCE_RGB, composite, draw
from reproduction import report
from reproduction.report import inputs, moved, validation_loader, validation_set

WARM_UP, TIMED = 3, 20  # calls
Pictures = Callable[[Tensor], np.ndarray]


class Samples(NamedTuple):
    """What is scored on, in batches, and the name of each image."""

    loader: DataLoader[Sample]
    names: list[str]


class Harmony(Dataset[Sample]):
    """iHarmony4, resized as the code does whose protocol it is."""

    def __init__(self, triples: IHarmony4, size: int, interpolation: str) -> None:
        self.triples, self.size, self.interpolation = triples, size, interpolation

    def __getitem__(self, index: int) -> Sample:
        triple = resize_triple(self.triples[index], self.size, self.interpolation)
        return to_sample(triple, index)


def open_samples(args: argparse.Namespace, model: nn.Module | None, batch: int = 16) -> Samples:
    """The samples for one model; the reference code reads its pictures in the model's colours."""
    if args.iharmony4:
        triples = IHarmony4(args.iharmony4, args.split, args.subset)
        data = Harmony(triples, args.size, PROTOCOLS[args.protocol].interpolation)
        names = [path.stem for path in triples.paths]
    elif args.triptychs:
        rgb = isinstance(model, opmask.DirectRGB)
        settings = (REFERENCE_RGB if rgb else REFERENCE) if paneled(args) else DEFAULT
        data = Triptychs(args.triptychs, settings, size=args.size)
        names = [path.stem for path in data.paths]
    else:
        data = validation_loader(args.data, args.size, args.workers, recompress=args.recompress)
        data, count = data.dataset, len(data.sampler)
        names = [f"{position:06d}" for position in range(count)]
    loader = DataLoader(data, batch, sampler=range(len(names)), num_workers=args.workers)
    return Samples(loader, names)


def paneled(args: argparse.Namespace) -> bool:
    """Whether pictures go through the lossy chain of the paper's script (D-14)."""
    return bool(args.triptychs) and args.protocol == "reference" and args.outputs is None


def panels(args: argparse.Namespace, model: nn.Module | None) -> tuple[Pictures, Pictures] | None:
    """How outputs and real images become pictures, if not simply by rounding."""
    if not paneled(args):
        return None
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
    model: opmask.OperatorMaskWrapper, args: argparse.Namespace
) -> dict[str, MaskError]:
    """How far the masks are from constants that undo what was done to each region."""
    composites, found = validation_set(args.data, args.size, args.workers), []
    count = max(len(composites), report.VALIDATION)
    for position in tqdm(range(count), "masks", leave=False):
        photo, label_map, _, seed = composites.source(position)
        applied = draw(label_map, seed, composites.perturber.settings)
        made = composite(photo, label_map, applied, size=args.size)
        regions = applied.region_map(label_map, made.real.shape[1:])
        images = [plane[None].to(args.device) for plane in made[:3]]
        with torch.enable_grad():
            fitted = fit_masks(model.retoucher, *images[:2], regions[None].to(args.device))
        image, region = images[0], images[2]
        masks = model(*((image, region) if model.region else (image,))).masks
        found.append(mask_error(masks, fitted, model.retoucher.identity(image), region))
    return {
        name: MaskError(
            torch.cat([errors[name].error for errors in found]),
            torch.cat([errors[name].identity for errors in found]),
        )
        for name in found[0]
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
def measure_speed(model: nn.Module, args: argparse.Namespace) -> Speed:
    samples, device = open_samples(args, model, batch=1), torch.device(args.device)

    def run(sample: Sample) -> Tensor:
        return model(*inputs(sample, model.region)).image

    def synchronized() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for name, sample in zip(samples.names, moved(samples.loader, device), strict=True):
            Image.fromarray(to_uint8(run(sample))[0]).save(Path(folder, f"{name}.png"))
        whole = time.perf_counter() - start
    times = []
    for _ in range(WARM_UP + TIMED):
        start = synchronized()
        run(sample)
        times.append(synchronized() - start)
    return Speed(len(samples.names), whole, 1000 * sorted(times[WARM_UP:])[TIMED // 2])
