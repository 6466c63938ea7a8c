"""What a model is trained for: a sum of terms, each with the weight of its recipe.

(batch, retouched image, masks) -> :func:`generator_terms` -> one number for each term.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from opmask import LAB_CENTERED, OperatorMaskWrapper, Retouched, Retoucher
from opmask.fitting import fit_masks
from opmask.losses import (
    LPIPS,
    VGG19Perceptual,
    charbonnier,
    mask_sparsity,
    mask_supervision,
    mask_total_variation,
    region_supervision,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from reproduction.batches import Batch
from reproduction.recipes import SPACES, Recipe

PERCEPTUAL = ("none", "lpips-vgg", "lpips-alex", "vgg19-lab")
OF_MASKS = ("tv", "sparsity", "supervise_masks")  # the terms that only models with masks have
OPTIONAL = ("adversarial", "supervise_region", *OF_MASKS)

Perceptual = Callable[[Tensor, Tensor], Tensor]


def term_names(recipe: Recipe) -> list[str]:
    """The terms of a recipe, in the order of the log; that of the discriminator is the last."""
    names = ["charbonnier"]
    names += ["perceptual"] if recipe.perceptual != "none" else []
    names += [name for name in OPTIONAL if getattr(recipe, name)]
    return names + (["discriminator"] if recipe.adversarial else [])


def perceptual_loss(
    recipe: Recipe, weights: Path | None, device: torch.device
) -> Perceptual | None:
    """One of PERCEPTUAL; `weights` is the file of its network."""
    if recipe.perceptual == "none":
        return None
    try:
        if recipe.perceptual == "vgg19-lab":
            network = VGG19Perceptual(weights=weights).to(device)
            # As the published code configures it, but with the arguments the right way round.
            return lambda x, y: network(LAB_CENTERED.from_rgb(x), LAB_CENTERED.from_rgb(y))
        return LPIPS(recipe.perceptual.removeprefix("lpips-"), weights=weights).to(device)
    except (FileNotFoundError, ImportError, ValueError) as error:
        raise SystemExit(f"--perceptual {recipe.perceptual}: {error}") from error


def generator_terms(
    recipe: Recipe,
    batch: Batch,
    model: nn.Module,
    result: Retouched,
    perceptual: Perceptual | None,
    discriminator: nn.Module | None,
) -> dict[str, Tensor]:
    """Each term of the loss with its weight, by name."""
    sample, (image, masks) = batch.sample, result
    see = SPACES[recipe.space].from_rgb
    terms = {"charbonnier": charbonnier(see(image), see(sample.real), recipe.eps)}
    if perceptual is not None:
        terms["perceptual"] = perceptual(image, sample.real)
    if discriminator is not None:
        logits = judge(discriminator, see(sample.real), see(image))
        terms["adversarial"] = recipe.adversarial * relativistic_generator_loss(*logits)
    if weight := recipe.supervise_region:
        change = region_supervision(image, sample.composite, sample.region)
        terms["supervise_region"] = weight * change
    if isinstance(model, OperatorMaskWrapper):
        terms |= mask_terms(recipe, batch, masks, model.retoucher)
    return terms


def mask_terms(
    recipe: Recipe, batch: Batch, masks: dict[str, Tensor], retoucher: Retoucher
) -> dict[str, Tensor]:
    terms = {}
    if recipe.tv:
        terms["tv"] = recipe.tv * mask_total_variation(masks)
    if recipe.sparsity:
        identity = {name: r.identity for name, r in retoucher.ranges.items()}
        terms["sparsity"] = recipe.sparsity * mask_sparsity(masks, identity)
    if recipe.supervise_masks:
        fitted = fitted_masks(batch, retoucher)
        terms["supervise_masks"] = recipe.supervise_masks * mask_supervision(masks, fitted)
    return terms


def fitted_masks(batch: Batch, retoucher: Retoucher) -> dict[str, Tensor]:
    """The constants, for each region, that best undo what was done to it."""
    sample = batch.sample
    regions = torch.stack(
        [
            record.region_map(label_map)
            for record, label_map in zip(sample.applied, batch.label_map, strict=True)
        ]
    )
    return fit_masks(retoucher, sample.composite, sample.real, regions)


def judge(discriminator: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of both, from one pass: its norms are those of each image by itself."""
    return discriminator(torch.cat([real, fake])).chunk(2)


def discriminator_loss(
    recipe: Recipe, discriminator: nn.Module, real: Tensor, fake: Tensor
) -> Tensor:
    """That of the discriminator's own step, on the images of the generator's."""
    see = SPACES[recipe.space].from_rgb
    return relativistic_discriminator_loss(*judge(discriminator, see(real), see(fake.detach())))
