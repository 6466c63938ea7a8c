"""The finder of a model for photos learns before all else: which pieces of a picture were changed.

batch -> pieces -> logit of each -> cross entropy with the share of it that was changed
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from opmask.backbones import RegionUNet
from opmask.backbones.segment_finder import SIZE
from opmask.backbones.superpixels import mean_of_each
from reproduction.small.batches import Batch
from reproduction.small.hyperparameters import Hyperparameters, Options
from reproduction.small.network import fast_precision
from reproduction.small.pool import Packed
from reproduction.small.run import Run, Terms, begin, drawer

PROMPTS = (0.45, 0.03, 0.12, 0.25, 0.15)  # mostly those that leave something to find
MEASURED = 3  # batches of which the mean and deviation of each statistic are taken
COLUMNS = ("loss",)


def begin_finding(
    network: RegionUNet, photos: Packed, recipe: Hyperparameters, options: Options
) -> Run:
    """The run in which the finder of a network learns; the rest of the network stays."""
    shape = recipe.batch_size, SIZE
    mix = replace(recipe.mix, prompts=PROMPTS)
    draw = drawer(photos, 1, lambda step: shape, mix, options.seed, options.device)
    measure(network, [draw(recipe.finding + i)[1] for i in range(MEASURED)])
    return begin(
        options.out / "finder",
        network.finder,
        recipe.finding,
        lambda batch, step: terms(network, batch),
        draw,
        COLUMNS,
        recipe,
        options,
    )


def measure(network: RegionUNet, batches: list[Batch]) -> None:
    """Takes mean and deviation of each statistic, by which the finder brings all to one scale."""
    found = (network.finder.pieces(b.composite, b.prompt, network.trunk) for b in batches)
    tokens = torch.cat([pieces.tokens.flatten(0, 1) for pieces in found])
    network.finder.mean.copy_(tokens.mean(0))
    network.finder.deviation.copy_(tokens.std(0) + 1e-4)


def terms(network: RegionUNet, batch: Batch) -> Terms:
    """The cross entropy of each piece, as much as it has pixels."""
    finder = network.finder
    with fast_precision(batch.composite.device):
        pieces = finder.pieces(batch.composite, batch.prompt, network.trunk)
        logits = finder.logits(pieces).float()
    share, pixels = mean_of_each(batch.region, pieces.labels, logits.shape[1])
    error = F.binary_cross_entropy_with_logits(logits, share[..., 0], reduction="none")
    return Terms({"gate": (error * pixels).sum() / pixels.sum()}, {})
