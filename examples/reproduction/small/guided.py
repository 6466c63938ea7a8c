"""How strong an edit is where the region is told, by default and at most.

model, packed photos -> fixed composites, told the region exactly and roughly -> what each strength
comes to, with and without refining: `outcomes` -> :func:`fit` -> the fields `refines`, `told`,
`rough`, `told_error`, `rough_error` and `limit` of `opmask.Calibration`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from opmask import LAB, Calibration, OperatorMaskWrapper
from opmask.inference.refine import refined
from opmask.inference.regions import change_within, within
from opmask.markdown import markdown_table
from reproduction.small.calibrate import surely
from reproduction.small.kinds import KINDS
from reproduction.small.network import fast_precision
from reproduction.small.pool import Packed
from reproduction.small.scoring import psnr, scenes, squared_error

STRENGTHS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0)
ONE = STRENGTHS.index(1.0)
ROUGH = "boxes", "scribbles"
LARGEST = tuple(n / 20 for n in range(21))  # strengths of large changes that are tried
OFF = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0)  # and levels of error
WORTH = 0.1  # what a dB counts, in shares of MSE, as where checkpoints are compared
TURN = 1.0  # degrees, by which hues may be farther from the photo's than at strength 1


class Outcome(NamedTuple):
    """What strengths come to for the composites of a kind.

    Attributes:
        errors: The MSE of each composite at each of STRENGTHS, (N, S), in levels of 255; at those
            up to 1 where the region is told roughly.
        turns: The mean angle in degrees between the hues of output and photo in CIELAB, over the
            pixels of the region, weighted by the chroma of the photo, (S,); nothing where the
            region is told roughly.
        changes: By how much each composite is changed at strength 1, (N,), see
            `opmask.inference.regions.change_within`.
    """

    errors: np.ndarray
    turns: np.ndarray
    changes: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """What is left of the composites' MSE, (S,)."""
        return self.errors.mean(0) / self.errors[:, 0].mean()

    @property
    def decibels(self) -> np.ndarray:
        """By how much PSNR rises on average, (S,)."""
        near = psnr(self.errors)
        return (near - near[:, :1]).mean(0)

    def trusted(self, trust: Trust) -> Outcome:
        """The outcome of doing nothing, and of the strengths of a calibration, (N, 2)."""
        calibration = Calibration(0.0, (0.0,), (0.0,), told=trust.strength, told_error=trust.error)
        changes = torch.from_numpy(self.changes).double()
        strengths = calibration.told_strengths(changes, [False] * len(changes)).numpy()
        tried = STRENGTHS[: self.errors.shape[1]]
        after = [np.interp(s, tried, row) for s, row in zip(strengths, self.errors, strict=True)]
        return self._replace(errors=np.stack([self.errors[:, 0], after], 1))


class Trust(NamedTuple):
    """The strength of large changes, and how far changes are off, see `opmask.Calibration`."""

    strength: float
    error: float


Hint = tuple[str, bool]
"""How the region is told, and whether it is refined."""

HINTS: tuple[Hint, ...] = (
    ("exact", False),
    *((given, finer) for given in ROUGH for finer in (False, True)),
)
Outcomes = Mapping[Hint, Mapping[str, Outcome]]
"""By hint and kind of change."""


def outcomes(
    model: OperatorMaskWrapper, photos: Packed, *, size: int, device: str = "cpu"
) -> Outcomes:
    """What each strength comes to for each kind of change, told the region."""
    found: dict[Hint, dict[str, Outcome]] = {hint: {} for hint in HINTS}
    for kind in tqdm(("mixed", *KINDS), "strengths", leave=False, disable=None):
        for hint, outcome in outcomes_of(model, photos, kind, size, device).items():
            found[hint][kind] = outcome
    return found


