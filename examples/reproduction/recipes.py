"""The training configurations, as constants: what the paper trains, and what opmask does.

A family names a recipe for each model. Families of a data set -> `--recipe` -> the flags that were
given override it -> :func:`parse` -> the loop in `loop.py`. Batches and steps are those of one
optimiser step.

`reference` is what the paper's published code executes, `paper` what its text says: they differ in
the perceptual loss, which the code computes on an output without gradient. `small` is opmask's
own, for minutes on a CPU; `small-lpips` adds a perceptual loss that a CPU can bear, AlexNet's.
`best` is what did best of all that was tried at 64 px (figures: `docs/how-to/training.rst`).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from opmask import HLS, LAB_CENTERED, LAB_UNIT, RGB, ColorSpace
from opmask.perturb import PRESETS
from reproduction.flags import add_flags, at_least, existing, flag, given, positive, weight

MODELS = ("rgb", "rgb-residual", "om")
CHOICES = (*MODELS, "om-hls", "omgan")
CRITICS = ("patch", "domain")
PERCEPTUAL = ("none", "lpips-vgg", "lpips-alex", "vgg19-lab")
# The models without masks, and of each one with masks in its place.
MASKLESS = {
    "rgb": "om",
    **dict.fromkeys(("dovenet", "rainnet", "bargainnet", "ht", "dht"), "ht-lab"),
}
MASK_TERMS = ("tv", "sparsity", "supervise_masks")  # the terms that only models with masks have

# The highest learning rates, where a recipe has none. The second is the paper's.
RATES = {"small": 1e-3, "attention-unet": 2e-4}


def _center(image: Tensor) -> Tensor:
    return 2 * image - 1


def _uncenter(image: Tensor) -> Tensor:
    return (image + 1) / 2


# Where images are compared, and how the discriminator sees them. The published code's two are in
# [-1, 1]: LAB for masks, RGB for the baseline. Its Harmony Transformer has both in [0, 1].
SPACES: dict[str, ColorSpace] = {
    "rgb": RGB,
    "rgb-centered": ColorSpace("rgb_centered", ("r", "g", "b"), _center, _uncenter),
    "lab-centered": LAB_CENTERED,
    "lab-unit": LAB_UNIT,
    "hls": HLS,
}


def loss_weight(help: str) -> float:
    """The weight of a loss that a recipe may leave out."""
    return flag(0.0, f"the weight of {help}", type=weight, metavar="W")


@dataclass(frozen=True)
class Recipe:
    """One configuration; each field but `batch` is a flag, whose help says what it is."""

    steps: int = flag(500, "how many steps are trained", type=at_least(1))
    size: int = flag(64, "height and width of the images, in pixels", type=at_least(32))
    batch_size: int = flag(16, "images in a batch of one process", type=at_least(1))
    # Images in a step, over all processes and accumulated batches; 0: whatever comes of the other
    # two, without accumulation.
    batch: int = 0
    backbone: str = flag("small", choices=RATES)
    head: str = flag(
        "identity",
        "where om starts; published: masks as the published network puts them out, which starts "
        "far from the identity",
        choices=["identity", "published"],
    )
    masks: str = flag("add-mul", "those of om", choices=["add-mul", "add"])
    perturb: str = flag("default", "how composites are made", choices=PRESETS)
    space: str = flag("rgb", "where images are compared", choices=SPACES)
    eps: float = flag(0.05, "of the Charbonnier loss, in units of --space", type=positive)
    perceptual: str = flag("none", "this loss too, with the weight 1", choices=PERCEPTUAL)
    adversarial: float = loss_weight("the adversarial loss; 0: no discriminator is trained")
    tv: float = loss_weight("the masks' total variation")
    sparsity: float = loss_weight("the masks' distance from the identity")
    supervise_region: float = loss_weight("what the effective change says of the region")
    supervise_masks: float = loss_weight("the masks' distance from the fitted constants")
    ema: float = flag(
        0.0,
        "the decay of averaged weights, which are then evaluated; 0: there are none",
        type=weight,
        metavar="DECAY",
    )
    lr: float = flag(0.0, "the highest learning rate; else the backbone's", type=positive)
    betas: tuple[float, float] = flag((0.9, 0.99), "Adam's", type=weight, nargs=2)
    milestones: tuple[int, ...] | None = flag(
        None,
        "the steps after which the rate is multiplied by --gamma; none: it stays (else a short "
        "rise, and then a fall to 0 along a cosine)",
        type=at_least(1),
        nargs="*",
    )
    gamma: float = flag(0.5, "the factor at each milestone", type=positive)
    l1: float = loss_weight("the mean absolute error; above 0 it replaces the Charbonnier loss")
    critic: str = flag(
        "patch",
        "what judges images: the paper's patches, by the relativistic loss, or DoveNet's "
        "discriminator, by hinges, which sees the region",
        choices=CRITICS,
    )
    penalty: float = loss_weight("the discriminator's slope, see --critic domain")
    fade: float = flag(
        0.0,
        "the share of the steps, the last ones, over which the rate falls to 0 along a line",
        type=weight,
        metavar="SHARE",
    )
    critic_width: int = 64  # of --critic domain
    drawn: bool = False  # whether weights are drawn as the published code of DoveNet draws them
    # The weight of BargainNet's loss, whose network describes a look by a code, alone.
    triplet: float = 0.0


# --- opmask's own ---

SMALL = Recipe()
SMALL_GAN = replace(SMALL, steps=250, adversarial=0.005)

BEST = replace(SMALL, steps=4000, ema=0.998)
BEST_GAN = replace(SMALL_GAN, steps=1000, ema=0.998)

# --- the paper's: Adam, 256 px, 4 processes of 64 images, weights averaged ---

_PUBLISHED = Recipe(
    size=256,
    batch_size=64,
    batch=256,
    backbone="attention-unet",
    head="published",
    perturb="reference",
    space="lab-centered",
    eps=1e-6,
    ema=0.999,
    lr=2e-4,
)
OM_HSCENE = replace(_PUBLISHED, steps=40_000, milestones=(20_000, 30_000))
OM_HLIP = replace(_PUBLISHED, steps=85_000, milestones=(55_000, 75_000))
# The baseline sees and compares RGB, in [-1, 1] too.
RGB_HSCENE = replace(OM_HSCENE, perturb="reference-rgb", space="rgb-centered")
RGB_HLIP = replace(OM_HLIP, perturb="reference-rgb", space="rgb-centered")
# From the weights of OM, with optimisers and learning rate as at the start. HLIP's milestone is
# its last step: the rate never falls.
OMGAN_HSCENE = replace(
    OM_HSCENE, steps=10_000, milestones=(3_000, 5_000, 8_000), adversarial=0.005
)
OMGAN_HLIP = replace(OM_HLIP, steps=10_000, milestones=(10_000,), adversarial=0.005)

Family = dict[str, Recipe]


def family(rgb: Recipe, om: Recipe, omgan: Recipe, **changes: object) -> Family:
    """A recipe for each of CHOICES, where all have some fields in common."""
    recipes = {"rgb": rgb, "rgb-residual": rgb, "om": om, "om-hls": om, "omgan": omgan}
    return {name: replace(recipe, **changes) for name, recipe in recipes.items()}


def _families(rgb: Recipe, om: Recipe, omgan: Recipe) -> dict[str, Family]:
    return {
        "small": family(SMALL, SMALL, SMALL_GAN),
        "small-lpips": family(SMALL, SMALL, SMALL_GAN, perceptual="lpips-alex"),
        "small-lpips-add": family(SMALL, SMALL, SMALL_GAN, perceptual="lpips-alex", masks="add"),
        "best": family(BEST, BEST, BEST_GAN, perceptual="lpips-alex", masks="add"),
        "reference": family(rgb, om, omgan),
        "paper": family(rgb, om, omgan, perceptual="lpips-vgg"),
        "paper-add": family(rgb, om, omgan, perceptual="lpips-vgg", masks="add"),
    }


HSCENE = _families(RGB_HSCENE, OM_HSCENE, OMGAN_HSCENE)
HLIP = _families(RGB_HLIP, OM_HLIP, OMGAN_HLIP)

# Table C of the supplement, on HScene, row by row: the family and the model of each.
ABLATION = {
    "rgb": ("paper", "rgb"),
    "add": ("paper-add", "om"),
    "add, mul": ("paper", "om"),
    "add, mul, no perceptual loss": ("reference", "om"),
    "add, mul, discriminator": ("paper", "omgan"),
}

# --- the command line ---


@dataclass(frozen=True)
class Options:
    """What a run is asked for besides its recipes; each field is a flag."""

    out: Path = flag(Path("runs"), "the run folder", type=Path)
    data: Path | None = flag(None, "root of the photos; else synthetic scenes", type=existing)
    model: tuple[str, ...] = flag(MODELS, nargs="+", choices=CHOICES)
    recipe: str = flag("small", "the family of recipes; flags override it", choices=HSCENE)
    guided: bool = flag(False, "give the region to the models", action="store_true")
    init: Path | None = flag(None, "a checkpoint to start from", type=existing)
    weights: Path | None = flag(None, "the file of --perceptual's network", type=existing)
    seed: int = flag(0, type=at_least(0))
    workers: int = flag(1, "data loading processes", type=at_least(0))
    device: str | None = flag(None, "else what there is", choices=["cpu", "cuda"])
    save_every: int = flag(100, "in steps (100)", type=at_least(1))
    resume: bool = flag(False, "go on with the run in --out", action="store_true")
    tensorboard: bool = flag(False, "log for TensorBoard too", action="store_true")
    mixed_precision: str | None = flag(None, choices=["no", "bf16", "fp16"])
    accumulate: int = flag(
        0, "batches in a step; else as many as the recipe's images need", type=at_least(1)
    )
    compile: bool = flag(False, "torch.compile the networks", action="store_true")


def parse(
    description: str,
    families: dict[str, Family],
    out: str,
    kinds: tuple[type[Options], type[Recipe]] = (Options, Recipe),
) -> tuple[Options, dict[str, Recipe]]:
    """What was asked for, and the recipe of each model; the kinds say which flags there are."""
    parser = argparse.ArgumentParser(description=description)
    add_flags(parser, kinds[0], "the run")
    add_flags(parser, kinds[1], "recipe: each of these overrides the family's value")
    args = parser.parse_args()
    options = kinds[0](**{"out": Path(out), **given(args, kinds[0])})
    family, flags = families[options.recipe], given(args, kinds[1])
    recipes = {model: replace(family[model], **flags) for model in options.model}
    check(parser, options, recipes)
    return options, recipes


def check(parser: argparse.ArgumentParser, options: Options, recipes: dict[str, Recipe]) -> None:
    """Refuses what does not go together, before any work is done."""
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a CUDA device, but PyTorch finds none.")
    if options.mixed_precision == "fp16" and (
        options.device == "cpu" or not torch.cuda.is_available()
    ):
        parser.error("--mixed-precision fp16 needs a CUDA device. On a CPU there is bf16.")
    for name, recipe in recipes.items():
        if recipe.ema >= 1:
            parser.error(f"--ema must be below 1, got {recipe.ema}.")
        if max(recipe.betas) >= 1:
            parser.error(f"--betas must be below 1, got {recipe.betas}.")
        if name == "omgan" and not recipe.adversarial:
            parser.error("--adversarial must be above 0 for the model omgan.")
        if recipe.penalty and recipe.critic != "domain":
            parser.error("--penalty is a loss of --critic domain.")
        if recipe.penalty and options.compile:
            parser.error(
                f"--compile has no second derivatives, which the losses of {name} need. Leave it "
                "out, or give --penalty 0."
            )
        if recipe.fade > 1:
            parser.error(f"--fade must be at most 1, all steps, got {recipe.fade}.")
        if recipe.fade and recipe.milestones is not None:
            parser.error("--milestones need --fade 0, as the rate cannot fall in both ways.")
        if recipe.triplet and name != "bargainnet":
            parser.error(f"--triplet is a loss of the model bargainnet, not of {name}.")
        if recipe.supervise_masks and recipe.perturb == "":
            parser.error("--supervise-masks needs label maps, and pairs of images have none.")
        if recipe.supervise_masks and recipe.perturb != "default":
            parser.error("--supervise-masks needs --perturb default, which keeps label maps.")
        if name in MASKLESS and any(getattr(recipe, term) for term in MASK_TERMS):
            flags = ", ".join(f"--{term.replace('_', '-')}" for term in MASK_TERMS)
            parser.error(
                f"{flags} are losses of masks, and the model {name} has none. Leave it out, as "
                f"in --model {MASKLESS[name]}."
            )
