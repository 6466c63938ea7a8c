"""Harmonize photos without a region: in two stages, or in one, scored and timed in one table.

Two stages are DIRL, which finds the region, and DoveNet, which is given what DIRL found; each is
trained by its own recipe, DoveNet on true regions. One stage is a network that predicts the
paper's masks of the composite alone. All see the same composites of one region each, those of a
folder in iHarmony4's format, or of one that is made of synthetic scenes.

    python examples/two_stages.py
    python examples/two_stages.py --data IHD --recipe published

`--recipe small`, the default, has narrow networks and few steps; `published` has those of the
papers, but for DIRL's size, its crops and its weights from ImageNet. A run can be interrupted at
any time; `--resume` goes on where it was. DIRL is trained by one process, the others by as many as
a launcher starts. The table of the paper (D of its supplement) is of photos with several changed
regions.
"""

from __future__ import annotations

if __name__ == "__main__":
    from reproduction import launch

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from reproduction import loop, networks
from reproduction.checkpoint import Interrupt, Log, load_state, save_state
from reproduction.given import FAMILIES, GivenOptions, GivenRecipe, build_given, epochs
from reproduction.given_task import SHOWN, cells, of_iharmony4
from reproduction.iharmony4 import read_iharmony4, score_iharmony4
from reproduction.recipes import OM_HSCENE, Family, parse
from reproduction.report import draw_curves, draw_panel
from reproduction.scoring import Target, measure_speed, open_samples, write_notes
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

import opmask
from opmask.backbones import DIRL
from opmask.files import replacing
from opmask.losses import localization_loss
from opmask.markdown import markdown_table
from opmask.metrics import localization_scores, write_scores
from opmask.perturb import CompositeBatch

MILESTONES = (30 / 60, 40 / 60, 50 / 60, 55 / 60)  # of all steps, after which the rate is halved
DECAY = 1e-4  # of weights
COMPOSITE = "composite"
PAPER = (
    "The paper's table, on HScene at 256 px: DIRL and DoveNet 158.94 and 29.06 dB in 144 ms an "
    "image, reading and writing included, OMGAN 94.00 and 30.88 dB in 53 ms.\n"
)
DIRL_PUBLISHED = GivenRecipe(
    steps=epochs(60, 8), size=256, batch_size=8, lr=1e-4, betas=(0.9, 0.999)
)


def _family(name: str) -> Family:
    """The three networks; those of `small` take as many steps of as many images."""
    dovenet = FAMILIES[name]["dovenet"]
    same = {"steps": dovenet.steps, "size": dovenet.size, "batch_size": dovenet.batch_size}
    if name == "published":
        om = GivenRecipe(**{**asdict(OM_HSCENE), "perturb": ""})
        return {"dirl": DIRL_PUBLISHED, "dovenet": dovenet, "om": om}
    dirl = replace(DIRL_PUBLISHED, **same, lr=1e-3, width=8)
    return {"dirl": dirl, "dovenet": dovenet, "om": GivenRecipe(**same)}


@dataclass(frozen=True)
class StageOptions(GivenOptions):
    """What a run is asked for besides its recipes; all three networks are trained."""

    model: tuple[str, ...] = ("dirl", "dovenet", "om")


class TwoStages(nn.Module):
    """A network that finds the region, and a model that is given what was found."""

    region = False

    def __init__(self, finder: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.finder, self.model = finder, model

    def forward(self, image: Tensor) -> opmask.Retouched:
        found = self.finder(image) > 0.5
        return self.model(image, found.to(image))


class Found(nn.Module):
    """The region that a network finds, to be shown among images."""

    region = False

    def __init__(self, finder: nn.Module) -> None:
        super().__init__()
        self.finder = finder

    def forward(self, image: Tensor) -> opmask.Retouched:
        return opmask.Retouched(self.finder(image), {})


def build(name: str, recipe: GivenRecipe, *, guided: bool = True) -> nn.Module:
    """DoveNet, which is given the region, or the paper's masks, which are not."""
    if name == "om":
        return networks.build(name, recipe, guided=False)
    return build_given(name, recipe, guided=guided)


def train_finder(recipe: GivenRecipe, root: Path, options: StageOptions, file: Path) -> None:
    """Trains DIRL, from where an interrupted run was; where its weights are already they stay."""
    if file.exists():
        return
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # which would wait for hours, and give up
        raise SystemExit(
            "DIRL is trained by one process. Start without a launcher; once DIRL is trained, a "
            "launcher may go on with --resume."
        )
    device, folder = device_of(options), file.parent
    torch.manual_seed(options.seed)
    network = build_finder(recipe).to(device).train()
    optimizer = torch.optim.Adam(
        network.parameters(), recipe.lr, betas=recipe.betas, weight_decay=DECAY
    )
    falls = [round(share * recipe.steps) for share in MILESTONES]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, 0.5)
    parts = {"model": network, "optimizer": optimizer, "schedule": schedule}
    log, first = Log(folder / "log.csv", ("loss",)), load_state(folder, parts)
    log.read(first)
    batches = finder_batches(recipe, root, options, first, device)
    with Interrupt() as interrupt, tqdm(batches, "train dirl", recipe.steps, initial=first) as bar:
        for step, batch in enumerate(bar, first + 1):
            loss = localization_loss(network.maps(batch.composite), batch.region)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            log.add(step, [loss.item()])
            if interrupt.asked or step % options.save_every == 0:
                log.write()
                save_state(folder, parts, step)
            if interrupt.asked:
                raise KeyboardInterrupt(f"at step {step} of dirl. Add --resume to go on")
    log.write()
    with replacing(file) as temporary:
        save_file(network.state_dict(), temporary)