@torch.no_grad()
def outcomes_of(
    model: OperatorMaskWrapper, photos: Packed, kind: str, size: int, device: str
) -> dict[Hint, Outcome]:
    parts: dict[Hint, list[tuple[np.ndarray, ...]]] = {hint: [] for hint in HINTS}
    for scene in scenes(photos, tuple(dict(HINTS)), kind):
        image, real = (x.to(device) for x in (scene.made.composite, scene.made.real))
        for given, finer in HINTS:
            region = scene.prompts[given].to(device)
            with fast_precision(device):
                region = refined(model, image, region, [finer] * len(image), size)
                masks = within(model.retoucher, model.predict(image, region, size=size), region)
            exact = given == "exact"
            outputs = [
                model.retoucher(image, model.retoucher.edit(masks, strength=strength))
                for strength in (STRENGTHS if exact else STRENGTHS[: ONE + 1])
            ]
            errors = torch.stack([squared_error(output, real) for output in outputs], 1)
            turned = outputs if exact else []
            turns = [hue_turns(output, real, region).tolist() for output in turned]
            changes = change_within(image, outputs[ONE], region)
            found = errors.cpu().numpy(), np.array(turns).T, changes.cpu().numpy()
            parts[given, finer].append(found)
    joined = {hint: map(np.concatenate, zip(*some, strict=True)) for hint, some in parts.items()}
    return {
        hint: Outcome(errors, turns.mean(0) if turns.size else turns, changes)
        for hint, (errors, turns, changes) in joined.items()
    }


def hue_turns(output: Tensor, real: Tensor, region: Tensor) -> Tensor:
    """The angles (B,) between hues, in degrees, see `Outcome`."""
    (_, a, b), (_, real_a, real_b) = (
        LAB.from_rgb(image.clamp(0, 1)).unbind(1) for image in (output, real)
    )
    angle = torch.rad2deg(torch.atan2(b, a) - torch.atan2(real_b, real_a))
    angle = ((angle + 180) % 360 - 180).abs()
    weight = real_a.hypot(real_b) * region[:, 0]
    return (angle * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-6)


def fit(found: Outcomes) -> dict[str, Any]:
    """The fields of an `opmask.Calibration` for regions that are told."""
    exact = list(found["exact", False].values())
    rough = {
        finer: [outcome for given in ROUGH for outcome in found[given, finer].values()]
        for finer in (False, True)
    }
    best = {finer: best_trust(some) for finer, some in rough.items()}
    as_told, finer = (
        np.concatenate([psnr(o.trusted(best[f]).errors[:, 1]) for o in rough[f]])
        for f in (False, True)
    )
    refines = surely(finer - as_told) > 0
    told = best_trust(exact)
    return {
        "refines": refines,
        "told": told.strength,
        "rough": best[refines].strength,
        "told_error": told.error,
        "rough_error": best[refines].error,
        "limit": limit(exact),
    }


def best_trust(found: Sequence[Outcome]) -> Trust:
    """What leaves least, MSE and PSNR, over all kinds alike."""

    def left(trust: Trust) -> float:
        after = [outcome.trusted(trust) for outcome in found]
        return float(np.mean([o.shares[1] - WORTH * o.decibels[1] for o in after]))

    return min((Trust(*pair) for pair in product(LARGEST, OFF)), key=left)


def limit(found: Sequence[Outcome]) -> float:
    """The largest strength from 1 on up to which no kind ends worse than it was, or turns."""
    allowed = 1.0
    for place in range(ONE, len(STRENGTHS)):
        if any(o.shares[place] > 1 or o.turns[place] > o.turns[ONE] + TURN for o in found):
            break
        allowed = STRENGTHS[place]
    return allowed


def tables(found: Outcomes) -> dict[str, str]:
    """A table for each hint: a row for each strength, a column for each kind."""
    made = {}
    for (given, finer), by_kind in found.items():
        count = min(outcome.errors.shape[1] for outcome in by_kind.values())
        lines = [
            [f"{STRENGTHS[place]:g}", *(_cell(outcome, place) for outcome in by_kind.values())]
            for place in range(count)
        ]
        made[given + ", refined" * finer] = markdown_table(["strength", *by_kind], lines)
    return made


def _cell(outcome: Outcome, place: int) -> str:
    """Share of MSE left, by how much PSNR rises, and the hue turn if there is one."""
    turn = f", {outcome.turns[place]:.1f}°" if outcome.turns.size else ""
    return f"{outcome.shares[place]:.2f}, {outcome.decibels[place]:+.2f}{turn}"
