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
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from reproduction.checkpoint import open_run
from reproduction.small.batches import Batch, gather
from reproduction.small.finding import begin_finding
from reproduction.small.hyperparameters import Hyperparameters, Options, parse
from reproduction.small.network import build, fast_precision
from reproduction.small.pool import Packed, Pool, pack
from reproduction.small.run import Run, Terms, begin, drawer, train
from reproduction.small.scoring import rank, score, summarize
from torch import Tensor

import opmask
from opmask import OperatorMaskWrapper
from opmask.files import replacing
from opmask.inference.refine import refined_region
from opmask.losses import charbonnier

SIDE = 256  # of the small copies, in pixels
SLIGHT = 6 / 255  # an error in RGB that counts as a slight one
CHECK_STEP, STILL = 200, 0.995  # the share of the untrained loss that is left where nothing moved
COLUMNS = ("loss", "pixel", "untrained", "gate")


def loss_terms(
    model: OperatorMaskWrapper, batch: Batch, step: int, recipe: Hyperparameters
) -> Terms:
    """The terms of the loss, weighted; in half precision where only the network is concerned."""
    early = recipe.finding > 0 and step < recipe.alone * recipe.steps
    model.backbone.consults = not early
    share = 0.0 if early else recipe.refined
    with fast_precision(batch.composite.device):
        masks = model.predict(batch.composite, refined_prompt(model, batch, share))
    image = model.retoucher(batch.composite, masks)
    error = charbonnier(image, batch.real, recipe.eps, "none") - recipe.eps
    gate = masks["gate"].float().clamp(1e-4, 1 - 1e-4)
    terms = {
        "pixel": error.mean(),
        "gate": recipe.gate * F.binary_cross_entropy(gate, batch.region),
    }
    if recipe.inside:
        terms["inside"] = recipe.inside * (error * batch.region).mean()
    if recipe.relative:
        terms["relative"] = recipe.relative * relative_error(image, batch).mean()
    untrained = charbonnier(batch.composite, batch.real, recipe.eps) - recipe.eps
    return Terms(terms, {"untrained": untrained})


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


class Validation:
    """Scores the averaged weights now and then, and keeps those that do best."""

    def __init__(self, photos: Packed, recipe: Hyperparameters, options: Options) -> None:
        self.photos, self.options = photos, options
        self.size = min(128, max(recipe.last))
        self.scores: list[dict[str, float]] | None = None

    def __call__(self, run: Run) -> str | None:
        if run.step == CHECK_STEP:
            warn_if_still(run)
        if run.step < run.steps and run.step % self.options.validate_every:
            return None
        if self.scores is None:
            self.scores = read_scores(run.out, run.step - 1)
        model, prompts = run.average.module.eval(), ("exact", "unknown")
        model.backbone.consults = run.network.backbone.consults
        rows = score(model, self.photos, prompts, size=self.size, device=self.options.device)
        found = summarize(rows)
        self.scores.append({"step": run.step, **found, "rank": rank(found)})
        if self.scores[-1]["rank"] <= min(row["rank"] for row in self.scores):
            opmask.save(model, run.out / "model.safetensors")
        write_json(run.out / "validation.json", self.scores)
        return ", ".join(f"{name} {value:.3f}" for name, value in self.scores[-1].items())


def save_last(run: Run) -> None:
    """Writes the averaged weights as they are, so that an interrupted run leaves a model."""
    opmask.save(run.average.module, run.out / "last.safetensors", half=True)


def warn_if_still(run: Run) -> None:
    """Reports a model that has not moved away from its input."""
    rows = run.log.rows[-CHECK_STEP // 2 :]
    if sum(row[2] for row in rows) > STILL * sum(row[3] for row in rows):
        warnings.warn(
            f"after {run.step} steps the output is still the input, nearly. Raise --lr or --eps.",
            stacklevel=2,
        )


def read_scores(out: Path, step: int) -> list[dict[str, float]]:
    path = out / "validation.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    return [row for row in rows if row["step"] <= step]


def write_json(path: Path, value: object) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")


def find(
    model: OperatorMaskWrapper, photos: Packed, recipe: Hyperparameters, options: Options
) -> None:
    """Trains the finder; it has its averaged weights then, and keeps them."""
    network = model.backbone
    run = begin_finding(network, photos, recipe, options)
    train(run, "find", options.save_every)
    network.finder.load_state_dict(run.average.module.state_dict())
    network.finder.requires_grad_(False).eval()


def main() -> None:
    options, recipe = parse(__doc__.splitlines()[0])
    torch.manual_seed(options.seed)
    model = build(recipe.width, recipe.trunk, options.weights, finder=recipe.finding > 0)
    folder = options.photos or options.out / "photos"
    names = ("train", "validation")
    pools = {name: Pool(options.data, name, size=SIDE) for name in names}
    packed = {name: pack(pools[name], folder / name, workers=options.workers) for name in names}
    settings = asdict(recipe)
    shares = settings.pop("mix")  # each is a setting of its own
    settings |= {**shares, "clear": options.clear, "seed": options.seed}
    settings["weights"] = options.weights and options.weights.name
    settings = {name: str(value) for name, value in settings.items()}
    open_run(options.out, settings, resume=options.resume, whole=True)
    photos = gather(packed["train"], recipe.scenes, clear=options.clear)
    model = model.to(options.device, memory_format=torch.channels_last)
    if recipe.finding:
        find(model, photos, recipe, options)
    draw = drawer(photos, 0, recipe.shape, recipe.mix, options.seed, options.device)
    terms = partial(loss_terms, model, recipe=recipe)
    run = begin(options.out, model, recipe.steps, terms, draw, COLUMNS, recipe, options)
    if options.compile:
        if recipe.finding:  # whose loop over pieces would take minutes to compile
            model.backbone.finder.forward = torch.compiler.disable(model.backbone.finder.forward)
        model.backbone.compile()
    validation = Validation(packed["validation"], recipe, options)
    train(run, "train", options.save_every, validation, save_last)


if __name__ == "__main__":
    launch.run(main)
