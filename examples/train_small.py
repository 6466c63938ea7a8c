"""Train a model for photos: one network for photos with and without a region.

    python examples/train_small.py --data ROOT --weights alexnet.pth --out runs/small
    python examples/train_small.py --data ROOT --weights alexnet.pth --out runs/clear --clear

ROOT holds the photographs that `small/photos.csv` lists; `--clear` takes those alone whose
licence is clear. They are made small once, into `OUT/photos` (or `--photos`), and synthetic scenes
are added. Batches are made as they are needed, each from the seed and the number of its step, so
that an interrupted run goes on with `--resume` as if nothing had happened. Sizes grow during
training, as small images teach most of it for less. Of the averaged weights those that do best on
validation are kept.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import argparse
import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from reproduction.learners import Learner, make_average
from reproduction.run_folder import Interrupt, Log, keep, open_run, restore
from reproduction.small.batches import Batch, gather, make_batch
from reproduction.small.muon import Muon, split
from reproduction.small.network import build
from reproduction.small.pool import Packed, Pool, pack
from reproduction.small.recipe import Recipe, parse
from reproduction.small.scoring import figures, rank, score
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

import opmask
from opmask import OperatorMaskWrapper
from opmask.files import replacing
from opmask.losses import LPIPS, charbonnier
from opmask.perturb import Perturber, sample_seed

SIDE = 256  # of the small copies, in pixels
CHECK_STEP, STILL = 200, 0.995  # the share of the untrained loss that is left where nothing moved
COLUMNS = ("loss", "pixel", "untrained", "gate")


@dataclass
class Run:
    """The model in training and what goes with it."""

    recipe: Recipe
    model: OperatorMaskWrapper
    learners: dict[str, Learner]
    average: AveragedModel
    log: Log
    perceptual: LPIPS | None
    step: int = 0
    scores: list[dict[str, float]] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, object]:
        parts = {"model": self.model, "average": self.average}
        for name, learner in self.learners.items():
            parts |= {name: learner.optimizer, f"{name}_schedule": learner.schedule}
        return parts


def begin(recipe: Recipe, args: argparse.Namespace) -> Run:
    torch.manual_seed(args.seed)
    model = build(recipe.width, args.weights).to(args.device, memory_format=torch.channels_last)
    average = make_average(model, recipe.ema, args.device)
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices, rest = split(trained)
    muon = Muon(matrices, recipe.matrix_lr)
    adamw = torch.optim.AdamW(rest, recipe.lr, betas=(0.9, 0.99), weight_decay=recipe.decay)
    log = Log(args.out / "log.csv", COLUMNS)
    perceptual = LPIPS("alex", weights=args.weights).to(args.device) if recipe.perceptual else None
    learners = {
        name: Learner(model, optimizer, LambdaLR(optimizer, recipe.rate))
        for name, optimizer in (("muon", muon), ("adamw", adamw))
    }
    run = Run(recipe, model, learners, average, log, perceptual)
    if args.compile:
        model.backbone.compile()
    if args.resume:
        run.step = restore(args.out, run.parts)
    log.read(run.step)
    run.scores = read_scores(args.out, run.step)
    return run


def loss_terms(run: Run, batch: Batch) -> dict[str, Tensor]:
    """The terms of the loss, weighted; in half precision where only the network is concerned."""
    recipe, model = run.recipe, run.model
    with torch.autocast(batch.composite.device.type, torch.bfloat16):
        masks = model.predict(batch.composite, batch.prompt)
    image = model.retoucher(batch.composite, masks)
    error = charbonnier(image, batch.real, recipe.eps, "none") - recipe.eps
    gate = masks["gate"].float().clamp(1e-4, 1 - 1e-4)
    terms = {
        "pixel": error.mean(),
        "gate": recipe.gate * F.binary_cross_entropy(gate, batch.region),
    }
    if recipe.inside:
        terms["inside"] = recipe.inside * (error * batch.region).mean()
    if run.perceptual is not None:
        terms["perceptual"] = recipe.perceptual * run.perceptual(image, batch.real)
    return terms


def read_batches(
    run: Run, photos: Packed, device: torch.device, *, seed: int
) -> Iterator[tuple[int, Batch]]:
    """The batch of each step to come, with its seed; the next one is made meanwhile."""
    images, labels = photos.images.to(device), photos.labels.to(device)

    def make(step: int) -> tuple[int, Batch]:
        number = sample_seed(seed, 0, step)
        generator = torch.Generator().manual_seed(number)
        chosen = torch.randint(len(photos), (run.recipe.batch_size,), generator=generator)
        chosen = chosen.to(device)
        size = run.recipe.size(step)
        some = images[chosen], labels[chosen]
        return number, make_batch(*some, size, Perturber(), run.recipe.mix, number)

    steps = range(run.step, run.recipe.steps)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make, steps.start) if steps else None
        for step in steps:
            batch = coming.result()
            if step + 1 in steps:
                coming = pool.submit(make, step + 1)
            yield batch


def advance(run: Run, seed: int, batch: Batch, out: Path) -> None:
    """One step, on a batch that follows from a seed."""
    terms = loss_terms(run, batch)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    if not torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0).isfinite():
        raise SystemExit(
            f"The gradient is not finite in step {run.step} (seed {seed}). The last good state is "
            f"in {out / 'checkpoint'}. Lower --lr and go on with --resume."
        )
    for learner in run.learners.values():
        learner.step()
    run.average.update_parameters(run.model)
    run.step += 1
    eps = run.recipe.eps
    untrained = charbonnier(batch.composite, batch.real, eps) - eps
    values = loss, terms["pixel"], untrained, terms["gate"]
    run.log.add(run.step, torch.stack(values).tolist())


def look(run: Run, validation: Packed, args: argparse.Namespace) -> str:
    """Scores the averaged weights, and keeps them where they are the best so far."""
    model = run.average.module.eval()
    prompts, size = ("exact", "unknown"), run.recipe.sizes[-1]
    rows = score(model, validation, prompts, size=size, device=args.device)
    found = figures(rows)
    run.scores.append({"step": run.step, **found, "rank": rank(found)})
    if run.scores[-1]["rank"] <= min(row["rank"] for row in run.scores):
        opmask.save(model, args.out / "model.safetensors")
    write_json(args.out / "validation.json", run.scores)
    return ", ".join(f"{name} {value:.3f}" for name, value in run.scores[-1].items())


def warn_if_still(run: Run) -> None:
    """Reports a model that has not moved away from its input."""
    rows = run.log.rows[-CHECK_STEP // 2 :]
    if sum(row[2] for row in rows) > STILL * sum(row[3] for row in rows):
        warnings.warn(
            f"after {run.step} steps the output is still the input, nearly. Raise --lr or --eps.",
            stacklevel=2,
        )


def train(run: Run, photos: Packed, validation: Packed, args: argparse.Namespace) -> None:
    """All steps, with a look at validation every now and then."""
    device = torch.device(args.device)
    batches = read_batches(run, photos, device, seed=args.seed)
    steps = run.recipe.steps
    progress = tqdm(batches, "train", steps, initial=run.step, disable=None)
    with Interrupt() as interrupt, progress:
        for seed, batch in progress:
            advance(run, seed, batch, args.out)
            last = run.step == steps
            if interrupt.asked or last or run.step % args.save_every == 0:
                run.log.write()
                keep(args.out, run.parts, run.step)
            if run.step == CHECK_STEP:
                warn_if_still(run)
            if last or run.step % args.look_every == 0:
                progress.write(look(run, validation, args))
            if interrupt.asked:
                raise KeyboardInterrupt(f"at step {run.step}. Add --resume to go on")


def read_scores(out: Path, step: int) -> list[dict[str, float]]:
    path = out / "validation.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    return [row for row in rows if row["step"] <= step]


def write_json(path: Path, value: object) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def main() -> None:
    args = parse(__doc__.splitlines()[0])
    folder = args.photos or args.out / "photos"
    names = ("train", "validation")
    pools = {name: Pool(args.data, name, size=SIDE) for name in names}
    packed = {name: pack(pools[name], folder / name, workers=args.workers) for name in names}
    settings = asdict(args.recipe)
    shares = settings.pop("mix")  # each is a setting of its own
    settings |= {**shares, "clear": args.clear, "seed": args.seed}
    settings["weights"] = args.weights and args.weights.name
    open_run(args.out, {k: str(v) for k, v in settings.items()}, resume=args.resume)
    run = begin(args.recipe, args)
    train(
        run,
        gather(packed["train"], args.recipe.scenes, clear=args.clear),
        packed["validation"],
        args,
    )


if __name__ == "__main__":
    launch.run(main)
