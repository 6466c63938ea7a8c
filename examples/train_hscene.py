"""Train operator-mask models on composites of scenes, evaluate them, and show what they do.

Without arguments this draws synthetic scenes, trains the paper's RGB baseline, a residual RGB
network and the operator-mask model for a few minutes on a CPU, and writes a table and a picture.
With `--data` it trains on photographs in ADE20K's layout.

    python examples/train_hscene.py
    python examples/train_hscene.py --data ADEChallengeData2016 --size 256 --steps 40000
    accelerate launch examples/train_hscene.py ...

`--backbone attention-unet` is the paper's network, which wants a GPU. `--model om-hls` predicts
masks in HLS instead of LAB, as in the paper's supplement.

A run can be interrupted at any time; `--resume` goes on where it was.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from arguments import at_least, existing
from report import inputs, report, to_device
from run_folder import Interrupt, Log, ignore_interrupts, keep, open_run, restore
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import opmask
from opmask import RGB, Add, DirectRGB, MaskRange, OperatorMaskWrapper, Retoucher
from opmask.backbones import AttentionUNet, SmallUNet
from opmask.datasets import (
    ADE20K,
    Composites,
    Resized,
    Sample,
    Source,
    Sources,
    SyntheticScenes,
    labelled,
)
from opmask.losses import charbonnier
from opmask.perturb import Perturber
from opmask.retouch import lab_retoucher, paper_hls_retoucher

MODELS = ("rgb", "rgb-residual", "om")
CHOICES = (*MODELS, "om-hls")
# The highest learning rates, after a short rise; then they fall to 0 along a cosine. The second is
# the paper's.
RATES = {"small": 1e-3, "attention-unet": 2e-4}
RISE = 0.1001  # of all steps. Not 0.1: 10 steps would leave the rise no time, a division by zero
SCENES = 2048  # synthetic scenes to train on
CHECK_STEP = 500  # when a model that still returns its input is reported
STILL = 0.5  # levels of 255: a smaller mean change counts as returning the input


def build_network(backbone: str, channels: int, size: int) -> tuple[nn.Module, int]:
    """One of RATES, and the number that the sizes of its images must be multiples of."""
    if backbone == "small":
        return SmallUNet(channels), 32
    # The paper's 8 levels at 256 px. Smaller images leave room for fewer.
    depth = max((d for d in range(5, 9) if size % 2**d == 0), default=5)
    return AttentionUNet(channels, 3, depth=depth), 2**depth


def build(model: str, args: argparse.Namespace) -> nn.Module:
    """One of CHOICES, untrained."""
    net, multiple = build_network(args.backbone, 4 if args.guided else 3, args.size)
    if model == "rgb":
        return DirectRGB(net, region=args.guided, multiple_of=multiple)
    retouchers = {
        # A residual RGB network is the wrapper with one unbounded addition to each colour.
        "rgb-residual": lambda: Retoucher(Add(RGB, range=MaskRange(0.0))),
        "om": lab_retoucher,
        "om-hls": paper_hls_retoucher,
    }
    return OperatorMaskWrapper(net, retouchers[model](), region=args.guided)


def training_set(args: argparse.Namespace) -> Composites:
    if args.data is None:
        photos = Resized(SyntheticScenes(SCENES, size=args.size, seed=args.seed), args.size)
        return Composites(photos, Perturber(), shuffle=True, seed=args.seed)
    photos = labelled(ADE20K(args.data, "training"), workers=args.workers)
    photos = Resized(photos, args.size)  # whole, as in the paper
    return Composites(photos, Perturber(), crop=args.size, shuffle=True, seed=args.seed)


def training_loader(
    composites: Composites, accelerator: Accelerator, args: argparse.Namespace, first: int
) -> DataLoader[Source]:
    """The photos of this process from step `first` on; the processes share the positions."""
    rank, count, size = accelerator.process_index, accelerator.num_processes, args.batch_size
    starts = [(step * count + rank) * size for step in range(first, args.steps)]
    return DataLoader(
        Sources(composites),  # the workers only read; the training device changes
        batch_sampler=[range(start, start + size) for start in starts],
        num_workers=args.workers,
        worker_init_fn=ignore_interrupts,
    )


@dataclass
class Training:
    """One model in training, and what goes with it."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    log: Log
    step: int = 0

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}


