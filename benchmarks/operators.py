"""How fast are colours and retouching? opmask beside kornia, eager and compiled, in one run.

Two jobs on a batch of detailed photos: to LAB and back, and the six masks of the paper in LAB. The
competitor makes the same of kornia's `rgb_to_lab` and `lab_to_rgb`, with the clamps that it needs;
each is measured as it is and compiled by `torch.compile`, without gradients, and forward and
backward. Images that autograd keeps for the way back are counted, without the arguments.

All run on one thread and under one allocator, and take turns. What counts is the time of the
processor; ratios are medians over the turns. On a GPU (`--device cuda`) it is the time of the
device, and the share of the bandwidth that a copy of the same images reaches is printed too.

    python benchmarks/operators.py
    python benchmarks/operators.py --photo PHOTO --repeats 21
    python benchmarks/operators.py --device cuda --batch 64 --size 512
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import kornia.color
import numpy as np
import torch
import torch.nn.functional as F
from allocator import keep_memory
from PIL import Image
from torch import Tensor

import opmask
from opmask.datasets import SyntheticScenes
from opmask.markdown import markdown_table

HEADINGS = ("job", "gradients", "form", "kornia", "opmask", "kornia / opmask")
SCALE = (100.0, 128.0, 128.0)
"""What 1 is in each channel of opmask's LAB."""

Job = Callable[[Tensor, Tensor], Tensor]


def photos(path: Path | None, count: int, size: int) -> Tensor:
    """A batch of detailed images: parts of a photo, or drawn scenes with noise."""
    if path is None:
        scenes = SyntheticScenes(count, size=size)
        images = torch.stack([scenes[i][0] for i in range(count)]).float() / 255
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        return (images + 0.02 * noise).clamp(0, 1)
    with Image.open(path) as file:
        array = np.asarray(file.convert("RGB").resize((size, size)))
    image = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255
    return torch.stack([image.roll(9 * i, -1) for i in range(count)])


def smooth_masks(image: Tensor) -> Tensor:
    """Three factors and three shifts for each image, in units of opmask's LAB."""
    count, _, *size = image.shape
    generator = torch.Generator().manual_seed(0)
    coarse = 0.1 * torch.randn(count, 6, 8, 8, generator=generator)
    masks = F.interpolate(coarse, size, mode="bicubic")
    masks[:, :3] += 1
    return masks.to(image.device)


def trip_by_kornia(image: Tensor, masks: Tensor) -> Tensor:
    return kornia.color.lab_to_rgb(kornia.color.rgb_to_lab(image), clip=False)


def trip(image: Tensor, masks: Tensor) -> Tensor:
    return opmask.LAB.to_rgb(opmask.LAB.from_rgb(image))


def retouch_by_kornia(image: Tensor, masks: Tensor) -> Tensor:
    scale = image.new_tensor(SCALE).view(3, 1, 1)
    lab = kornia.color.rgb_to_lab(image) * masks[:, :3] + masks[:, 3:] * scale
    return kornia.color.lab_to_rgb(lab, clip=False).clamp(0, 1)


RETOUCHER = opmask.lab_retoucher()


def retouch(image: Tensor, masks: Tensor) -> Tensor:
    return RETOUCHER(image, dict(zip(RETOUCHER.ranges, masks.split(1, 1), strict=True)))


JOBS: dict[str, tuple[Job, Job]] = {
    "LAB and back": (trip_by_kornia, trip),
    "six masks in LAB": (retouch_by_kornia, retouch),
}


def without(job: Job, image: Tensor, masks: Tensor) -> None:
    with torch.no_grad():
        job(image, masks)


def forward_backward(job: Job, image: Tensor, masks: Tensor) -> None:
    leaves = [tensor.clone().requires_grad_() for tensor in (image, masks)]
    job(*leaves).backward(image)


RUNS = {"none": without, "forward and backward": forward_backward}


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """The time of the processor, or of the GPU."""
    if device.type != "cuda":
        start = time.process_time()
        call()
        return time.process_time() - start
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
    ends[0].record()
    call()
    ends[1].record()
    torch.cuda.synchronize()
    return ends[0].elapsed_time(ends[1]) / 1000


def median_times(
    calls: list[Callable[[], object]], repeats: int, device: torch.device
) -> tuple[list[float], float]:
    """The median of each, and that of the ratio of the first to the last; turns are taken."""
    times = []
    for turn in range(repeats + 2):
        spent = [seconds(call, device) for call in calls]
        if turn > 1:  # the first ones compile and warm up
            times.append(spent)
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    return medians, statistics.median(row[0] / row[-1] for row in times)


def kept(job: Job, image: Tensor, masks: Tensor) -> float:
    """How many images autograd keeps for the way back, besides the arguments."""
    leaves = [tensor.clone().requires_grad_() for tensor in (image, masks)]
    memory: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        memory[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = job(*leaves)
    for leaf in leaves:
        memory.pop(leaf.untyped_storage().data_ptr(), None)
    return sum(memory.values()) / (output.numel() * output.element_size())


def rows(
    image: Tensor, repeats: int, compiled: bool, device: torch.device
) -> list[tuple[str, ...]]:
    masks, table = smooth_masks(image), []
    for name, pair in JOBS.items():
        theirs, ours = (torch.compile(job) if compiled else job for job in pair)
        for gradients, run in RUNS.items():
            # kornia eager is the measure of both forms.
            calls = [
                lambda job=job, run=run: run(job, image, masks) for job in (pair[0], theirs, ours)
            ]
            (eager, other, own), ratio = median_times(calls, repeats, device)
            shown = f"{1000 * eager:.1f} ms"
            if compiled:
                shown += f" ({1000 * other:.1f} compiled)"
            form = "compiled" if compiled else "eager"
            table.append((name, gradients, form, shown, f"{1000 * own:.1f} ms", f"{ratio:.1f}"))
    return table


def bandwidth(image: Tensor, repeats: int, device: torch.device) -> float:
    """How long a copy of the images takes, with the masks read: what a retouch must move."""
    masks = smooth_masks(image)
    ((copying, _), _) = median_times(
        [lambda: (image.clone(), masks.sum()), lambda: None], repeats, device
    )
    return copying


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photo", type=Path, help="default: drawn scenes")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-compile", action="store_true", help="eager alone")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(flags.device)
    image = photos(flags.photo, flags.batch, flags.size).to(device)
    table = rows(image, flags.repeats, False, device)
    if not flags.no_compile:
        table += rows(image, flags.repeats, True, device)
    print(markdown_table(HEADINGS, table))
    masks = smooth_masks(image)
    images = [f"{kept(job, image, masks):.1f}" for job in JOBS["six masks in LAB"]]
    print(f"\nImages kept for the way back of six masks: kornia {images[0]}, opmask {images[1]}")
    if device.type == "cuda":
        copying = bandwidth(image, flags.repeats, device)
        print(f"A copy of images, with the masks read, takes {1000 * copying:.3f} ms.")


if __name__ == "__main__":
    keep_memory()
    main()
