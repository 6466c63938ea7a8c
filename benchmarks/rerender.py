"""How long does a re-render take? `Edit.render` beside plain kornia calls, in one run.

A photo is planned once; then the same masks are applied to it at full size again and again, as the
editor does after each move of a control, which knows its photo (`force=True`). The competitor
enlarges the masks with `F.interpolate`, converts with kornia's `rgb_to_lab`, multiplies and adds,
converts back with `lab_to_rgb`, and rounds to 8 bits. Both run on one thread and under one
allocator, and take turns; what counts is the time of the processor.

Blind, the model's masks are off their identity nearly everywhere. Told a region, here an ellipse
in the middle, they are at it elsewhere, which costs little.

    python benchmarks/rerender.py --photo PHOTO
    python benchmarks/rerender.py --photo PHOTO --size 1280 --repeats 15 --compile
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

HEADINGS = ("size", "region", "Edit.render", "kornia", "opmask / kornia", "largest difference")


def detailed(photo: Path | None, width: int, height: int) -> np.ndarray:
    """A photo of a given size with detail down to the pixel: enlarged, and with noise."""
    if photo is not None:
        picture = Image.open(photo).convert("RGB")
    else:
        image = SyntheticScenes(1, size=512)[0][0]
        picture = Image.fromarray(np.asarray(image.mul(255).byte().permute(1, 2, 0)))
    large = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(0).normal(0, 4, large.shape)
    return np.clip(large + noise, 0, 255).round().astype(np.uint8)


def by_kornia(pixels: np.ndarray, masks: dict[str, Tensor]) -> np.ndarray:
    """The same retouch in plain calls; gates are multiplied in already."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    stack = torch.cat([masks[f"{c}_{kind}"] for kind in ("mul", "add") for c in "lab"], 1)
    full = F.interpolate(stack, size=image.shape[-2:], mode="bilinear", align_corners=False)
    scale = torch.tensor([100.0, 128.0, 128.0]).view(3, 1, 1)
    lab = kornia.color.rgb_to_lab(image)
    result = kornia.color.lab_to_rgb(lab * full[:, :3] + full[:, 3:] * scale)
    return (result.clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 0).numpy()


def timed(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def ellipse(height: int, width: int) -> Tensor:
    """A region in the middle, a fifth of the photo."""
    down, across = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    return (down**2 + across**2 < 0.25).float()


def measure(
    pixels: np.ndarray, region: Tensor | None, repeats: int, compiled: bool
) -> tuple[float, float, float, int]:
    """The median of either, that of their ratios, and by how many levels they differ."""
    plan = opmask.plan(opmask.load(), pixels, region=region, strength=1)
    edit = plan.adjust("l_add", offset=0.02, region=region)
    masks = edit.masks(effective=True)
    times = []
    for turn in range(repeats + 1):
        own, ours = timed(lambda: edit.render(pixels, force=True, compile=compiled))
        other, theirs = timed(lambda: by_kornia(pixels, masks))
        if turn:  # the first warms up
            times.append((own, other))
    # Linear in the mask and the gate, each enlarged by itself, is not linear in their product.
    difference = int(np.abs(ours.astype(int) - theirs).max())
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    ratio = statistics.median(own / other for own, other in times)
    return medians[0], medians[1], ratio, difference


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photo", type=Path, help="default: a drawn scene")
    parser.add_argument("--size", type=int, nargs="+", default=[1280, 4000], help="widths")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="compile the retoucher")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for width in flags.size:
        height = round(width * 2 / 3)
        pixels = detailed(flags.photo, width, height)
        for said, region in ("no", None), ("yes", ellipse(height, width)):
            own, other, ratio, difference = measure(pixels, region, flags.repeats, flags.compile)
            cells = (f"{width}x{height}", said, f"{1000 * own:.0f} ms", f"{1000 * other:.0f} ms",
                     f"{ratio:.2f}", f"{difference}/255")  # fmt: skip
            rows.append(cells)
    print(markdown_table(HEADINGS, rows))


if __name__ == "__main__":
    keep_memory()
    main()
