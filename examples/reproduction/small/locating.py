"""Whether a model finds what was changed, and predicts the masks that undo it.

model, packed photos -> fixed composites -> its gate against the region, and its masks against
those that were fitted -> lines of the card.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from opmask import OperatorMaskWrapper, lab_retoucher
from opmask.fitting import fit_masks
from opmask.markdown import markdown_table
from opmask.metrics.masks import mask_error
from reproduction.small.batches import treat
from reproduction.small.kinds import KINDS
from reproduction.small.pool import Packed
from reproduction.small.scoring import SEED, scenes
from reproduction.small.tables import mean

BLOCK = 8  # pixels; the side of the squares over which the AUC is taken
OPEN = 0.5  # where the gate is above this, it says that something was changed


def gates(model: OperatorMaskWrapper, photos: Packed, size: int) -> str:
    """For each kind of change how well the gate says where, told nothing or boxes."""
    titles = (
        *("composites", f"AUC, {BLOCK} px blocks", "AUC, compressed", "IoU, told nothing"),
        *("IoU, told boxes", "IoU of the boxes themselves"),
    )
    lines = ([kind, *gate_cells(model, photos, size, kind)] for kind in ("mixed", *KINDS))
    return markdown_table(titles, lines)


@torch.no_grad()
def gate_cells(model: OperatorMaskWrapper, photos: Packed, size: int, kind: str) -> list[str]:
    generator = torch.Generator().manual_seed(SEED)
    names: list[str] = []
    truths, blocks, compressed = [], [], []
    overlaps: list[list[float]] = [[], [], []]
    for scene in tqdm(scenes(photos, ("boxes",), kind), "gate", leave=False, disable=None):
        image, region, boxes = scene.made.composite, scene.made.region, scene.prompts["boxes"]
        names += scene.names
        truths.append(pooled(region) > 0.5)
        blind, treated, told = (
            model.predict(*given, size=size)["gate"]
            for given in ((image,), (treat(image, 1.0, generator),), (image, boxes))
        )
        blocks.append(pooled(blind))
        compressed.append(pooled(treated))
        for kept, found in zip(
            overlaps, (blind > OPEN, (told > OPEN) & (boxes > 0), boxes > 0), strict=True
        ):
            kept += iou(found, region)
    areas = (auc(torch.cat(scores), torch.cat(truths)) for scores in (blocks, compressed))
    return [*(f"{area:.3f}" for area in areas), *(f"{mean(names, v):.3f}" for v in overlaps)]


def pooled(maps: Tensor) -> Tensor:
    """The mean over each block (N,) of maps (B, 1, H, W)."""
    return F.avg_pool2d(maps, BLOCK).flatten()


def iou(found: Tensor, region: Tensor) -> list[float]:
    """The overlap of each image of a batch; 0 where nothing was found."""
    hit = (found & (region > 0)).sum((1, 2, 3))
    return (hit / (found | (region > 0)).sum((1, 2, 3))).tolist()


def auc(scores: Tensor, truth: Tensor) -> float:
    """The chance that a changed place is scored above another."""
    order = scores.argsort().argsort().double()
    inside = int(truth.sum())
    total = order[truth].sum() - inside * (inside - 1) / 2
    return float(total / (inside * (len(truth) - inside)))


@torch.no_grad()
def mask_errors(model: OperatorMaskWrapper, photos: Packed, size: int) -> str:
    """How near the masks are to those that undo the change, told nothing and the region."""
    errors: dict[str, dict[str, list[Tensor]]] = {}
    for scene in scenes(photos, ("exact", "unknown")):
        image, region = scene.made.composite, scene.made.region
        fitted = fit_masks(lab_retoucher(), image, scene.made.real, scene.regions)
        identity = lab_retoucher().identity(image)
        for given, prompt in scene.prompts.items():
            acting = model.retoucher.effective(model.predict(image, prompt, size=size))
            for name, error in mask_error(acting, fitted, identity, region).items():
                kept = errors.setdefault(given, {}).setdefault(name, [])
                kept.append(torch.stack([error.error, error.identity]))
    lines = []
    for given, found in errors.items():
        means = {name: torch.cat(v, 1).nanmean(1) for name, v in found.items()}
        listed = ", ".join(f"{n} {m[0]:.3f} ({m[0] / m[1]:.0%})" for n, m in means.items())
        lines.append(f"Mask error, {given} (share of the identity's): {listed}")
    return "\n\n".join(lines)
