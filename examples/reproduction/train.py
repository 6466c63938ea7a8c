"""One step of training, from the batches to the weights and the log.

(run, batches) -> :func:`advance`: forward, the terms of the loss, backward, optimiser; and for a
discriminator the same once more. What happens around the steps is in `loop.py`.

A step has the same composites however many processes and accumulated batches share it, and its
dropout is drawn from the seed, the step and the process. So a run that is resumed is the run that
was interrupted. What processes cannot have in common is in the guide, under "Training".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from opmask import OperatorMaskWrapper, Retouched, Retoucher
from opmask.fitting import fit_masks
from opmask.losses import (
    charbonnier,
    domain_triplet_loss,
    gradient_penalty,
    hinge_discriminator_loss,
    mask_sparsity,
    mask_supervision,
    mask_total_variation,
    region_supervision,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    wasserstein_generator_loss,
)
from opmask.perturb import CompositeBatch, sample_seed
from reproduction.checkpoint import Log
from reproduction.data import Batch, Share
from reproduction.networks import Perceptual
from reproduction.recipes import MASK_TERMS, SPACES, Recipe

T = TypeVar("T")

OPTIONAL_TERMS = ("adversarial", "triplet", "supervise_region", *MASK_TERMS)
CHECK_STEP = 500  # when a model that still returns its input is reported
STILL = 0.5  # levels of 255: a smaller mean change counts as returning the input


@dataclass
class Learner:
    """A network in training, its optimiser and its learning rates."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def step(self) -> None:
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()


@dataclass
class Run:
    """One model in training, and what goes with it.

    With several processes the network of a learner is a wrapper that exchanges gradients; `model`
    and `critic` are the networks inside.
    """

    name: str
    recipe: Recipe
    folder: Path
    seed: int
    share: Share
    log: Log
    model: nn.Module
    generator: Learner
    average: AveragedModel | None = None
    perceptual: Perceptual | None = None
    critic: nn.Module | None = None
    discriminator: Learner | None = None
    step: int = 0

    def parts(self, accelerator: Accelerator) -> dict[str, Any]:
        """All that a checkpoint holds besides the step, of which data and dropout follow."""
        parts = {"model": self.model, "average": self.average, "scaler": accelerator.scaler}
        parts |= {"optimizer": self.generator.optimizer, "schedule": self.generator.schedule}
        if self.discriminator is not None:
            parts["discriminator"] = self.critic
            parts["discriminator_optimizer"] = self.discriminator.optimizer
            parts["discriminator_schedule"] = self.discriminator.schedule
        return {name: part for name, part in parts.items() if part is not None}


# --- a step ---


def advance(run: Run, batches: Sequence[Batch], accelerator: Accelerator) -> None:
    """One step of one model, on one batch or, where gradients are accumulated, on several."""
    torch.manual_seed(sample_seed(run.seed, run.step, run.share.process))  # of dropout
    images, values = train_generator(run, batches, accelerator)
    if run.discriminator is not None:
        values = torch.cat([values, train_discriminator(run, batches, images, accelerator)])
    if run.average is not None:
        run.average.update_parameters(run.model)
    run.step += 1
    means = accelerator.reduce(values, "mean").tolist()
    stop_if_not_finite(run, values, means, batches)
    run.log.add(run.step, means[: len(run.log.columns) - 1])  # a single term is the loss itself
    if run.step == CHECK_STEP:
        warn_if_still(run.name, means[2])


def train_generator(
    run: Run, batches: Sequence[Batch], accelerator: Accelerator
) -> tuple[list[Tensor], Tensor]:
    """The images of the generator's step, and its values for the log."""
    network, images, values = run.generator.network, [], []
    for batch in accumulated(network, batches, accelerator):
        samples, _ = batch
        result = network(*inputs_of(run.model, samples))
        terms = generator_terms(run.recipe, batch, run.model, result, run.perceptual, run.critic)
        loss = sum(terms.values())
        accelerator.backward(loss / len(batches))
        images.append(result.image.detach())
        known = samples.real, samples.composite
        off = [255 * (images[-1] - image).abs().mean() for image in known]
        values.append(torch.stack([loss, *off, *terms.values()]).detach())
    run.generator.step()
    return images, torch.stack(values).mean(0)


