"""Masks from a tapped layer, or a network's own output? The same steps and seed, side by side.

A tapped head reads the input of a network's last layer and starts at the identity
(`OperatorMaskWrapper(network)`); with `OutputHead` the last layer itself puts out the logits, as
the paper's networks do. The paper's U-Net, blind, and its Harmony Transformer, given the region,
both reduced, are trained with either on the same composites in the same order, and scored on
photos that none has seen. Steps take turns, so that times can be compared: seconds of the
processor.

    python benchmarks/heads.py
    python benchmarks/heads.py --data ADE20K_ROOT --steps 1000
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from opmask import OperatorMaskWrapper, OutputHead, paper_lab_retoucher
from opmask.backbones import AttentionUNet, HarmonyTransformerPlus
from opmask.datasets import ADE20K, Composites, Resized, SyntheticScenes, labelled
from opmask.datasets.photos import Photos
from opmask.losses import charbonnier
from opmask.markdown import markdown_table
from opmask.metrics import average, evaluate
from opmask.perturb import CompositeBatch, Perturber, collate

MASKS = 6
RATE = 1e-3  # the highest learning rate
SCENES, HELD_OUT = 1024, 128
HEADINGS = ("network", "head", "at the start: MSE", "MSE", "PSNR", "fMSE", "IoU", "ms a step")


def unet(outputs: int) -> nn.Module:
    return AttentionUNet(3, outputs, width=16, depth=5)


def transformer(outputs: int) -> nn.Module:
    # As it is published where it paints, and without the last activation where it puts out logits.
    return HarmonyTransformerPlus(4, outputs, width=64, layers=3, tanh=outputs == 3)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {"U-Net": unet, "HT+, given": transformer}


def build(name: str, head: str, seed: int) -> OperatorMaskWrapper:
    """A model; those of one network begin with the same weights but for the last layer."""
    torch.manual_seed(seed)
    make, given = NETWORKS[name], "given" in name
    if head == "tapped":
        return OperatorMaskWrapper(make(3), paper_lab_retoucher(), region=given)
    example = torch.rand(1, 3, 32, 64)
    own = make(MASKS)
    return OperatorMaskWrapper(
        own,
        paper_lab_retoucher(),
        region=given,
        head=OutputHead(),
        example=example,
        multiple_of=own.multiple_of,
    )


def photos(data: Path | None, size: int, seed: int) -> tuple[Photos, Photos]:
    """Those to train and those to score on."""
    if data is None:
        held_out = SyntheticScenes(HELD_OUT, size=size, seed=2**31)
        return SyntheticScenes(SCENES, size=size, seed=seed), held_out
    parts = (labelled(ADE20K(data, split)) for split in ("training", "validation"))
    training, validation = (Resized(part, size) for part in parts)
    return training, validation


def batches_of(composites: Composites, count: int, size: int) -> Iterator[CompositeBatch]:
    loader = DataLoader(composites, size, sampler=range(count), collate_fn=collate)
    return iter(loader)


def inputs(model: OperatorMaskWrapper, batch: CompositeBatch) -> tuple[torch.Tensor, ...]:
    return (batch.composite, batch.region) if model.region else (batch.composite,)


def scored(model: OperatorMaskWrapper | None, held_out: Composites) -> dict[str, float]:
    batches = batches_of(held_out, len(held_out), 16)
    given = model is not None and model.region
    return average(evaluate(model and model.eval(), batches, guided=given))


def train(
    models: dict[tuple[str, str], OperatorMaskWrapper],
    composites: Composites,
    steps: int,
    size: int,
) -> dict[tuple[str, str], float]:
    """Trains all models in turns; the milliseconds that each took for a step."""
    optimizers, schedules = {}, {}
    for key, model in models.items():
        learning = [p for p in model.parameters() if p.requires_grad]
        optimizers[key] = torch.optim.Adam(learning, RATE)
        schedules[key] = torch.optim.lr_scheduler.OneCycleLR(
            optimizers[key], RATE, total_steps=steps + 1
        )
        model.train()
    seconds = dict.fromkeys(models, 0.0)
    for batch in tqdm(batches_of(composites, steps * size, size), "train", steps):
        for key, model in models.items():
            start = time.process_time()
            loss = charbonnier(model(*inputs(model, batch)).image, batch.real)
            loss.backward()
            optimizers[key].step()
            optimizers[key].zero_grad()
            schedules[key].step()
            seconds[key] += time.process_time() - start
    return {key: 1000 * spent / steps for key, spent in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="root as ADE20K's; default: synthetic scenes")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    training, rest = photos(args.data, args.size, args.seed)
    composites = Composites(training, Perturber(), shuffle=True, seed=args.seed)
    held_out = Composites(rest, Perturber(), seed=7)
    models = {
        (name, head): build(name, head, args.seed)
        for name in NETWORKS
        for head in ("tapped", "its own output")
    }
    before = {key: scored(model, held_out)["mse"] for key, model in models.items()}
    taken = train(models, composites, args.steps, args.batch_size)
    blank = scored(None, held_out)
    rows = [("composite", "", "", *figures(blank), "")]
    for (name, head), model in models.items():
        key = name, head
        after = figures(scored(model, held_out))
        rows.append((name, head, f"{before[key]:.2f}", *after, f"{taken[key]:.0f}"))
    print(markdown_table(HEADINGS, rows))


def figures(scores: dict[str, float]) -> tuple[str, ...]:
    digits = {"mse": 2, "psnr": 2, "fmse": 1, "iou": 3}
    return tuple(f"{scores[name]:.{places}f}" for name, places in digits.items())


if __name__ == "__main__":
    main()
