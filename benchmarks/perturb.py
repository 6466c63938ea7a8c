"""How fast are composites made? opmask's engine beside the reference pipeline, in one run.

The reference is what the paper's code does to a sample, written down here with pilgram, Pillow,
NumPy and OpenCV: one whole-image filter after another, put together in RGB for the paper's RGB
models and in 8-bit LAB for its operator masks. Both make the same composites of the same photos
from the same records, and every one is compared while the clock stands still. One thread, and one
setting of the memory allocator for both; the clock counts the processor's time, and both take
turns on each photo.

Both start from 8-bit arrays, draw the regions, and end in the same tensors: RGB of composite and
real in [-1, 1] for the rows "RGB", and LAB in [-1, 1] for the rows "LAB". A sample of opmask's is
RGB in any case; the rows "LAB to RGB" add that conversion of two images, the same one to both.

    python benchmarks/perturb.py --data ADE20K_ROOT
    python benchmarks/perturb.py --data ADE20K_ROOT --no-opencv   # opmask's own forms only
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pilgram
import pilgram.css
import torch
from allocator import keep_memory
from PIL import Image
from torch import Tensor

from opmask.color import opencv
from opmask.datasets import ADE20K, SyntheticScenes
from opmask.markdown import markdown_row, markdown_table
from opmask.perturb import (
    DEFAULT,
    REFERENCE,
    REFERENCE_RGB,
    Filter,
    LabScaling8,
    PerturbationRecord,
    Perturber,
    Settings,
    composite,
    draw,
)
from opmask.perturb.regions import choose_regions
from opmask.perturb.rng import make_rng

SIZE = 256
KINDS = ((REFERENCE_RGB, "RGB"), (REFERENCE, "LAB"), (REFERENCE, "LAB to RGB"))
Sample = tuple[Tensor, Tensor, PerturbationRecord]
HEADINGS = (
    "data", "size", "K", "photos", "reference ms", "opmask ms", "gain",
)  # fmt: skip


def changed_by(photo: np.ndarray, perturbation: Filter | LabScaling8) -> np.ndarray:
    """One change of the whole photo."""
    if isinstance(perturbation, LabScaling8):
        lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB) * np.array(perturbation.factors)
        return cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
    module = pilgram.css if perturbation.name in pilgram.css.__all__ else pilgram
    name = "_1977" if perturbation.name == "1977" else perturbation.name
    amount = () if perturbation.amount is None else (perturbation.amount,)
    return np.array(getattr(module, name)(Image.fromarray(photo), *amount))


def reference(
    photo: np.ndarray,
    labels: np.ndarray,
    applied: PerturbationRecord,
    seed: int,
    to_rgb: Callable[[Tensor], Tensor] | None = None,
    size: int = SIZE,
) -> list[Tensor]:
    """The reference pipeline, from 8-bit arrays to tensors in [-1, 1] or RGB, and the region."""
    choose_regions_numpy(labels, seed)
    is_lab = applied.compositing.name == REFERENCE.compositing.name
    real = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB) if is_lab else photo
    comp, union = real.astype(np.float64), np.zeros(labels.shape)
    for change in applied.regions:
        fake = photo
        for perturbation in change.perturbations:
            fake = changed_by(fake, perturbation)
        if is_lab:
            fake = cv2.cvtColor(fake, cv2.COLOR_RGB2LAB)
        mask = (labels == change.label).astype(np.float64)
        comp = fake * mask[..., None] + comp * (1 - mask[..., None])
        union = union + mask
    comp, real, union = (
        cv2.resize(plane, (size, size)) for plane in (comp, real, union[..., None])
    )
    if to_rgb is None:
        planes = [2 * (plane.astype(np.float32) / 255) - 1 for plane in (comp, real)]
        tensors = [torch.from_numpy(plane).permute(2, 0, 1).contiguous() for plane in planes]
    else:
        codes = [torch.from_numpy(plane).permute(2, 0, 1).contiguous() for plane in (comp, real)]
        tensors = [to_rgb(plane) for plane in codes]
    return [*tensors, torch.from_numpy(union.astype(np.float32))[None]]


def choose_regions_numpy(labels: np.ndarray, seed: int) -> None:
    """The draw of regions, which is part of both pipelines."""
    present = np.unique(labels)
    np.random.default_rng(seed).choice(present, len(present) // 5 + 1)


def ours(image: Tensor, labels: Tensor, applied: PerturbationRecord, seed: int) -> list[Tensor]:
    """The engine, draw of regions included."""
    choose_regions(labels, make_rng(seed))
    return list(composite(image, labels, applied, size=SIZE)[:3])


def to_reference(codes: Tensor) -> Tensor:
    """The tensor of codes that the reference hands to its models, in [-1, 1]."""
    return codes.float().div_(127.5).sub_(1)


def ending_as(settings: Settings, name: str) -> Settings:
    """Settings of which composites end in the reference's tensors, unless they end in RGB."""
    if name.endswith("to RGB"):
        return settings
    return replace(settings, compositing=replace(settings.compositing, to_rgb=to_reference))


