r"""What is drawn for a photo, and the two settings to draw it with.

:data:`REFERENCE` is the reference code, its oddities included: whoever wants the paper's numbers
needs its data. :data:`DEFAULT` draws the same kinds of changes, but so that each has an effect,
and spares images the losses of 8-bit LAB. Numbers measured under different settings cannot be
compared.

Label map + seed -> ``draw`` -> ``PerturbationRecord``, for
:func:`opmask.perturb.composite.composite`.

References:
    | Semantic-guided Multi-mask Image Harmonization (Ren and Liu, 2022)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from torch import Tensor

from opmask.perturb.compositing import LAB8_OPENCV, RGB_ANTIALIASED, RGB_OPENCV, Compositing
from opmask.perturb.degrade import JPEG, draw_degradation
from opmask.perturb.filters import FILTERS, Filter
from opmask.perturb.lab import Factors, LabScaling, LabScaling8
from opmask.perturb.light import draw_light
from opmask.perturb.records import Perturbation, PerturbationRecord, RegionChange
from opmask.perturb.regions import choose_labels, present_labels
from opmask.perturb.rng import make_rng, pick, sample_seed, uniform
from opmask.perturb.transfer import draw_transfer

SECOND_STAGE_RATE = 0.5
"""How often a second change follows the filter of a region (reference code)."""

SECOND_STAGE: tuple[str, ...] = ("contrast", "grayscale", "hue_rotate", "saturate", "sepia", "lab")
"""The second changes, each as likely (reference code; the paper has no number for it)."""

LAB_FACTORS = (0.8, 1.2)
"""Between which the factors of L, a and b are drawn (reference code, for equation 1)."""

DEGRADATION_RATE = 0.05
"""How often the real image is degraded (reference code; the paper gives no rate)."""

AMOUNTS: dict[str, tuple[float, float]] = {
    "contrast": (0.6, 1.4),
    "grayscale": (0.3, 1.0),
    "hue_rotate": (-30.0, 30.0),
    "saturate": (0.6, 1.4),
    "sepia": (0.3, 1.0),
}
"""Between which :data:`DEFAULT` draws the amount of a filter of CSS."""

SHARES = (0.4, 0.4)
"""How often :data:`LIFELIKE` transfers colours, and how often it changes the light; the rest are
filters."""

QUALITIES = (40, 95)
"""Between which the JPEG quality of a region is drawn by :data:`LIFELIKE`."""

DrawPerturbation = Callable[[Random], Perturbation]
"""Draws a perturbation; its numbers come from ``rng.random()`` alone."""

Policy = Callable[[int, Perturbation], bool]
"""Whether a region of a class, given by its label, may be changed by a perturbation."""

MAX_REDRAWS = 100
"""How often a change is drawn again that a policy refuses."""


def draw_filter(rng: Random) -> Perturbation:
    r"""Draws the first change of a region: one of :data:`opmask.perturb.FILTERS`.

    Args:
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        The filter.
    """
    return Filter(pick(FILTERS, rng))


def draw_reference_second(rng: Random) -> Perturbation:
    r"""Draws the second change of a region as the reference code does.

    Args:
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        A filter of CSS, or :class:`~opmask.perturb.LabScaling8`.
    """
    name = pick(SECOND_STAGE, rng)
    # D-03: without an amount contrast, hue_rotate and saturate do nothing.
    return LabScaling8(_draw_factors(rng)) if name == "lab" else Filter(name)


def draw_default_second(rng: Random) -> Perturbation:
    r"""Draws the second change of a region, with an amount from :data:`AMOUNTS`.

    Args:
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        A filter of CSS, or :class:`~opmask.perturb.LabScaling`.
    """
    name = pick(SECOND_STAGE, rng)
    if name == "lab":
        return LabScaling(_draw_factors(rng))
    return Filter(name, uniform(*AMOUNTS[name], rng))


def draw_lifelike_first(rng: Random) -> Perturbation:
    r"""Draws the first change of a region: other colours, another light, or a filter.

    Args:
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        A :class:`~opmask.perturb.ColorTransfer`, a :class:`~opmask.perturb.Light` or one of
        :data:`opmask.perturb.FILTERS`.
    """
    transfer, light = SHARES
    kind = rng.random()
    draw_kind = draw_transfer if kind < transfer else draw_light
    return draw_kind(rng) if kind < transfer + light else draw_filter(rng)


def draw_lifelike_second(rng: Random) -> Perturbation:
    r"""Draws the second change of a region: it was saved as JPEG, before it came into the photo.

    Args:
        rng: Where the numbers come from, see :func:`opmask.perturb.rng.make_rng`.

    Returns:
        The :class:`~opmask.perturb.JPEG`, with a quality from :data:`QUALITIES`.
    """
    return JPEG(round(uniform(*QUALITIES, rng)))


@dataclass(frozen=True)
class Settings:
    r"""How composites are drawn and put together.

    Args:
        compositing: In which numbers composites are put together and resized.
        draw_second: Draws the second change of a region; defined at module level, so that
            settings pickle.
        second_rate: How often there is one, in :math:`[0, 1]`.
        degradation_rate: How often the real image is degraded, in :math:`[0, 1]`.
        draw_first: Draws the first change of a region; defined at module level too.
        policy: Says of a label and a perturbation whether a region of that class may be changed
            so; defined at module level too. What it refuses is drawn again, see :func:`draw`.
            Default: all is allowed.

    Raises:
        ValueError: If a rate is out of range.

    Example:
        >>> from dataclasses import replace
        >>> filters_only = replace(DEFAULT, second_rate=0.0, degradation_rate=0.0)
    """

    compositing: Compositing
    draw_second: DrawPerturbation
    second_rate: float = SECOND_STAGE_RATE
    degradation_rate: float = DEGRADATION_RATE
    draw_first: DrawPerturbation = draw_filter
    policy: Policy | None = None

    def __post_init__(self) -> None:
        for argument in ("second_rate", "degradation_rate"):
            if not 0 <= getattr(self, argument) <= 1:
                raise ValueError(f"'{argument}' must be in [0, 1], got {getattr(self, argument)}.")


REFERENCE = Settings(LAB8_OPENCV, draw_reference_second)
"""The data of the paper's operator-mask models, as the reference code makes it."""

