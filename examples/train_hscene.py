"""Train operator-mask models on composites of scenes, evaluate them, and show what they do.

Without arguments this draws synthetic scenes, trains the paper's RGB baseline, a residual RGB
network and the operator-mask model for a few minutes on a CPU, and writes a table and a picture.
With `--data` it trains on photographs in ADE20K's layout.

    python examples/train_hscene.py
    python examples/train_hscene.py --data ADEChallengeData2016 --size 256 --steps 40000
    accelerate launch examples/train_hscene.py ...

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
from report import inputs, report, to_device
from run_folder import Interrupt, Log, ignore_interrupts, keep, open_run, restore
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import opmask
from opmask import RGB, Add, DirectRGB, MaskRange, OperatorMaskWrapper, Retoucher
from opmask.backbones import SmallUNet
from opmask.datasets import ADE20K, Composites, Resized, Sample, SyntheticScenes
from opmask.losses import charbonnier
from opmask.perturb import Perturber

MODELS = ("rgb", "rgb-residual", "om")
SCENES = 2048  # synthetic scenes to train on
RATE = 1e-3  # the highest learning rate, after a short rise; then it falls to 0 along a cosine
CHECK_STEP = 500  # when a model that still returns its input is reported
STILL = 0.5  # levels of 255: a smaller mean change counts as returning the input


def build(model: str, guided: bool) -> nn.Module:
    """One of MODELS, untrained."""
    net = SmallUNet(4 if guided else 3)
    if model == "rgb":
        return DirectRGB(net, region=guided, multiple_of=32)
    # A residual RGB network is the wrapper with one unbounded addition to each colour.
    retoucher = Retoucher(Add(RGB, range=MaskRange(0.0))) if model == "rgb-residual" else None
    return OperatorMaskWrapper(net, retoucher, region=guided)


def training_set(args: argparse.Namespace) -> Composites:
    if args.data is None:
        photos = Resized(SyntheticScenes(SCENES, size=args.size, seed=args.seed), args.size)
        return Composites(photos, Perturber(), shuffle=True, seed=args.seed)
    photos = Resized(ADE20K(args.data, "training"), args.size)  # whole, as in the paper
    return Composites(photos, Perturber(), crop=args.size, shuffle=True, seed=args.seed)


def training_loader(
    composites: Composites, accelerator: Accelerator, args: argparse.Namespace, first: int
) -> DataLoader[Sample]:
    """The batches of this process from step `first` on; the processes share the positions."""
    rank, count, size = accelerator.process_index, accelerator.num_processes, args.batch_size
    starts = [(step * count + rank) * size for step in range(first, args.steps)]
    return DataLoader(
        composites,
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
    model = build(name, args.guided).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=args.steps, pct_start=0.1
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
            batch = to_device(batch, accelerator.device)
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
    parser.add_argument("--data", type=Path, help="root in ADE20K's layout; else synthetic scenes")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--backbone", choices=["small"], default="small")
    parser.add_argument("--guided", action="store_true", help="give the region to the models")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    parser.add_argument("--batch-size", type=int, default=16, help="per process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="data loading processes")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="else what there is")
    parser.add_argument("--out", type=Path, default=Path("runs/hscene"), help="the run folder")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser.parse_args()


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
