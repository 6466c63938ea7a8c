"""Train a model for photos: one network for photos with and without a region.

    python examples/train_small.py --data ROOT --out runs/small
    python examples/train_small.py --data ROOT --out runs/clear --clear

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

import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from reproduction.checkpoint import Interrupt, Log, load_state, open_run, save_state
from reproduction.loop import make_average
from reproduction.small.batches import Batch, gather, make_batch
from reproduction.small.hyperparameters import Hyperparameters, Options, parse
from reproduction.small.muon import Muon, split
from reproduction.small.network import build, fast_precision
from reproduction.small.pool import Packed, Pool, pack
from reproduction.small.scoring import rank, score, summarize
from reproduction.train import Learner
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

import opmask
from opmask import OperatorMaskWrapper
from opmask.files import replacing
from opmask.inference.refine import refined_region
from opmask.losses import charbonnier
from opmask.perturb import sample_seed

SIDE = 256  # of the small copies, in pixels
SLIGHT = 6 / 255  # an error in RGB that counts as a slight one
CHECK_STEP, STILL = 200, 0.995  # the share of the untrained loss that is left where nothing moved
COLUMNS = ("loss", "pixel", "untrained", "gate")


@dataclass
class Run:
    """The model in training and what goes with it."""

    hyperparameters: Hyperparameters
    model: OperatorMaskWrapper
    learners: dict[str, Learner]
    average: AveragedModel
    log: Log
    step: int = 0
    scores: list[dict[str, float]] = field(default_factory=list)

    @property
    def parts(self) -> dict[str, object]:
        parts = {"model": self.model, "average": self.average}
        for name, learner in self.learners.items():
            parts |= {name: learner.optimizer, f"{name}_schedule": learner.schedule}
        return parts


def begin(hyperparameters: Hyperparameters, options: Options) -> Run:
    """A new run, or one at the step where it was interrupted."""
    torch.manual_seed(options.seed)
    model = build(hyperparameters.width, hyperparameters.trunk, options.weights)
    model = model.to(options.device, memory_format=torch.channels_last)
    average = make_average(model, hyperparameters.ema, options.device)
    log = Log(options.out / "log.csv", COLUMNS)
    run = Run(hyperparameters, model, make_learners(model, hyperparameters), average, log)
    if options.compile:
        model.backbone.compile()
    if options.resume:
        run.step = load_state(options.out, run.parts)
    log.read(run.step)
    run.scores = read_scores(options.out, run.step)
    return run


def make_learners(
    model: OperatorMaskWrapper, hyperparameters: Hyperparameters
) -> dict[str, Learner]:
    """Muon for the matrices of a model, AdamW for the rest."""
    matrices, rest = split([p for p in model.parameters() if p.requires_grad])
    lr, decay = hyperparameters.lr, hyperparameters.decay
    optimizers = {
        "muon": Muon(matrices, hyperparameters.matrix_lr),
        "adamw": torch.optim.AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=decay),
    }
    return {
        name: Learner(model, optimizer, LambdaLR(optimizer, hyperparameters.rate))
        for name, optimizer in optimizers.items()
    }


def loss_terms(run: Run, batch: Batch) -> dict[str, Tensor]:
    """The terms of the loss, weighted; in half precision where only the network is concerned."""
    weights, model = run.hyperparameters, run.model
    with fast_precision(batch.composite.device):
        masks = model.predict(batch.composite, refined_prompt(model, batch, weights.refined))
    image = model.retoucher(batch.composite, masks)
    error = charbonnier(image, batch.real, weights.eps, "none") - weights.eps
    gate = masks["gate"].float().clamp(1e-4, 1 - 1e-4)
    terms = {
        "pixel": error.mean(),
        "gate": weights.gate * F.binary_cross_entropy(gate, batch.region),
    }
    if weights.inside:
        terms["inside"] = weights.inside * (error * batch.region).mean()
    if weights.relative:
        terms["relative"] = weights.relative * relative_error(image, batch).mean()
    return terms


@torch.no_grad()
def refined_prompt(model: OperatorMaskWrapper, batch: Batch, share: float) -> Tensor:
    """The region prompts, of which a share of the rough ones are what the gate makes of them."""
    told = batch.prompt
    rough = (told > 0).flatten(1).any(1) & (told != batch.region).flatten(1).any(1)
    evenly = (torch.arange(len(told) + 1, device=told.device) * share).floor().diff() > 0
    some = (rough & evenly).nonzero()[:, 0]
    if not some.numel():
        return told
    gate = model.predict(batch.composite[some], told[some])["gate"]
    return told.index_copy(0, some, refined_region(gate, told[some]))


def relative_error(image: Tensor, batch: Batch) -> Tensor:
    """How the PSNR of each changed region sees its error, above SLIGHT, (B,); else 0.

    PSNR falls most where what was nearly right is changed, which an average of errors overlooks.
    """
    square = (image - batch.real).square().mean(1, keepdim=True) * batch.region
    mean = square.sum((1, 2, 3)) / batch.region.sum((1, 2, 3)).clamp_min(1)
    return (mean / SLIGHT**2).log1p()


def read_batches(
    run: Run, photos: Packed, device: torch.device, *, seed: int
) -> Iterator[tuple[int, Batch]]:
    """The batch of each step to come, with its seed; the next one is made meanwhile."""
    images, labels = photos.images.to(device), photos.labels.to(device)

    def make(step: int) -> tuple[int, Batch]:
        number = sample_seed(seed, 0, step)
        generator = torch.Generator().manual_seed(number)
        size = run.hyperparameters.size(step)
        count = run.hyperparameters.count(size)
        chosen = torch.randint(len(photos), (count,), generator=generator).to(device)
        some = images[chosen], labels[chosen]
        return number, make_batch(*some, size, run.hyperparameters.mix, number)

    steps = range(run.step, run.hyperparameters.steps)
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
    eps = run.hyperparameters.eps
    untrained = charbonnier(batch.composite, batch.real, eps) - eps
    values = loss, terms["pixel"], untrained, terms["gate"]
    run.log.add(run.step, torch.stack(values).tolist())


def validate(run: Run, validation: Packed, out: Path, device: str) -> str:
    """Scores the averaged weights, and keeps them where they are the best so far."""
    model = run.average.module.eval()
    prompts, size = ("exact", "unknown"), min(128, max(run.hyperparameters.last))
    rows = score(model, validation, prompts, size=size, device=device)
    found = summarize(rows)
    run.scores.append({"step": run.step, **found, "rank": rank(found)})
    if run.scores[-1]["rank"] <= min(row["rank"] for row in run.scores):
        opmask.save(model, out / "model.safetensors")
    write_json(out / "validation.json", run.scores)
    return ", ".join(f"{name} {value:.3f}" for name, value in run.scores[-1].items())


def warn_if_still(run: Run) -> None:
    """Reports a model that has not moved away from its input."""
    rows = run.log.rows[-CHECK_STEP // 2 :]
    if sum(row[2] for row in rows) > STILL * sum(row[3] for row in rows):
        warnings.warn(
            f"after {run.step} steps the output is still the input, nearly. Raise --lr or --eps.",
            stacklevel=2,
        )


def train(run: Run, photos: Packed, validation: Packed, options: Options) -> None:
    """All steps, with a validation every now and then."""
    out, device = options.out, torch.device(options.device)
    batches = read_batches(run, photos, device, seed=options.seed)
    steps = run.hyperparameters.steps
    progress = tqdm(batches, "train", steps, initial=run.step, disable=None)
    with Interrupt() as interrupt, progress:
        for seed, batch in progress:
            advance(run, seed, batch, out)
            last = run.step == steps
            if interrupt.asked or last or run.step % options.save_every == 0:
                run.log.write()
                save_state(out, run.parts, run.step)
            if run.step == CHECK_STEP:
                warn_if_still(run)
            if last or run.step % options.validate_every == 0:
                progress.write(validate(run, validation, out, options.device))
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
    options, hyperparameters = parse(__doc__.splitlines()[0])
    folder = options.photos or options.out / "photos"
    names = ("train", "validation")
    pools = {name: Pool(options.data, name, size=SIDE) for name in names}
    packed = {name: pack(pools[name], folder / name, workers=options.workers) for name in names}
    settings = asdict(hyperparameters)
    shares = settings.pop("mix")  # each is a setting of its own
    settings |= {**shares, "clear": options.clear, "seed": options.seed}
    settings["weights"] = options.weights and options.weights.name
    open_run(options.out, {k: str(v) for k, v in settings.items()}, resume=options.resume)
    run = begin(hyperparameters, options)
    photos = gather(packed["train"], hyperparameters.scenes, clear=options.clear)
    train(run, photos, packed["validation"], options)


if __name__ == "__main__":
    launch.run(main)