def train_discriminator(
    run: Run, batches: Sequence[Batch], images: list[Tensor], accelerator: Accelerator
) -> Tensor:
    """The discriminator's step, on the same images; its loss."""
    network, losses = run.discriminator.network, []
    network.requires_grad_(True)
    pairs = [(samples, image) for (samples, _), image in zip(batches, images, strict=True)]
    for samples, image in accumulated(network, pairs, accelerator):
        loss = discriminator_loss(run.recipe, network, samples, image)
        accelerator.backward(loss / len(batches))
        losses.append(loss.detach())
    run.discriminator.step()
    network.requires_grad_(False)
    return torch.stack(losses).mean(0, keepdim=True)


def accumulated(network: nn.Module, batches: Sequence[T], accelerator: Accelerator) -> Iterator[T]:
    """Each batch; the processes exchange the gradients of all of them with the last one."""
    for batch in batches[:-1]:
        with accelerator.no_sync(network):
            yield batch
    yield batches[-1]


def inputs_of(model: nn.Module, samples: CompositeBatch) -> tuple[Tensor, ...]:
    """What a model is given: the composites, and the region if it was built for that."""
    return (samples.composite, samples.region) if model.region else (samples.composite,)


# --- the terms of the loss ---


def term_names(recipe: Recipe) -> list[str]:
    """The terms of a recipe, in the order of the log; that of the discriminator is the last."""
    names = ["l1" if recipe.l1 else "charbonnier"]
    names += ["perceptual"] if recipe.perceptual != "none" else []
    names += [name for name in OPTIONAL_TERMS if getattr(recipe, name)]
    return names + (["discriminator"] if recipe.adversarial else [])


def generator_terms(
    recipe: Recipe,
    batch: Batch,
    model: nn.Module,
    result: Retouched,
    perceptual: Perceptual | None,
    discriminator: nn.Module | None,
) -> dict[str, Tensor]:
    """Each term of the loss with its weight, by name."""
    (samples, _), (image, masks) = batch, result
    convert = SPACES[recipe.space].from_rgb
    mine, real = convert(image), convert(samples.real)
    if recipe.l1:
        terms = {"l1": recipe.l1 * (mine - real).abs().mean()}
    else:
        terms = {"charbonnier": charbonnier(mine, real, recipe.eps)}
    if perceptual is not None:
        terms["perceptual"] = perceptual(image, samples.real)
    if discriminator is not None:
        terms["adversarial"] = recipe.adversarial * adversarial_loss(
            recipe, discriminator, samples, image
        )
    if recipe.triplet:
        terms["triplet"] = recipe.triplet * triplets(model.backbone.extractor, samples, image)
    if weight := recipe.supervise_region:
        change = region_supervision(image, samples.composite, samples.region)
        terms["supervise_region"] = weight * change
    if isinstance(model, OperatorMaskWrapper):
        terms |= mask_terms(recipe, batch, masks, model.retoucher)
    return terms


def mask_terms(
    recipe: Recipe, batch: Batch, masks: dict[str, Tensor], retoucher: Retoucher
) -> dict[str, Tensor]:
    """The terms that only models with masks have."""
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
    samples, photos = batch
    pairs = zip(samples.applied, photos.label_map, strict=True)
    regions = torch.stack([applied.region_map(label_map) for applied, label_map in pairs])
    return fit_masks(retoucher, samples.composite, samples.real, regions)


