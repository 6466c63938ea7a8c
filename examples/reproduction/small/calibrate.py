"""When not to act: fits, on validation, how far each region that a model finds is to be trusted.

model, photos -> `find_regions` of composites and of untouched photos, with the error that every
strength would leave -> :func:`fit` -> `opmask.Calibration`.

What is minimised is what is left of the composites' MSE, as long as untouched photos come back at
KEPT dB on average and the PSNR of composites rises by GAINED, so that on other photos it does not
fall. Strengths rise with confidence. At the threshold 0 the picture as a whole is the region.
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
from reproduction.small.network import fast_precision
from reproduction.small.pool import Packed
from reproduction.small.scoring import psnr, scenes

THRESHOLDS = (0.0, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
STRENGTHS = tuple(np.linspace(0, 1, 11).round(1).tolist())
KNOTS = 6  # as many confidences as that, at quantiles of the regions found
KEPT, GAINED = 42.0, 0.05  # dB, on average
ROUNDS = 4


class ImageRegions(NamedTuple):
    """The regions that a model finds in one image, at each threshold.

    Attributes:
        untouched: Whether the image is one that nobody changed.
        error: The MSE of the image as it is, in levels of 255.
        regions: For each threshold the confidence of each region, the share of its pixels that
            were changed, and by how much MSE of the image falls with each of STRENGTHS.
    """

    untouched: bool
    error: float
    regions: dict[float, list[tuple[float, float, np.ndarray]]]


@torch.no_grad()
def find_regions(
    model: OperatorMaskWrapper, photos: Packed, *, size: int, device: str = "cpu"
) -> list[ImageRegions]:
    """What a model finds in the fixed composites of photos, and in the photos."""
    found = []
    for scene in tqdm(scenes(photos, ()), "regions", leave=False, disable=None):
        made = scene.made
        nothing = torch.zeros_like(made.region)
        for untouched, image, region in (
            (False, made.composite, made.region),
            (True, made.real, nothing),
        ):
            gate, errors = errors_by_strength(model, image.to(device), made.real.to(device), size)
            found += [
                regions_of_image(untouched, *parts)
                for parts in zip(gate.cpu(), errors.cpu(), region, strict=True)
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
    untouched: bool, gate: Tensor, errors: Tensor, region: Tensor
) -> ImageRegions:
    pixels = errors[0].numel()
    regions = {}
    for threshold in THRESHOLDS:
        _, labels = connected_regions(gate[None] > threshold).unique(return_inverse=True)
        flat, count = labels.flatten(), int(labels.max()) + 1
        sizes = flat.bincount(minlength=count)
        confidence = flat.bincount(gate.flatten().double(), count) / sizes
        share = flat.bincount(region.flatten().double(), count) / sizes
        sums = torch.stack([flat.bincount(e.flatten().double(), count) for e in errors], 1)
        gains = ((sums[:, :1] - sums) / pixels).numpy()
        outside = bool((gate <= threshold).any())  # then the first label is no region
        regions[threshold] = list(zip(confidence.tolist(), share.tolist(), gains, strict=True))[
            int(outside) :
        ]
    return ImageRegions(untouched, float(errors[0].mean()), regions)


def fit(found: Sequence[ImageRegions]) -> Calibration:
    """The threshold, and the strength at each knot, that leave the least error."""
    tried = [fit_threshold(found, threshold) for threshold in THRESHOLDS]
    return min(tried, key=lambda pair: pair[0])[1]


class Regions(NamedTuple):
    """The found regions of all images at one threshold, as arrays.

    Attributes:
        before: The MSE of each image as it is, (N,).
        untouched: Whether nobody changed it, (N,).
        image: The place of the image of each region, (R,).
        confidence: The confidence of each region, (R,).
        gains: By how much the MSE of its image falls with each of STRENGTHS, (R, S).
    """

    before: np.ndarray
    untouched: np.ndarray
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
    places = np.array([row[0] for row in rows], dtype=int)
    gains = np.array([row[2] for row in rows]).reshape(-1, len(STRENGTHS))
    return Regions(before, untouched, places, np.array([row[1] for row in rows]), gains)


def fit_threshold(found: Sequence[ImageRegions], threshold: float) -> tuple[float, Calibration]:
    """The best strengths for a threshold, knot by knot, and the loss that they leave."""
    regions = regions_at(found, threshold)
    some = len(regions.confidence) > 0
    quantiles = np.quantile(regions.confidence, np.linspace(0.05, 0.95, KNOTS)) if some else [1.0]
    knots = np.unique(np.round(quantiles, 4))
    strengths = np.zeros(len(knots))
    best = loss(regions, knots, strengths)
    for _ in range(ROUNDS):
        for knot in range(len(knots)):
            low = strengths[knot - 1] if knot else 0.0
            for value in STRENGTHS:
                # Strengths rise with confidence: what is above follows, what is below stays.
                trial = np.where(
                    np.arange(len(knots)) > knot, np.maximum(strengths, value), strengths
                )
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
    gained = (near - psnr(before))[~untouched].mean()
    return float(share + max(0.0, KEPT - kept) + max(0.0, GAINED - gained))


def gained_mse(regions: Regions, strength: np.ndarray) -> np.ndarray:
    """By how much the MSE of each image falls, given the strength of each region."""
    place = strength * (len(STRENGTHS) - 1)  # strengths are evenly spaced
    low = np.minimum(place.astype(int), len(STRENGTHS) - 2)
    row = np.arange(len(low))
    below, above = regions.gains[row, low], regions.gains[row, low + 1]
    gains = below + (place - low) * (above - below)
    return np.bincount(regions.image, gains, len(regions.before))
