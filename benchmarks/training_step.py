"""What share of a training step goes into perturbing? The paper's U-Net, or the small one.

Three ways to get composites, in one run: workers read and the training device perturbs, as the
training script does it; workers do both; and the reference pipeline of perturb.py, which perturbs
one sample after another between reading and training, and is timed on the same photos. Prints the
median of every part of a step, and its share. On a CPU the clock counts the time of the
training process's own work, so that other processes, workers among them, make no difference.

With `--backbone small` that is the step of `examples/train_hscene.py --model om`, which has the
small network, 64 px and batches of 16. Otherwise images have 256 px.

    python benchmarks/training_step.py --data ADE20K_ROOT
    python benchmarks/training_step.py --data ADE20K_ROOT --backbone small --steps 40
    python benchmarks/training_step.py --device cuda --compile
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from perturb import SIZE, reference
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from opmask import OperatorMaskWrapper
from opmask.backbones import AttentionUNet, SmallUNet
from opmask.datasets import ADE20K, Composites, Resized, Sources, SyntheticScenes
from opmask.datasets.photos import Photos
from opmask.losses import charbonnier
from opmask.markdown import markdown_row, markdown_table
from opmask.perturb import REFERENCE_RGB, Perturber, collate, draw

PARTS = ("waiting", "perturbation", "forward", "backward")
HEADINGS = (
    "way", "waiting for data", "perturbation", "forward", "backward, optimizer", "step",
)  # fmt: skip
SCENES = 64
RATE = 2e-4  # the paper's
# The network, the size of its images and, on a CPU, how many are in a batch.
BACKBONES = {"attention-unet": (AttentionUNet, SIZE, 4), "small": (SmallUNet, 64, 16)}


class Clock:
    """Seconds of each part of each step, the work of the device included."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: dict[str, list[float]] = defaultdict(list)
        self.last = self.now()

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def lap(self, part: str) -> None:
        """Ends a part, and begins the next one."""
        now = self.now()
        self.laps[part].append(now - self.last)
        self.last = now

    def medians(self) -> dict[str, float]:
        """In milliseconds, without the first step, in which workers start and filters compile."""
        return {part: 1000 * statistics.median(laps[1:]) for part, laps in self.laps.items()}


def measure(
    name: str, data: Sources | Composites, model: nn.Module, args: argparse.Namespace
) -> dict[str, float]:
    """The median times of steps on what workers read, or read and perturb."""
    total, size = (args.steps + 1) * args.batch_size, args.batch_size
    batches = [range(start, start + size) for start in range(0, total, size)]
    only_read = isinstance(data, Sources)
    loader = iter(
        DataLoader(
            data,
            batch_sampler=batches,
            num_workers=args.workers,
            collate_fn=None if only_read else collate,
        )
    )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, RATE, betas=(0.9, 0.99))
    clock = Clock(args.device)
    for _ in tqdm(batches, name):
        read, *seeds = next(loader) if only_read else [next(loader)]
        batch = read.to(args.device)
        clock.lap("waiting")
        if only_read:
            batch = data.composites.compose(batch, *seeds)
        clock.lap("perturbation")
        loss = charbonnier(model(batch.composite).image, batch.real)
        clock.lap("forward")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clock.lap("backward")
    return clock.medians()


def reference_time(composites: Composites, args: argparse.Namespace) -> float:
    """The median time that the reference takes to perturb a batch, in milliseconds."""
    settings, times = replace(REFERENCE_RGB, degradation_rate=0.0), []
    for step in tqdm(range(args.steps), "reference"):
        spent = 0.0
        for position in range(step * args.batch_size, (step + 1) * args.batch_size):
            (image, label_map, _), seed = composites.source(position)
            applied = draw(label_map, seed, settings)
            photo, labels = image.permute(1, 2, 0).contiguous().numpy(), label_map.numpy()
            start = time.process_time()
            reference(photo, labels, applied, seed, size=len(labels))
            spent += time.process_time() - start
        times.append(spent)
    return 1000 * statistics.median(times)


def row(name: str, times: dict[str, float]) -> str:
    whole = sum(times.values())
    cells = [f"{times[part]:.1f} ({times[part] / whole:.1%})" for part in PARTS]
    return markdown_row([name, *cells, f"{whole:.0f}"])


def composites_of(root: Path | None, size: int, compile: bool) -> Composites:
    """Composites of photos as the training script crops and resizes them."""
    photos: Photos = SyntheticScenes(SCENES, size=size)
    # Drawing scenes is no part of training: that is done beforehand. Photos are read as it goes.
    photos = Resized(ADE20K(root, "training"), size) if root else list(tqdm(photos, "scenes"))
    return Composites(photos, Perturber(compile=compile), crop=size, shuffle=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="root as ADE20K's; default: synthetic scenes")
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--backbone", choices=BACKBONES, default="attention-unet")
    parser.add_argument("--batch-size", type=int, help="default: 4 or 16 on a CPU, else 64")
    parser.add_argument("--steps", type=int, default=8, help="of each way, after a first one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="compile the filters")
    args = parser.parse_args()
    network, size, few = BACKBONES[args.backbone]
    args.batch_size = args.batch_size or (few if args.device.type == "cpu" else 64)
    cv2.setNumThreads(1)
    composites = composites_of(args.data, size, args.compile)
    model = OperatorMaskWrapper(network()).to(args.device)
    model = model.to(memory_format=torch.channels_last)
    read = measure("workers read", Sources(composites), model, args)
    both = measure("workers do both", composites, model, args)
    theirs = {**read, "perturbation": reference_time(composites, args)}
    setting = f"{args.backbone}, {size} px, batches of {args.batch_size}, {args.workers} workers"
    print(f"{setting}, {args.device}; medians in ms")
    print(markdown_table(HEADINGS, rules=["---"] * len(HEADINGS)))
    print(row("workers read, the device perturbs", read))
    print(row("workers read and perturb", both))
    print(row("reference pipeline, in the training process", theirs))
    times = f"{theirs['perturbation'] / read['perturbation']:.1f}"
    print(f"\nPerturbing on the device: the reference takes {times} times as long.")


if __name__ == "__main__":
    main()
