"""An operator of your own in seven lines: white balance in stops.

Regions of synthetic scenes are given another light, by this very operator with constant masks. A
small network is then trained for 200 steps to undo it, in about a minute on two CPU cores.
It is shown the pictures before and after, never the masks, and has to find out where the light was
changed and by how many stops: the panel shows its mask beside the one that would be right.

    python examples/custom_operator.py
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from reproduction.flags import add_overwrite, at_least, check_files
from torch import Tensor
from tqdm import trange

import opmask
from opmask.datasets import SyntheticScenes
from opmask.losses import charbonnier
from opmask.metrics import average, evaluate, to_markdown
from opmask.visualize import PanelRow, save_panel

SCENES, HELD_OUT = 512, 64
STOPS = 1.5  # the largest change
RATE = 4e-3  # the highest learning rate


class Warmth(opmask.Operator):
    """White balance in stops: each unit of mask doubles red and halves blue."""

    space = opmask.LINEAR_RGB
    ranges = {"warmth": opmask.MaskRange(identity=0.0, low=-2.0, high=2.0)}

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return image * 2 ** torch.cat([mask, torch.zeros_like(mask), -mask], dim=1)


class Batch(NamedTuple):
    composite: Tensor  # (B, 3, H, W) in [0, 1], one region of each in another light
    real: Tensor
    region: Tensor  # (B, 1, H, W), 0 or 1
    right: Tensor  # (B, 1, H, W), the mask that undoes the change, in stops


def relight(real: Tensor, label_maps: Tensor, generator: torch.Generator) -> Batch:
    """Makes the light of one class of each scene warmer or colder."""
    pixels = torch.randint(label_maps[0].numel(), (len(real), 1), generator=generator)
    labels = label_maps.flatten(1).gather(1, pixels)  # of a pixel: large classes more often
    region = (label_maps == labels[..., None])[:, None].float()
    stops = 2 * STOPS * (torch.rand(len(real), 1, 1, 1, generator=generator) - 0.5)
    composite = opmask.Retoucher(Warmth())(real, {"warmth": stops * region})
    composite = (255 * composite).round() / 255  # what a camera would have stored
    return Batch(composite, real, region, -stops * region)


def load_scenes(count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    scenes = list(SyntheticScenes(count, size=size, seed=seed))
    images = torch.stack([scene.image for scene in scenes]) / 255
    return images, torch.stack([scene.label_map for scene in scenes])


def panel_rows(model: opmask.OperatorMaskWrapper, batch: Batch, count: int = 5) -> list[PanelRow]:
    """The composites that were changed most."""
    with torch.no_grad():
        image, masks = model(batch.composite)
    worst = (batch.composite - batch.real).square().mean((1, 2, 3)).topk(count).indices
    return [
        PanelRow(
            {"composite": batch.composite[i], "result": image[i], "real": batch.real[i]},
            {"warmth, predicted": masks["warmth"][i], "warmth, right": batch.right[i]},
        )
        for i in worst.tolist()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=at_least(1), default=200)
    parser.add_argument("--size", type=at_least(32), default=64, help="of the scenes, in pixels")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/custom"), help="a folder")
    add_overwrite(parser)
    args = parser.parse_args()
    panel = args.out / "panel.png"
    check_files({"--out": panel}, overwrite=args.overwrite)

    opmask.testing.check_operator(Warmth())  # identity, shapes, gradients, ...
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    images, label_maps = load_scenes(SCENES, args.size, args.seed)
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(), opmask.Retoucher(Warmth()))
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=args.steps + 1)
    for _ in trange(args.steps, desc="train"):
        chosen = torch.randint(SCENES, (16,), generator=generator)
        batch = relight(images[chosen], label_maps[chosen], generator)
        optimizer.zero_grad()
        charbonnier(model(batch.composite).image, batch.real).backward()
        optimizer.step()
        schedule.step()

    model.eval()
    batch = relight(*load_scenes(HELD_OUT, args.size, 2**31), torch.Generator().manual_seed(1))
    scores = {"composite": evaluate(None, [batch]), "result": evaluate(model, [batch])}
    print(to_markdown([{"model": name, **average(rows)} for name, rows in scores.items()]))
    save_panel(panel_rows(model, batch), panel, limit=STOPS)
    print(f"The picture is {panel}.")


if __name__ == "__main__":
    launch.run(main)