REFERENCE_RGB = Settings(RGB_OPENCV, draw_reference_second)
"""The data of the paper's RGB models, as the reference code makes it."""

DEFAULT = Settings(RGB_ANTIALIASED, draw_default_second)
"""opmask's own. Every drawn change has an effect, and what was not changed stays exact."""

LIFELIKE = Settings(
    RGB_ANTIALIASED,
    draw_lifelike_second,
    second_rate=0.3,
    degradation_rate=0.0,
    draw_first=draw_lifelike_first,
)
"""As regions come to differ in life, by the colours of another photo, another light, or a filter.
Some of them were saved as JPEG in between."""

PRESETS: dict[str, Settings] = {
    "default": DEFAULT,
    "lifelike": LIFELIKE,
    "reference": REFERENCE,
    "reference-rgb": REFERENCE_RGB,
}
"""The settings by name, as commands and files know them."""


def draw(label_map: Tensor, seed: int, settings: Settings = DEFAULT) -> PerturbationRecord:
    r"""Decides what is done to a photo: which regions, and how each is changed.

    A change that the policy refuses is drawn again, up to 100 times, with numbers of its
    own, so that all else stays as it was. If none is allowed then, a second change is left
    out, and with a first change its region. If no region is left, the other classes of the photo
    are tried, in an order that the seed decides, until one may be changed.

    Args:
        label_map: The class of each pixel, integers, with shape :math:`(H, W)`; 0 is unlabelled.
        seed: The integer that decides, not negative.
        settings: How it is drawn. Without a policy, regions depend on the seed only.

    Returns:
        The record, to be handed to :func:`opmask.perturb.composite`.

    Raises:
        ValueError: If no pixel is labelled, the seed is negative, or the policy refuses every
            change of every class.

    Example:
        >>> import torch
        >>> draw(torch.tensor([[0, 1, 2]]), seed=0).regions
        (RegionChange(label=2, perturbations=(Filter(name='slumber', amount=None),)),)
    """
    return draw_for_classes(present_labels(label_map[None])[0], seed, settings)


