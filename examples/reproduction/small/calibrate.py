"""When not to act: fits, on validation, how far each region that a model finds is to be trusted.

model, photos -> `find_regions` of composites and of untouched photos, with the error that every
strength would leave -> :func:`fit` -> `opmask.Calibration`.

What is minimised is what is left of the composites' MSE, as long as untouched photos come back at
KEPT dB on average and it is nearly sure, of each kind of change and of photos of people, that the
PSNR of composites does not fall by more than ALLOWED. Strengths rise with confidence, up to where
hardly a photo was seen: flat and grey ones are there, and stay as they are. At the threshold 0 the
picture as a whole is the region.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from opmask import Calibration, OperatorMaskWrapper
from opmask.wrapper.calibration import connected_regions
from reproduction.small.kinds import KINDS
from reproduction.small.network import fast_precision
from reproduction.small.pool import Packed
from reproduction.small.scoring import BATCH, psnr, scenes

THRESHOLDS = (0.0, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
STRENGTHS = tuple(np.linspace(0, 1, 11).round(1).tolist())
KNOTS = (0.5, 0.7, 0.85, 0.92, 0.96, 0.98)  # quantiles of the confidences of regions found
UNSEEN = 0.995  # the quantile from which on nothing is done: hardly a photo is like that
KEPT = 45.0  # dB, on average
ALLOWED = 0.05  # dB, which nobody sees
SURE = 1.96  # standard errors of a mean, of which 95 % intervals reach so far to each side
STRICT = 10.0  # what a dB counts that may be lost, in shares of MSE
PEOPLE = "people/"  # how the names of photos of people begin
ROUNDS = 4


class ImageRegions(NamedTuple):
    """The regions that a model finds in one image, at each threshold.

    Attributes:
        untouched: Whether the image is one that nobody changed.
        error: The MSE of the image as it is, in levels of 255.
        groups: Of what the harm is looked at by itself: the kind of change, and people.
        regions: For each threshold the confidence of each region, the share of its pixels that
            were changed, and by how much MSE of the image falls with each of STRENGTHS.
    """

    untouched: bool
    error: float
    groups: tuple[str, ...]
    regions: dict[float, list[tuple[float, float, np.ndarray]]]


@torch.no_grad()
def find_regions(
    model: OperatorMaskWrapper, photos: Packed, *, size: int, device: str = "cpu"
) -> list[ImageRegions]:
    """What a model finds in the fixed composites of photos, of each kind, and in the photos."""
    found = []
    every = ((kind, scene) for kind in ("mixed", *KINDS) for scene in scenes(photos, (), kind))
    total = -(-int(photos.labelled.sum()) // BATCH) * (1 + len(KINDS))
    for kind, scene in tqdm(every, "regions", total, leave=False, disable=None):
        made = scene.made
        tried = [(False, made.composite, made.region)]
        if kind == "mixed":
            tried.append((True, made.real, torch.zeros_like(made.region)))
        groups = [(kind, PEOPLE) if name.startswith(PEOPLE) else (kind,) for name in scene.names]
        for untouched, image, region in tried:
            gate, errors = errors_by_strength(model, image.to(device), made.real.to(device), size)
            found += [
                regions_of_image(untouched, *parts)
                for parts in zip(groups, gate.cpu(), errors.cpu(), region, strict=True)
            ]
    return found


def errors_by_strength(
    model: OperatorMaskWrapper, image: Tensor, real: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """The gate (B, 1, H, W) and the squared error of each pixel (B, S, H, W)."""
    with fast_precision(image.device):
        masks = model.predict(image, size=size)
    outputs = [
        model.retoucher(image, model.retoucher.edit(masks, strength=strength))
        for strength in STRENGTHS
    ]
    levels = [(255 * (output - real)).square().mean(1) for output in outputs]
    return masks["gate"], torch.stack(levels, 1)


def regions_of_image(
    untouched: bool, groups: tuple[str, ...], gate: Tensor, errors: Tensor, region: Tensor
) -> ImageRegions:
    pixels = errors[0].numel()
    each = torch.cat([gate, region, errors]).flatten(1).T.double().contiguous()
    regions = {}
    for threshold in THRESHOLDS:
        _, labels = connected_regions(gate[None] > threshold).unique(return_inverse=True)
        flat, count = labels.flatten(), int(labels.max()) + 1
        sums = each.new_zeros(count, each.shape[1]).index_add_(0, flat, each)
        confidence, share = (sums[:, :2] / flat.bincount(minlength=count)[:, None]).T
        sums = sums[:, 2:]
        gains = ((sums[:, :1] - sums) / pixels).numpy()
        outside = bool((gate <= threshold).any())  # then the first label is no region
        regions[threshold] = list(zip(confidence.tolist(), share.tolist(), gains, strict=True))[
            int(outside) :
        ]
    return ImageRegions(untouched, float(errors[0].mean()), groups, regions)


def fit(found: Sequence[ImageRegions]) -> Calibration:
    """The threshold, and the strength at each knot, that leave the least error."""
    tried = [fit_threshold(found, threshold) for threshold in THRESHOLDS]
    return min(tried, key=lambda pair: pair[0])[1]


class Regions(NamedTuple):
    """The found regions of all images at one threshold, as arrays.

    Attributes:
        before: The MSE of each image as it is, (N,).
        untouched: Whether nobody changed it, (N,).
        groups: Which of the changed images are of each group, (N,) by name.
        image: The place of the image of each region, (R,).
        confidence: The confidence of each region, (R,).
        gains: By how much the MSE of its image falls with each of STRENGTHS, (R, S).
    """

    before: np.ndarray
    untouched: np.ndarray
    groups: dict[str, np.ndarray]
    image: np.ndarray
    confidence: np.ndarray
    gains: np.ndarray


def regions_at(found: Sequence[ImageRegions], threshold: float) -> Regions:
    rows = [
        (place, confidence, gains)
        for place, image in enumerate(found)
        for confidence, _, gains in image.regions[threshold]
    ]
    before = np.array([image.error for image in found])
    untouched = np.array([image.untouched for image in found])
    names = sorted({name for image in found for name in image.groups})
    groups = {name: np.array([name in image.groups for image in found]) for name in names}
    places = np.array([row[0] for row in rows], dtype=int)
    gains = np.array([row[2] for row in rows]).reshape(-1, len(STRENGTHS))
    groups = {name: some & ~untouched for name, some in groups.items()}
    return Regions(before, untouched, groups, places, np.array([row[1] for row in rows]), gains)


def fit_threshold(found: Sequence[ImageRegions], threshold: float) -> tuple[float, Calibration]:
    """The best strengths for a threshold, knot by knot, and the loss that they leave."""
    regions = regions_at(found, threshold)
    some = len(regions.confidence) > 0
    quantiles = np.quantile(regions.confidence, (*KNOTS, UNSEEN)) if some else np.ones(2)
    quantiles = np.round(quantiles, 4)
    knots = np.unique(quantiles)
    free = len(np.unique(quantiles[:-1]))  # the last one, if it is another, stays at 0
    strengths = np.zeros(len(knots))
    best = loss(regions, knots, strengths)
    for _ in range(ROUNDS):
        for knot in range(free):
            low = strengths[knot - 1] if knot else 0.0
            for value in STRENGTHS:
                # Strengths rise with confidence: what is above follows, what is below stays.
                trial = strengths.copy()
                trial[knot + 1 : free] = np.maximum(trial[knot + 1 : free], value)
                trial[knot] = max(low, value)
                if (now := loss(regions, knots, trial)) < best - 1e-9:
                    best, strengths = now, trial
    return best, Calibration(threshold, tuple(knots.tolist()), tuple(strengths.tolist()))


def loss(regions: Regions, knots: np.ndarray, strengths: np.ndarray) -> float:
    """What is minimised, see the top of this page."""
    before, untouched = regions.before, regions.untouched
    after = before - gained_mse(regions, np.interp(regions.confidence, knots, strengths))
    share = after[~untouched].sum() / before[~untouched].sum()
    near = psnr(after.clip(0))
    kept = near[untouched].mean() if untouched.any() else KEPT
    gains = near - psnr(before)
    lost = [
        max(0.0, -ALLOWED - surely(gains[some])) for some in regions.groups.values() if some.any()
    ]
    return float(share + max(0.0, KEPT - kept) + STRICT * sum(lost))


def surely(gains: np.ndarray) -> float:
    """The lower end of the 95 % interval of a mean."""
    return float(gains.mean() - SURE * gains.std() / len(gains) ** 0.5)


def gained_mse(regions: Regions, strength: np.ndarray) -> np.ndarray:
    """By how much the MSE of each image falls, given the strength of each region."""
    place = strength * (len(STRENGTHS) - 1)  # strengths are evenly spaced
    low = np.minimum(place.astype(int), len(STRENGTHS) - 2)
    row = np.arange(len(low))
    below, above = regions.gains[row, low], regions.gains[row, low + 1]
    gains = below + (place - low) * (above - below)
    return np.bincount(regions.image, gains, len(regions.before))
