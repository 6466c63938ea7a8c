"""The models of the training scripts, new or from a checkpoint.

recipe -> :func:`build` -> untrained model -> :func:`start_from` a checkpoint of the same
configuration, if there is one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

import opmask
from opmask import (
    LAB_CENTERED,
    RGB,
    Add,
    DirectRGB,
    MaskRange,
    Mul,
    OperatorMaskWrapper,
    OutputHead,
    Retoucher,
)
from opmask.backbones import AttentionUNet, SmallUNet
from opmask.checkpoints import load_reference_checkpoint
from opmask.checkpoints.description import describe
from opmask.color import LAB
from opmask.losses import LPIPS, VGG19Perceptual
from opmask.retouch import lab_retoucher, paper_hls_retoucher
from reproduction.recipes import Options, Recipe

Perceptual = Callable[[Tensor, Tensor], Tensor]


def build_network(
    backbone: str, channels: int, size: int, outputs: int = 3
) -> tuple[nn.Module, int]:
    """One of RATES, and the number that the sizes of its images must be multiples of."""
    if backbone == "small":
        return SmallUNet(channels, outputs), 32
    # The paper's 8 levels at 256 px. Smaller images leave room for fewer.
    depth = max((d for d in range(5, 9) if size % 2**d == 0), default=5)
    return AttentionUNet(channels, outputs, depth=depth), 2**depth


def build(model: str, recipe: Recipe, *, guided: bool) -> nn.Module:
    """One of CHOICES, untrained."""
    if model in ("om", "omgan") and recipe.head == "published":
        return build_published(recipe, guided=guided)
    net, multiple = build_network(recipe.backbone, 4 if guided else 3, recipe.size)
    if model == "rgb":
        return DirectRGB(net, region=guided, multiple_of=multiple)
    om = lab_retoucher if recipe.masks == "add-mul" else lambda: Retoucher(Add(LAB))
    retouchers = {
        # A residual RGB network is the wrapper with one unbounded addition to each colour.
        "rgb-residual": lambda: Retoucher(Add(RGB, range=MaskRange(0.0))),
        "om": om,
        "omgan": om,
        "om-hls": paper_hls_retoucher,
    }
    return OperatorMaskWrapper(net, retouchers[model](), region=guided)


def build_published(recipe: Recipe, *, guided: bool) -> nn.Module:
    """The paper's generator: its outputs are the masks, unbounded, with factors from 0 on."""
    add = Add(LAB_CENTERED, range=MaskRange(0.0))
    mul = Mul(LAB_CENTERED, range=MaskRange(1.0, low=0.0))
    operators = [add] if recipe.masks == "add" else [mul, add]
    net, multiple = build_network(
        recipe.backbone, 4 if guided else 3, recipe.size, 3 * len(operators)
    )
    if len(operators) == 2:
        # Here a factor is ReLU(1 + logit), there ReLU(logit): untrained, its image is mid-grey.
        with torch.no_grad():
            list(net.parameters())[-1][:3] -= 1
    return OperatorMaskWrapper(
        net,
        Retoucher(*operators),
        region=guided,
        head=OutputHead(),
        preprocess=LAB_CENTERED.from_rgb,
        example=torch.full((1, 3, multiple, multiple), 0.5),
        multiple_of=multiple,
    )


def draw_weights(layer: nn.Module) -> None:
    """Draws the weights of a layer as the code of DoveNet, RainNet and BargainNet does.

    What spectral norms divide keeps torch's start there, too.
    """
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        if not is_parametrized(layer):
            nn.init.normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)


def trained(folder: Path, name: str) -> Path:
    """Where a model of a run folder lies once it is trained."""
    return folder / name / "model.safetensors"


def starting_point(name: str, options: Options) -> Path | None:
    """The checkpoint to start from: that of --init, or the om of this run for omgan."""
    om = trained(options.out, "om")
    if name != "omgan" or (options.init is not None and "om" not in options.model):
        return options.init
    if "om" not in options.model and not om.exists():
        raise SystemExit(
            f"omgan starts from a trained om, but there is none in {options.out}. "
            "Add om to --model, or give its checkpoint as --init."
        )
    return om


def load_start(path: Path) -> tuple[nn.Module, nn.Module]:
    """The weights as trained, to go on from, and their average, as far as there is one.

    The published code goes on from the former, and evaluates neither but has both in its files.
    """
    if path.suffix == ".pth":
        names = "params", "params_ema"
        return tuple(load_reference_checkpoint(path, which) for which in names)
    raw = path.with_name("raw.safetensors")
    averaged = opmask.load(path)
    return (opmask.load(raw) if raw.exists() else averaged), averaged


def start_from(path: Path, model: nn.Module, average: nn.Module | None) -> None:
    """Gives a model, and its average, the weights of a checkpoint of the same configuration."""
    try:
        start, averaged = load_start(path)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"--init: {error}") from error
    mine, theirs = (json.loads(describe(network)) for network in (model, start))
    if changed := [name for name in mine if mine[name] != theirs.get(name)]:
        raise SystemExit(
            f"--init {path} holds a model of another configuration: "
            + "; ".join(f"{name} is {theirs.get(name)}, not {mine[name]}" for name in changed)
            + "."
        )
    model.load_state_dict(start.state_dict())
    if average is not None:
        average.load_state_dict(averaged.state_dict())


def build_perceptual_loss(
    name: str, weights: Path | None, device: torch.device
) -> Perceptual | None:
    """One of PERCEPTUAL; `weights` is the file of its network."""
    if name == "none":
        return None
    try:
        if name == "vgg19-lab":
            network = VGG19Perceptual(weights=weights).to(device)
            # As the published code configures it, but with the arguments the right way round.
            return lambda x, y: network(LAB_CENTERED.from_rgb(x), LAB_CENTERED.from_rgb(y))
        return LPIPS(name.removeprefix("lpips-"), weights=weights).to(device)
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise SystemExit(f"--perceptual {name}: {error}") from error
