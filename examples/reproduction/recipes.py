"""The training configurations, as constants: what the paper trains, and what opmask does.

A family names a recipe for each model. Families of a data set -> `--recipe` -> the flags that were
given override it -> the loop in `training.py`. Batches and steps are those of one optimiser step.

`reference` is what the paper's published code executes, `paper` what its text says: they differ in
the perceptual loss, which the code computes on an output without gradient. `small` is opmask's
own, for minutes on a CPU; `small-lpips` adds a perceptual loss that a CPU can bear, AlexNet's.
`best` is what did best of all that was tried at 64 px (`docs/guide/training.rst` has the figures).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from torch import Tensor

from opmask import LAB_CENTERED, RGB, ColorSpace

MODELS = ("rgb", "rgb-residual", "om")
CHOICES = (*MODELS, "om-hls", "omgan")

# The highest learning rates, where a recipe has none. The second is the paper's.
RATES = {"small": 1e-3, "attention-unet": 2e-4}


def _center(image: Tensor) -> Tensor:
    return 2 * image - 1


def _uncenter(image: Tensor) -> Tensor:
    return (image + 1) / 2


# Where images are compared, and how the discriminator sees them. The published code's two are in
# [-1, 1]: LAB for masks, RGB for the baseline.
SPACES: dict[str, ColorSpace] = {
    "rgb": RGB,
    "rgb-centered": ColorSpace("rgb_centered", ("r", "g", "b"), _center, _uncenter),
    "lab-centered": LAB_CENTERED,
}


@dataclass(frozen=True)
class Recipe:
    """One configuration; each field is the command line flag of the same name.

    Args:
        steps: How many steps are trained.
        size: Height and width of the images, in pixels.
        batch_size: Images in a batch of one process.
        batch: Images in a step, over all processes and accumulated batches; 0: whatever comes of
            the other two, without accumulation.
        backbone: One of RATES.
        head: `identity`, or `published`: masks as the published network puts them out, which
            starts far from the identity.
        masks: Those of the model om: `add-mul`, or `add` alone.
        perturb: One of opmask.perturb.PRESETS.
        space: One of SPACES.
        eps: That of the Charbonnier loss, in units of `space`.
        perceptual: `none`, `lpips-vgg`, `lpips-alex` or `vgg19-lab`; its weight is 1.
        adversarial: The weight of the relativistic loss; 0: no discriminator is trained.
        tv: The weight of the total variation of the masks.
        sparsity: The weight of the masks' distance from the identity.
        supervise_region: The weight of what the effective change says of the region.
        supervise_masks: The weight of the masks' distance from the fitted constants.
        ema: The decay of the averaged weights, which are then evaluated; 0: there are none.
        lr: The highest learning rate; 0: that of RATES.
        betas: Adam's.
        milestones: After which steps the rate is multiplied by `gamma`; None: a short rise, and
            then a fall to 0 along a cosine.
        gamma: The factor at each milestone.
    """

    steps: int = 500
    size: int = 64
    batch_size: int = 16
    batch: int = 0
    backbone: str = "small"
    head: str = "identity"
    masks: str = "add-mul"
    perturb: str = "default"
    space: str = "rgb"
    eps: float = 0.05
    perceptual: str = "none"
    adversarial: float = 0.0
    tv: float = 0.0
    sparsity: float = 0.0
    supervise_region: float = 0.0
    supervise_masks: float = 0.0
    ema: float = 0.0
    lr: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    milestones: tuple[int, ...] | None = None
    gamma: float = 0.5

    def with_flags(self, flags: dict[str, object]) -> Recipe:
        """The recipe with what was given on the command line; None was not given."""
        names = {field.name for field in fields(self)}
        given = {name: v for name, v in flags.items() if name in names and v is not None}
        return replace(
            self, **{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        )


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
