"""Published networks that are given the region: their recipes, as constants, and their models.

A recipe of FAMILIES -> :func:`build_given` -> a model that `opmask.save` takes: one that
paints images, or one whose masks a Harmony Transformer predicts.

`published` is what the published commands execute on iHarmony4, with steps counted in its 65,742
images to train on. `small` is opmask's own, for minutes on a CPU: the same losses, betas and
batches' order, on networks that are narrower and less deep.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from opmask import HLS, LAB_UNIT, Add, DirectRGB, OperatorMaskWrapper, OutputHead, Retoucher
from opmask.backbones import DHT, BargainNet, DoveNet, HarmonyTransformerPlus, RainNet
from opmask.color import HLS_CLAMPED
from opmask.retouch import paper_hls_retoucher, paper_lab_retoucher
from opmask.wrapper.baseline import PASTES
from reproduction.flags import at_least, existing, flag
from reproduction.networks import draw_weights
from reproduction.recipes import Family, Options, Recipe, loss_weight

UNETS = {"dovenet": DoveNet, "rainnet": RainNet, "bargainnet": BargainNet}
TRANSFORMERS = {"ht": HarmonyTransformerPlus, "dht": DHT}
RETOUCHERS = {
    "ht-lab": paper_lab_retoucher,
    "ht-hls": paper_hls_retoucher,
    "ht-hls-add": lambda: Retoucher(Add(HLS_CLAMPED)),
}
GIVEN = ("dovenet", "rainnet", "bargainnet", "ht", *RETOUCHERS, "dht")


@dataclass(frozen=True)
class GivenRecipe(Recipe):
    """One configuration of a network that is given the region."""

    perturb: str = ""  # composites are read, not made
    backbone: str = "small"
    masks: str = "add-mul"
    width: int = flag(0, "of the network; 0: as published", type=at_least(0))
    depth: int = flag(
        0, "levels of a U-Net; 0: as published, or as many as --size allows", type=at_least(0)
    )
    layers: int = flag(0, "of each transformer; 0: as published", type=at_least(0))
    critic_width: int = flag(64, "of --critic domain", type=at_least(1))
    triplet: float = loss_weight("BargainNet's codes of looks")
    flip: bool = flag(
        True, "flip composites half of the time", action=argparse.BooleanOptionalAction
    )
    paste: str = flag("never", "when what is painted is pasted into the composite", choices=PASTES)


@dataclass(frozen=True)
class GivenOptions(Options):
    """What a run is asked for besides its recipes."""

    data: Path | None = flag(
        None,
        "a folder as iHarmony4's; else one is made of scenes in the run folder",
        type=existing,
    )
    model: tuple[str, ...] = flag(GIVEN, nargs="+", choices=GIVEN)
    recipe: str = flag(
        "small", "the family of recipes; flags override it", choices=["small", "published"]
    )
    guided: bool = True
    subset: str | None = flag(None, "the part of --data, such as HCOCO; else all")
    inverted: bool = flag(False, "its masks are black inside", action="store_true")


# --- the published recipes, at 256 px ---

EPOCH = 65_742  # images of iHarmony4 to train on


def epochs(count: int, batch: int) -> int:
    """Steps of so many epochs, the last batch of each being smaller."""
    return count * math.ceil(EPOCH / batch)


_PUBLISHED = GivenRecipe(
    size=256, batch_size=1, batch=1, head="published", betas=(0.5, 0.999), l1=100.0
)

# Neither flips nor their absence are stated for RainNet, whose code is made of DoveNet's.
DOVENET = replace(
    _PUBLISHED,
    steps=epochs(200, 1),
    fade=1 / 2,
    lr=2e-4,
    space="rgb-centered",
    adversarial=1.0,
    critic="domain",
    penalty=10.0,
    flip=False,
    drawn=True,
)
RAINNET = replace(
    DOVENET,
    batch_size=11,
    batch=11,
    steps=epochs(200, 11),
    paste="always",
)
# The rate would fall after the last step; how many epochs were trained is not stated.
BARGAINNET = replace(
    _PUBLISHED,
    steps=epochs(100, 1),
    milestones=(epochs(100, 1),),
    gamma=0.1,
    lr=1e-4,
    betas=(0.9, 0.999),
    space="rgb-centered",
    l1=1.0,
    triplet=0.01,
    drawn=True,
)
HT = replace(
    _PUBLISHED,
    batch_size=4,
    batch=4,
    steps=epochs(60, 4),
    fade=1 / 2,
    lr=1e-4,
    paste="evaluation",
)
# As the paper trains it, to predict masks; images are compared in the masks' colour space.
HT_LAB = replace(
    HT, batch_size=8, batch=8, steps=epochs(90, 8), fade=50 / 90, lr=8e-5, space="lab-unit"
)
HT_HLS = replace(HT_LAB, space="hls")

PUBLISHED: Family = {
    "dovenet": DOVENET,
    "rainnet": RAINNET,
    "bargainnet": BARGAINNET,
    "ht": HT,
    "ht-lab": HT_LAB,
    "ht-hls": HT_HLS,
    "ht-hls-add": HT_HLS,
    "dht": HT,
}


def small(name: str, recipe: GivenRecipe) -> GivenRecipe:
    """The same losses and schedule in short, for a network that a CPU trains in minutes."""
    unet = name in UNETS
    return replace(
        recipe,
        size=64,
        batch_size=8,
        batch=0,
        steps=1000,
        fade=1 / 2,
        milestones=None,
        head="identity",
        drawn=False,
        lr=1e-3 if unet else 5e-4,
        width=16 if unet else 64,
        depth=5 if unet else 0,
        layers=0 if unet else 3,
        critic_width=16,
    )


FAMILIES: dict[str, Family] = {
    "small": {name: small(name, recipe) for name, recipe in PUBLISHED.items()},
    "published": PUBLISHED,
}


# --- the models ---


def build_given(model: str, recipe: GivenRecipe, *, guided: bool = True) -> nn.Module:
    """One of GIVEN, untrained."""
    if model in RETOUCHERS:
        return build_masks(RETOUCHERS[model](), recipe)
    kind = UNETS.get(model) or TRANSFORMERS[model]
    network = kind(**arguments_of(model, recipe))
    if recipe.drawn:
        network.apply(draw_weights)
    return DirectRGB(
        network,
        region=guided,
        multiple_of=network.multiple_of,
        centered=False,
        paste=recipe.paste,
    )


def arguments_of(model: str, recipe: GivenRecipe) -> dict[str, int]:
    """What a network is built with, where that is not as published."""
    width = {"width": recipe.width} if recipe.width else {}
    if model not in UNETS:
        return width | ({"layers": recipe.layers} if recipe.layers else {})
    fitting = max((d for d in range(5, 9) if recipe.size % 2**d == 0), default=5)
    arguments = {**width, "depth": recipe.depth or fitting}
    if model == "bargainnet":
        # The network that describes a look halves the size, too, and needs a pixel to be left.
        arguments["code_depth"] = min(5, int(math.log2(recipe.size + 1)) - 1)
        arguments |= {"code_width": recipe.width} if recipe.width else {}
    return arguments


def build_masks(retoucher: Retoucher, recipe: GivenRecipe) -> OperatorMaskWrapper:
    """A Harmony Transformer that predicts masks, by its own last layer or the wrapper's."""
    outputs, arguments = len(retoucher.ranges), arguments_of("ht", recipe)
    network = HarmonyTransformerPlus(4, outputs, **arguments, tanh=False)
    space = LAB_UNIT if "a_add" in retoucher.ranges else HLS
    return OperatorMaskWrapper(
        network,
        retoucher,
        region=True,
        head=OutputHead() if recipe.head == "published" else None,
        preprocess=space.from_rgb,
        multiple_of=network.multiple_of,
    )