def triplets(extractor: nn.Module, samples: CompositeBatch, image: Tensor) -> Tensor:
    """Whether the restored foreground looks like the real one, and like its background."""
    foregrounds = [extractor(x, samples.region) for x in (samples.real, image, samples.composite)]
    return domain_triplet_loss(*foregrounds, extractor(samples.real, 1 - samples.region))


def adversarial_loss(
    recipe: Recipe, discriminator: nn.Module, samples: CompositeBatch, image: Tensor
) -> Tensor:
    """How far the generator is from images that a discriminator of CRITICS takes for real."""
    convert = SPACES[recipe.space].from_rgb
    if recipe.critic == "domain":
        heads = discriminator(convert(image), samples.region)
        return sum(wasserstein_generator_loss(head) for head in heads)
    logits = discriminate(discriminator, convert(samples.real), convert(image))
    return relativistic_generator_loss(*logits)


def discriminate(
    discriminator: nn.Module, real: Tensor, fake: Tensor, *region: Tensor
) -> tuple[Tensor, Tensor]:
    """The logits of both, from one pass: its norms are those of each image by itself.

    With a region, those of each head.
    """
    both = torch.cat([real, fake])
    if not region:
        return discriminator(both).chunk(2)
    return tuple(head.chunk(2) for head in discriminator(both, region[0].repeat(2, 1, 1, 1)))


def discriminator_loss(
    recipe: Recipe, discriminator: nn.Module, samples: CompositeBatch, image: Tensor
) -> Tensor:
    """The loss of the discriminator's own step, on the images of the generator's."""
    convert = SPACES[recipe.space].from_rgb
    real, fake = convert(samples.real), convert(image.detach())
    if recipe.critic == "patch":
        return relativistic_discriminator_loss(*discriminate(discriminator, real, fake))
    heads = discriminate(discriminator, real, fake, samples.region)
    loss = sum(hinge_discriminator_loss(*head) for head in heads)
    if recipe.penalty:
        judge = partial(mean_of_heads, discriminator, samples.region)
        loss = loss + gradient_penalty(judge, real, fake, recipe.penalty)
    return loss


def mean_of_heads(discriminator: nn.Module, region: Tensor, image: Tensor) -> Tensor:
    return sum(discriminator(image, region)) / 2


# --- what may be wrong with a step ---


def stop_if_not_finite(
    run: Run, mine: Tensor, means: list[float], batches: Sequence[Batch]
) -> None:
    """Ends all processes if one value is not finite; that process names its batch.

    The checkpoint on disk is the last good one.
    """
    if all(math.isfinite(mean) for mean in means):
        return
    what = f"The loss of {run.name} is not finite at step {run.step}"
    if mine.isfinite().all():
        raise SystemExit(f"{what}, in another process.")
    raise SystemExit(f"{what}. Its batch: {describe_batches(run, batches)}. {advice(run)}")


def describe_batches(run: Run, batches: Sequence[Batch]) -> str:
    """Enough to make the composites of the last step again, see `opmask.datasets.Composites`."""
    positions = run.share.positions(run.step - 1)
    places = ", ".join(f"{part.start}-{part.stop - 1}" for part in positions)
    records = [applied for samples, _ in batches for applied in samples.applied]
    seeds = [applied.seed for applied in records if applied is not None]
    names = [name for _, photos in batches if photos is not None for name in photos.name]
    parts = {"positions": places, "seeds": seeds, "photos": names}
    return "; ".join(f"{part} {found}" for part, found in parts.items() if found)


def advice(run: Run) -> str:
    return (
        f"The last good checkpoint stays in {run.folder / 'checkpoint'}. Start again with a lower "
        "--lr, or without the photos in question."
    )


def warn_if_still(name: str, change: float) -> None:
    """Reports a model whose output is still its input, given the mean change in levels of 255."""
    if change < STILL:
        warnings.warn(
            f"after {CHECK_STEP} steps {name} still returns its input (mean change {change:.2f} "
            "of 255 levels). Raise the learning rate, or the eps of the Charbonnier loss.",
            stacklevel=2,
        )