def finder_batches(
    recipe: GivenRecipe, root: Path, options: StageOptions, first: int, device: torch.device
) -> Iterator[CompositeBatch]:
    """What DIRL is trained on from a step on."""
    how = {"size": recipe.size, "batch": recipe.batch_size, "seed": options.seed}
    how |= {"subset": options.subset, "inverted": options.inverted}
    how |= {"workers": options.workers, "device": device}
    return read_iharmony4(root, steps=range(first, recipe.steps), **how)


def build_finder(recipe: GivenRecipe) -> DIRL:
    return DIRL(width=recipe.width) if recipe.width else DIRL()


def device_of(options: StageOptions) -> torch.device:
    return torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))


# --- the table ---


def write_report(
    models: dict[str, nn.Module],
    finder: DIRL,
    target: Target,
    options: StageOptions,
    device: torch.device,
) -> str:
    """Scores and times one stage and two; what DoveNet does with true regions stands beside."""
    dovenet, out, made = models["dovenet"], options.out, options.data is None
    ways = {
        "DIRL and DoveNet": TwoStages(finder, dovenet),
        "DoveNet, region given": dovenet,
        "om, one stage": models["om"],
    }
    speeds = {name: measure_speed(model.eval(), target, device) for name, model in ways.items()}
    scores = {
        name: scores_of(way, target, device) for name, way in {COMPOSITE: None, **ways}.items()
    }
    seconds = {name: f"{speed.alone / 1000:.4f}" for name, speed in speeds.items()}
    lines = [[name, *cells(rows), seconds.get(name, "")] for name, rows in scores.items()]
    table = markdown_table(["way", *SHOWN.values(), "seconds an image"], lines)
    found = localization_of(finder, target, device)
    note = f"DIRL finds the regions with AP {found['ap']:.3f}, F1 {found['f1']:.3f}, IoU "
    note += f"{found['iou']:.3f}. Seconds are those of the models alone, images one by one."
    text = f"{table}\n\n{note} {PAPER}"
    with replacing(out / "results.md") as temporary:
        temporary.write_text(text)
    write_scores(out / "scores.csv", scores, protocol=target.protocol)
    write_notes(out / "scores.json", scores, target, speeds, made=made)
    batch = next(iter(open_samples(target, None).loader)).to(device)
    draw_panel({"found by DIRL": Found(finder), **ways}, batch, out)
    draw_curves(models, out)
    return text


def scores_of(
    model: nn.Module | None, target: Target, device: torch.device
) -> list[dict[str, str | float]]:
    guided = model is not None and model.region
    how = {"size": target.size, "subset": target.subset, "inverted": target.inverted}
    return score_iharmony4(model, target.iharmony4, guided=guided, device=device, **how)


@torch.no_grad()
def localization_of(finder: DIRL, target: Target, device: torch.device) -> dict[str, float]:
    """AP, F1 and IoU, means over the images."""
    parts = []
    for batch in open_samples(target, None).loader:
        batch = batch.to(device)
        parts.append(localization_scores(finder(batch.composite), batch.region))
    return {name: torch.cat([p[name] for p in parts]).mean().item() for name in parts[0]}


def main() -> None:
    families = {name: _family(name) for name in FAMILIES}
    options, recipes = parse(
        __doc__.splitlines()[0], families, "runs/two-stages", (StageOptions, GivenRecipe)
    )
    dirl = recipes.pop("dirl")
    options = replace(options, model=tuple(recipes))
    given, root = of_iharmony4(recipes, options), options.data or options.out / "iharmony4"
    file = options.out / "dirl" / "weights.safetensors"

    def prepare() -> None:
        """The data, and then DIRL, before all processes train the others."""
        given.prepare()
        train_finder(dirl, root, options, file)

    def report(models: dict[str, nn.Module], device: torch.device) -> str:
        finder = build_finder(dirl)
        finder.load_state_dict(load_file(file))
        where = {"subset": options.subset, "inverted": options.inverted}
        target = Target(dirl.size, "ih4-256", iharmony4=root, **where)
        return write_report(models, finder.to(device).eval(), target, options, device)

    task = replace(given, build=build, report=report, prepare=prepare)
    loop.run(task, recipes, options)


if __name__ == "__main__":
    launch.run(main)
