"""Which conditioning of a tapped head's features suits every network? Three ways, side by side.

Six networks learn to harmonize synthetic composites whose region is given, for 300 steps at 64 px,
with three seeds and one learning rate for all of them. The table tells, for each way, the held-out
MSE over that of the composite, and by how much the training loss ever rose above its start; below
stand the mean and the worst of all runs. The choice goes into every checkpoint: see
docs/concepts/conditioning.rst.

    python benchmarks/conditioning.py --out conditioning.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from tqdm import tqdm

import opmask
from opmask.backbones import SmallUNet
from opmask.datasets import Composites, SyntheticScenes
from opmask.files import check_outputs, replacing
from opmask.losses import charbonnier
from opmask.markdown import markdown_table
from opmask.perturb import Perturber, collate
from opmask.wrapper.heads import MaskHead

BACKBONE_RATE = 1e-3
BATCH = 4


class PixelNorm(MaskHead):
    """A root mean square for each pixel: differences in strength between places are lost."""

    def condition(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        factor = torch.rsqrt(maps.square().mean(1, keepdim=True) + 1e-6)
        return maps * factor, maps.new_ones(1)


class NoNorm(MaskHead):
    """Features as they are; the head's learning rate is a tenth of the backbone's instead."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.gain = 1.0

    def condition(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return maps, maps.new_ones(1)


class PixelToPixel(nn.Module):
    """A small U-Net with a transposed convolution and a tanh at its end."""

    def __init__(self, inputs: int, width: int = 24) -> None:
        super().__init__()
        w = [inputs, width, 2 * width, 4 * width]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.InstanceNorm2d(b), nn.LeakyReLU(0.2))
            for a, b in pairwise(w)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, 1), nn.InstanceNorm2d(b), nn.ReLU())
            for a, b in ((w[3], w[2]), (2 * w[2], w[1]))
        )
        self.out = nn.Sequential(nn.ConvTranspose2d(2 * w[1], 3, 4, 2, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            x = torch.cat([up(x), skip], 1)
        return self.out(x)


class VisionTransformer(nn.Module):
    """Patches of 4x4 pixels, four transformer layers and a linear head."""

    def __init__(self, inputs: int, width: int = 96, patch: int = 4) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Conv2d(inputs, width, patch, patch)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, 0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3 * patch**2)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.embed(x)
        tokens = self.layers(maps.flatten(2).transpose(1, 2))
        maps = self.head(tokens).transpose(1, 2).unflatten(2, maps.shape[-2:])
        return nn.functional.pixel_shuffle(maps, self.patch)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "SmallUNet": lambda: SmallUNet(4, width=16),
    "smp Unet/resnet18": lambda: smp.Unet(
        "resnet18", encoder_weights=None, in_channels=4, decoder_channels=(64, 48, 32, 24, 16)
    ),
    "smp PSPNet/resnet18": lambda: smp.PSPNet("resnet18", encoder_weights=None, in_channels=4),
    "smp FPN/convnext_femto": lambda: smp.FPN(
        "tu-convnext_femto", encoder_weights=None, in_channels=4
    ),
    "pix2pix (tanh)": lambda: PixelToPixel(4),
    "ViT (linear head)": lambda: VisionTransformer(4),
}
# Each way: the head, and its learning rate.
WAYS: dict[str, tuple[type[MaskHead], float]] = {
    "RMS per pixel": (PixelNorm, BACKBONE_RATE),
    "RMS per image": (MaskHead, BACKBONE_RATE),
    "no norm, rate / 10": (NoNorm, BACKBONE_RATE / 10),
}


def batches(seed: int, count: int, size: int) -> list[tuple[Tensor, ...]]:
    """Composites, reals and regions, stacked."""
    samples = Composites(SyntheticScenes(count, size=size, seed=seed), Perturber(), seed=seed)
    planes = collate(list(samples))[:3]
    return list(zip(*[plane.split(BATCH) for plane in planes], strict=True))


def train(
    network: str, way: str, seed: int, steps: int, data: dict[str, list]
) -> dict[str, float]:
    """The held-out MSE over the composite's, and the highest smoothed loss over its start."""
    torch.manual_seed(seed)
    model = opmask.OperatorMaskWrapper(NETWORKS[network](), region=True)
    kind, rate = WAYS[way]
    old = model.head
    model.head = kind(old.name, len(model.retoucher.ranges), old.geometry)
    model.head.attach(model.backbone)
    groups = [
        {"params": model.backbone.parameters()},
        {"params": model.head.parameters(), "lr": rate},
    ]
    optimizer = torch.optim.Adam(groups, BACKBONE_RATE)
    losses = []
    order = torch.Generator().manual_seed(seed)
    while len(losses) < steps:
        for i in torch.randperm(len(data["train"]), generator=order).tolist()[
            : steps - len(losses)
        ]:
            composite, real, region = data["train"][i]
            loss = charbonnier(model(composite, region).image, real)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item() - 0.05)  # the loss of an exact output is eps
    model.eval()
    with torch.no_grad():
        after = sum(
            (model(c, g).image - r).square().mean().item() for c, r, g in data["validation"]
        )
    before = sum((c - r).square().mean().item() for c, r, _ in data["validation"])
    smooth = [statistics.mean(losses[i : i + 10]) for i in range(len(losses) - 10)]
    return {"ratio": after / before, "rise": max(smooth) / smooth[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("conditioning.json"))
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it is there")
    args = parser.parse_args()
    try:
        check_outputs({"--out": args.out}, overwrite=args.overwrite)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    data = {"train": batches(0, 1200, args.size), "validation": batches(1, 128, args.size)}
    runs = [(n, w, s) for n in NETWORKS for w in WAYS for s in range(args.seeds)]
    rows = []
    for n, w, s in tqdm(runs):
        rows.append({"network": n, "way": w, "seed": s, **train(n, w, s, args.steps, data)})
        with replacing(args.out) as temporary:
            temporary.write_text(json.dumps(rows, indent=1))
    print(
        "held-out MSE over the composite's, median of seeds (highest loss over its start, worst)"
    )
    lines = []
    for n in NETWORKS:
        cells = [n]
        for w in WAYS:
            mine = [r for r in rows if (r["network"], r["way"]) == (n, w)]
            ratio, rise = statistics.median(r["ratio"] for r in mine), max(r["rise"] for r in mine)
            cells.append(f"{ratio:.3f} ({rise:.2f})")
        lines.append(cells)
    for name, of in ("mean of all runs", statistics.mean), ("worst run", max):
        each = (of([r["ratio"] for r in rows if r["way"] == w]) for w in WAYS)
        lines.append([name, *(f"{ratio:.3f}" for ratio in each)])
    headings = ["network", *WAYS]
    print(markdown_table(headings, lines, rules=["---"] * len(headings)))


if __name__ == "__main__":
    main()