def draw_for_classes(classes: Sequence[int], seed: int, settings: Settings) -> PerturbationRecord:
    r"""Decides what is done to a photo with some classes, see :func:`draw`.

    Args:
        classes: The classes present, as :func:`opmask.perturb.regions.present_labels` gives them.
        seed: The integer that decides, not negative.
        settings: How it is drawn.

    Returns:
        The record.

    Raises:
        ValueError: As :func:`draw` does.
    """
    rng = make_rng(seed)
    labels = choose_labels(classes, rng)
    # All first before all second changes, so that one draw_second shifts no other first change.
    firsts = [settings.draw_first(rng) for _ in labels]
    regions = tuple(
        RegionChange(label, (first, *_draw_seconds(settings, rng)))
        for label, first in zip(labels, firsts, strict=True)
    )
    degraded = rng.random() > 1 - settings.degradation_rate
    degradation = draw_degradation(rng) if degraded else None
    if settings.policy is not None:
        regions = _apply_policy(settings, settings.policy, regions, classes, seed)
    return PerturbationRecord(seed, regions, degradation, settings.compositing)


def _apply_policy(
    settings: Settings,
    policy: Policy,
    regions: tuple[RegionChange, ...],
    classes: Sequence[int],
    seed: int,
) -> tuple[RegionChange, ...]:
    """The changes that a policy allows, at least one."""
    changes = [_allowed_change(settings, policy, change, seed) for change in regions]
    if kept := tuple(change for change in changes if change is not None):
        return kept
    drawn = {change.label for change in regions}
    order = make_rng(sample_seed(seed, 0, 0))  # 0 is the label of no region
    others = [label for label in classes if label not in drawn]
    for label in sorted(others, key=lambda _: order.random()):
        rng = make_rng(sample_seed(seed, label, 2))
        first = settings.draw_first(rng)
        change = RegionChange(label, (first, *_draw_seconds(settings, rng)))
        if (kept_change := _allowed_change(settings, policy, change, seed)) is not None:
            return (kept_change,)
    raise ValueError(
        f"'policy' must allow some change of some class, but refused {MAX_REDRAWS + 1} changes of "
        f"each of {list(classes)}. Leave such photos out."
    )


def _allowed_change(
    settings: Settings, policy: Policy, change: RegionChange, seed: int
) -> RegionChange | None:
    """The change of a region as far as a policy allows it; nothing without its first part."""
    first = _redraw(policy, change, 0, settings.draw_first, seed)
    if first is None:
        return None
    if len(change.perturbations) == 1:
        return RegionChange(change.label, (first,))
    second = _redraw(policy, change, 1, settings.draw_second, seed)
    return RegionChange(change.label, (first,) if second is None else (first, second))


def _redraw(
    policy: Policy,
    change: RegionChange,
    place: int,
    again: DrawPerturbation,
    seed: int,
) -> Perturbation | None:
    """One perturbation of a change, or the first drawn anew that a policy allows."""
    perturbation = change.perturbations[place]
    rng = make_rng(sample_seed(seed, change.label, place))
    for _ in range(MAX_REDRAWS):
        if policy(change.label, perturbation):
            return perturbation
        perturbation = again(rng)
    return perturbation if policy(change.label, perturbation) else None


def _draw_seconds(settings: Settings, rng: Random) -> tuple[Perturbation, ...]:
    return (settings.draw_second(rng),) if rng.random() > 1 - settings.second_rate else ()


def _draw_factors(rng: Random) -> Factors:
    return uniform(*LAB_FACTORS, rng), uniform(*LAB_FACTORS, rng), uniform(*LAB_FACTORS, rng)
