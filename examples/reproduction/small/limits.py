"""How far `strength` may go beyond 1 before results are worse than the photo as it is.

model, packed photos -> fixed composites, given the region -> the error that is left, and how far
hues are from the photo's, at each strength -> :func:`limit`, `Calibration.limit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from opmask import LAB, OperatorMaskWrapper
from opmask.inference.regions import within
from opmask.markdown import markdown_table
from reproduction.small.kinds import KINDS
from reproduction.small.network import fast_precision
from reproduction.small.pool import Packed
from reproduction.small.scoring import mean, scenes, squared_error

TURN = 1.0  # degrees, by which hues may be farther from the photo's than at strength 1
STRENGTHS = (0.0, 0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0)


class Outcome(NamedTuple):
    """What a strength comes to, over all composites.

    Attributes:
        share: What is left of the composites' MSE.
        turn: The angle in degrees between the hues of output and photo in CIELAB, the mean over
            the pixels of the region, weighted by the chroma of the photo.
    """

    share: float
    turn: float


Outcomes = Mapping[str, Mapping[float, Outcome]]
"""By kind of change and strength."""


def outcomes(
    model: OperatorMaskWrapper, photos: Packed, *, size: int, device: str = "cpu"
) -> Outcomes:
    """What each strength comes to for each kind of change, given the region."""
    return {
        kind: outcomes_of(model, photos, kind, size, device)
        for kind in tqdm(("mixed", *KINDS), "strengths", leave=False, disable=None)
    }


@torch.no_grad()
def outcomes_of(
    model: OperatorMaskWrapper, photos: Packed, kind: str, size: int, device: str
) -> dict[float, Outcome]:
    errors: dict[float, list[float]] = {strength: [] for strength in STRENGTHS}
    turns: dict[float, list[float]] = {strength: [] for strength in STRENGTHS}
    for scene in scenes(photos, ("exact",), kind):
        image, real = (x.to(device) for x in (scene.made.composite, scene.made.real))
        region = scene.prompts["exact"].to(device)
        with fast_precision(device):
            masks = within(model.retoucher, model.predict(image, region, size=size), region)
        for strength in STRENGTHS:
            output = model.retoucher(image, model.retoucher.edit(masks, strength=strength))
            errors[strength] += squared_error(output, real).tolist()
            turns[strength] += hue_turns(output, real, region).tolist()
    before = mean(errors[0.0])
    return {s: Outcome(mean(errors[s]) / before, mean(turns[s])) for s in STRENGTHS}


def hue_turns(output: Tensor, real: Tensor, region: Tensor) -> Tensor:
    """The angles (B,) between hues, in degrees, see `Outcome`."""
    (_, a, b), (_, real_a, real_b) = (
        LAB.from_rgb(image.clamp(0, 1)).unbind(1) for image in (output, real)
    )
    angle = torch.rad2deg(torch.atan2(b, a) - torch.atan2(real_b, real_a))
    angle = ((angle + 180) % 360 - 180).abs()
    weight = real_a.hypot(real_b) * region[:, 0]
    return (angle * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-6)


def limit(found: Outcomes) -> float:
    """The largest strength from 1 on up to which no kind ends worse than it was, or turns."""
    allowed = 1.0
    for strength in STRENGTHS[STRENGTHS.index(1.0) :]:
        kinds = found.values()
        if any(k[strength].share > 1 or k[strength].turn > k[1.0].turn + TURN for k in kinds):
            break
        allowed = strength
    return allowed


def table(found: Outcomes) -> str:
    """A row for each strength, a column for each kind: share of MSE left, and the hue turn."""
    lines = [
        [f"{s:g}", *(f"{of[s].share:.2f}, {of[s].turn:.1f}°" for of in found.values())]
        for s in STRENGTHS
    ]
    return markdown_table(["strength", *found], lines)