def samples(
    photos: list[tuple[Tensor, Tensor]], regions: int, native: bool, settings: Settings
) -> list[Sample]:
    """Photos with a record of so many regions, drawn from the photo's labels."""
    made = []
    for seed, (image, labels) in enumerate(photos):
        if not native:
            array = cv2.resize(image.permute(1, 2, 0).numpy(), (SIZE, SIZE))
            image = torch.from_numpy(array).permute(2, 0, 1).contiguous()
            labels = torch.from_numpy(
                cv2.resize(labels.numpy(), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
            )
        present = [label for label in labels.unique().tolist() if label]
        if len(present) >= regions:
            made.append((image, labels, record(present, regions, seed, settings)))
    return made


def record(present: list[int], regions: int, seed: int, settings: Settings) -> PerturbationRecord:
    """Changes drawn as the reference draws them, on labels that were drawn."""
    settings = replace(settings, degradation_rate=0)
    rng, changes = make_rng(seed), []
    order = sorted(present, key=lambda _: rng.random())[:regions]
    for place, label in enumerate(order):
        single = torch.tensor([[label]])
        changes += draw(single, 1000 * seed + place, settings).regions
    return PerturbationRecord(seed, tuple(changes), None, settings.compositing)


def median_times(
    functions: list[Callable[[Sample, int], list[Tensor]]], data: list[Sample], repeats: int
) -> list[float]:
    """The mean over samples of each one's median time, in milliseconds; turns are taken."""
    times: list[list[list[float]]] = [[[] for _ in data] for _ in functions]
    for turn in range(repeats + 1):
        for index, sample in enumerate(data):
            outputs = []
            for function, table in zip(functions, times, strict=True):
                start = time.process_time()
                outputs.append(function(sample, index))
                if turn:
                    table[index].append(time.process_time() - start)
            for theirs, mine in zip(*outputs, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5)
    return [1000 * statistics.mean(map(statistics.median, table)) for table in times]


def load(root: Path | None, count: int) -> list[tuple[Tensor, Tensor]]:
    """Photos with the most classes of the first ones of a data set."""
    scenes = SyntheticScenes(count, size=512) if root is None else ADE20K(root, "validation")
    photos = [scenes[i][:2] for i in range(min(4 * count, len(scenes)))]
    return sorted(photos, key=lambda photo: -len(photo[1].unique()))[:count]


def rate(
    photos: list[tuple[Tensor, Tensor]], settings: Settings, device: str, batch: int, compile: bool
) -> float:
    """Images per second of whole batches at 256x256 on a device, drawing included."""
    small = samples(photos, 1, native=False, settings=settings)
    chosen = [small[i % len(small)] for i in range(batch)]
    images, labels = (torch.stack(part).to(device) for part in list(zip(*chosen, strict=True))[:2])
    perturber, rates = Perturber(settings, compile=compile), []
    for turn in range(8):
        start = time.perf_counter()
        seeds = range(turn * batch, (turn + 1) * batch)
        perturber(images, labels, seeds).composite[0, 0, 0, 0].item()
        rates.append(batch / (time.perf_counter() - start))
    return statistics.median(rates[3:])


def both_pipelines(name: str) -> list[Callable[[Sample, int], list[Tensor]]]:
    """The reference and opmask, as functions of a sample and its number."""
    to_rgb = REFERENCE.compositing.to_rgb if name.endswith("to RGB") else None
    return [
        lambda s, i: reference(s[0].permute(1, 2, 0).numpy(), s[1].numpy(), s[2], i, to_rgb),
        lambda s, i: ours(*s, i),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="root of ADE20K; default: synthetic scenes")
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-opencv", action="store_true", help="opmask goes without OpenCV")
    parser.add_argument("--device", default="cpu", help="of the measurement in batches")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if args.no_opencv:
        opencv.installed_opencv = lambda: None
    photos = load(args.data, args.photos)
    print(markdown_table(HEADINGS, rules=["---"] * len(HEADINGS)))
    for settings, name in KINDS:
        for native in (False, True):
            for regions in (1, 2, 3, 4):
                data = samples(photos, regions, native, ending_as(settings, name))
                theirs, mine = median_times(both_pipelines(name), data, args.repeats)
                times = [f"{theirs:.1f}", f"{mine:.2f}", f"x{theirs / mine:.1f}"]
                size = "native" if native else SIZE
                print(markdown_row([name, size, regions, len(data), *times]), flush=True)
    print(f"\nPerturber, {SIZE} px, batches of {args.batch}, drawing included, images/s:")
    for settings, name in ((DEFAULT, "DEFAULT"), (REFERENCE_RGB, "REFERENCE_RGB")):
        for compile in (False, True) if args.device == "cuda" else (False,):
            speed = rate(photos, settings, args.device, args.batch, compile)
            print(f"{name}, {args.device}, {'compiled' if compile else 'eager'}: {speed:.0f}")


if __name__ == "__main__":
    keep_memory()
    main()