def begin(name: str, accelerator: Accelerator, args: argparse.Namespace) -> Training:
    """A new model, or one at the step where it was interrupted."""
    torch.manual_seed(args.seed)
    model = build(name, args).to(memory_format=torch.channels_last)
    rate = RATES[args.backbone]
    optimizer = torch.optim.Adam(model.parameters(), rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=args.steps, pct_start=RISE
    )
    log = Log(args.out / name / "log.csv", ("loss", "pixel", "change"))
    run = Training(name, *accelerator.prepare(model, optimizer), schedule, log)
    if args.resume:
        run.step = restore(args.out / name, run.parts())
    log.read(run.step)
    return run


def advance(run: Training, batch: Sample, accelerator: Accelerator, guided: bool) -> None:
    """One step of one model."""
    output = run.model(*inputs(batch, guided)).image
    loss = charbonnier(output, batch.real)
    run.optimizer.zero_grad()
    accelerator.backward(loss)
    run.optimizer.step()
    run.schedule.step()
    run.step += 1
    off = [255 * (output.detach() - x).abs().mean() for x in (batch.real, batch.composite)]
    values = accelerator.reduce(torch.stack([loss.detach(), *off]), "mean").tolist()
    run.log.add(run.step, values)
    if run.step == CHECK_STEP:
        warn_if_still(run.name, values[-1])


def train(
    runs: list[Training],
    composites: Composites,
    accelerator: Accelerator,
    args: argparse.Namespace,
) -> None:
    """Trains the models side by side on the same composites, and saves them."""
    main, first = accelerator.is_main_process, min(run.step for run in runs)
    batches = training_loader(composites, accelerator, args, first)
    progress = tqdm(batches, "train", args.steps, initial=first, disable=not main)
    with Interrupt() as interrupt:
        for step, batch in enumerate(progress, first + 1):
            batch = composites.compose(to_device(batch, accelerator.device))
            for run in runs:
                if run.step < step:  # one may have been saved a moment before the others
                    advance(run, batch, accelerator, args.guided)
            stop = interrupt.asked_anywhere(accelerator)
            if main and (stop or step % args.save_every == 0):
                for run in runs:
                    run.log.write()
                    keep(args.out / run.name, run.parts(), run.step)
            if stop:
                raise SystemExit(f"\nInterrupted at step {step}. Add --resume to go on.")
    for run in runs:
        run.model = accelerator.unwrap_model(run.model)
        if main:
            run.log.write()
            opmask.save(run.model, args.out / run.name / "model.safetensors")


def warn_if_still(name: str, change: float) -> None:
    """Reports a model whose output is still its input, given the mean change in levels of 255."""
    if change < STILL:
        warnings.warn(
            f"after {CHECK_STEP} steps {name} still returns its input (mean change {change:.2f} "
            "of 255 levels). Raise the learning rate, or the eps of the Charbonnier loss.",
            stacklevel=2,
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--data", type=existing, help="root as ADE20K's; else synthetic scenes")
    parser.add_argument("--model", nargs="+", choices=CHOICES, default=MODELS)
    parser.add_argument("--backbone", choices=RATES, default="small")
    parser.add_argument("--guided", action="store_true", help="give the region to the models")
    parser.add_argument("--steps", type=at_least(1), default=500)
    parser.add_argument("--size", type=at_least(32), default=64, help="of the images, in pixels")
    parser.add_argument("--batch-size", type=at_least(1), default=16, help="per process")
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--workers", type=at_least(0), default=1, help="data loading processes")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="else what there is")
    parser.add_argument("--out", type=Path, default=Path("runs/hscene"), help="the run folder")
    parser.add_argument("--save-every", type=at_least(1), default=100, help="in steps")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    args = parser.parse_args()
    args.model = list(dict.fromkeys(args.model))  # each one once
    return args


def main() -> None:
    args = parse()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda needs a CUDA device, but PyTorch finds none.")
    accelerator = Accelerator(cpu=args.device == "cpu")
    composites = training_set(args)
    if accelerator.is_main_process:
        fixed = ("data", "guided", "backbone", "steps", "size", "batch_size", "seed")
        settings = {name: str(getattr(args, name)) for name in fixed}
        open_run(args.out, settings, resume=args.resume)
    accelerator.wait_for_everyone()
    finished = {name: args.out / name / "model.safetensors" for name in args.model}
    finished = {name: path for name, path in finished.items() if path.exists()}
    runs = [begin(name, accelerator, args) for name in args.model if name not in finished]
    if runs:
        train(runs, composites, accelerator, args)
    trained = {run.name: run.model for run in runs}
    models = {
        name: trained.get(name) or opmask.load(finished[name]).to(accelerator.device)
        for name in args.model
    }
    if accelerator.is_main_process:
        print(report(models, args, accelerator.device))
        print(f"The table, the picture (panel.png), the curves and the models are in {args.out}.")
    accelerator.end_training()


if __name__ == "__main__":
    main()
