"""20,000 samples of the reference's settings, made by the engine and counted.

Every share is within four standard deviations of what the paper's code gives (its oddities
included), in the records that come with the samples and in the pixels themselves.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
import torch

from opmask.perturb import (
    FILTERS,
    JPEG,
    REFERENCE,
    GaussianBlur,
    GaussianNoise,
    LabScaling8,
    LaplaceNoise,
    MotionBlur,
    Perturber,
    PoissonNoise,
    sample_seed,
)

pytestmark = pytest.mark.slow

COUNT, BATCH = 20_000, 500
CLASSES = (5, 10, 15, 20)
SECOND = ("contrast", "grayscale", "hue_rotate", "saturate", "sepia", "lab")
# One photo for all samples, of medium lightness and with no colour near to grey, so that nothing
# but a filter without colours makes a region grey. Its 24 pixels hold label 0 and n classes.
WARM_AND_COLD = torch.tensor([[170, 120, 70], [60, 110, 160]]).repeat(12, 1)
PHOTO = (WARM_AND_COLD + torch.arange(24)[:, None] % 7).byte().T.reshape(3, 6, 4).contiguous()
LABEL_MAPS = torch.stack([torch.arange(24).view(6, 4) % (n + 1) for n in CLASSES])


@dataclass
class Region:
    """One region of a sample: what its record says was done, and the pixels that came out."""

    perturbations: tuple
    inside: np.ndarray
    pixels: np.ndarray

    @property
    def names(self):
        return ["lab" if isinstance(p, LabScaling8) else p.name for p in self.perturbations]

    @property
    def second(self):
        return self.names[1] if len(self.names) == 2 else None

    def shows(self, *perturbations):
        """Whether the pixels are those of the photo after these perturbations."""
        return np.array_equal(self.pixels, perturbed(perturbations)[:, self.inside])

    def is_grey(self):
        return np.ptp(self.pixels, axis=0).max() < 1e-4


def finished(image):
    """An 8-bit image as the reference's settings give it: through 8-bit LAB."""
    how = REFERENCE.compositing
    return how.to_rgb(how.to_codes(image))


@cache
def perturbed(perturbations):
    image = PHOTO
    for perturbation in perturbations:
        image = perturbation(image)
    return finished(image).numpy()


@pytest.fixture(scope="module")
def batch():
    """All samples, in one: composites, reals, regions and records."""
    photos = PHOTO.expand(BATCH, -1, -1, -1)
    label_maps, parts = LABEL_MAPS.repeat(BATCH // 4, 1, 1), []
    for start in range(0, COUNT, BATCH):
        seeds = [sample_seed(5, 0, index) for index in range(start, start + BATCH)]
        parts.append(Perturber(REFERENCE)(photos, label_maps, seeds))
    tensors = [torch.cat(planes) for planes in list(zip(*parts, strict=True))[:3]]
    return *tensors, [applied for part in parts for applied in part.applied]


@pytest.fixture(scope="module")
def regions(batch):
    found = []
    for index, (composite, applied) in enumerate(zip(batch[0].numpy(), batch[3], strict=True)):
        for change in applied.regions:
            inside = (LABEL_MAPS[index % 4] == change.label).numpy()
            found.append(Region(change.perturbations, inside, composite[:, inside]))
    return found


def assert_share(count, total, probability):
    """Within four standard deviations of a binomial variable."""
    deviation = sqrt(total * probability * (1 - probability))
    assert abs(count - total * probability) < 4 * deviation


def assert_each_as_likely(drawn, options):
    counts = Counter(drawn)
    assert set(counts) == set(options)
    for count in counts.values():
        assert_share(count, len(drawn), 1 / len(options))


# --- which regions ---


def test_the_region_is_the_union_of_the_classes_that_were_drawn(batch):
    for index, (region, applied) in enumerate(zip(batch[2], batch[3], strict=True)):
        labels = torch.tensor([change.label for change in applied.regions])
        expected = torch.isin(LABEL_MAPS[index % 4], labels)
        assert torch.equal(region[0], expected.float())
        assert region.sum() == sum((LABEL_MAPS[index % 4] == label).sum() for label in labels)


@pytest.mark.parametrize(("place", "expected"), [(0, 1.80), (1, 2.71), (2, 3.62), (3, 4.52)])
def test_as_many_classes_are_changed_as_drawing_with_replacement_gives(batch, place, expected):
    label_map = LABEL_MAPS[place]
    changed = [label_map[region[0] == 1].unique() for region in batch[2][place::4]]
    counts = np.array([len(labels) for labels in changed])
    assert counts.mean() == pytest.approx(expected, abs=0.005 + 4 * counts.std() / sqrt(5000))
    assert counts.max() == CLASSES[place] // 5 + 1
    # Label 0 never is, and all others are as often.
    assert_each_as_likely(torch.cat(changed).tolist(), range(1, CLASSES[place] + 1))


# --- what is done to them ---


def test_the_first_change_is_each_of_23_filters_as_often(regions):
    assert_each_as_likely([region.names[0] for region in regions], FILTERS)


def test_half_of_the_regions_get_a_second_change_each_of_six_as_often(regions):
    seconds = [region.second for region in regions if region.second]
    assert_share(len(seconds), len(regions), 1 / 2)
    assert_each_as_likely(seconds, SECOND)


def test_a_second_change_depends_on_no_first_one(regions):
    twice = Counter(region.names[0] for region in regions if region.second)
    total = Counter(region.names[0] for region in regions)
    for name in FILTERS:
        assert_share(twice[name], total[name], 1 / 2)


def test_contrast_hue_and_saturation_change_no_pixel(regions):
    idle = [r for r in regions if r.second in ("contrast", "hue_rotate", "saturate")]
    assert_share(len(idle), len(regions), 1 / 4)
    assert all(region.shows(region.perturbations[0]) for region in idle)


def test_a_quarter_of_the_regions_show_a_second_change(regions):
    shown = [region for region in regions if not region.shows(region.perturbations[0])]
    assert {region.second for region in shown} == {"grayscale", "sepia", "lab"}
    # Taking colours away does not show after one of the two filters without any.
    assert_share(len(shown), len(regions), 1 / 4 - 1 / 12 * 2 / 23)


def test_as_many_regions_are_grey_as_filters_without_colours_make(regions):
    # Inkwell and moon are, unless sepia or a scaling of LAB follows; so is what grayscale ends.
    grey = sum(region.is_grey() for region in regions)
    assert_share(grey, len(regions), 1 / 12 + 2 / 23 * (1 - 3 / 12))


def test_lab_factors_are_uniform_independent_and_in_the_pixels(regions):
    scaled = [region for region in regions if region.second == "lab"]
    assert all(region.shows(*region.perturbations) for region in scaled)
    factors = np.array([region.perturbations[1].factors for region in scaled])
    assert_share(len(factors), len(regions), 1 / 12)
    assert 0.8 <= factors.min() < factors.max() < 1.2
    for channel in factors.T:
        for low, high in pairwise(np.linspace(0.8, 1.2, 9)):
            assert_share(((low <= channel) & (channel < high)).sum(), len(channel), 1 / 8)
    correlations = np.corrcoef(factors.T)[np.triu_indices(3, 1)]
    assert abs(correlations).max() < 4 / sqrt(len(factors))


# --- what is done to the photo ---


def test_one_real_in_twenty_differs_from_the_photo(batch):
    differs = (batch[1] != finished(PHOTO)).flatten(1).any(1)
    assert_share(differs.sum().item(), COUNT, 1 / 20)
    assert differs.tolist() == [applied.degradation is not None for applied in batch[3]]


def test_composites_differ_from_their_reals_in_regions_only(batch):
    composites, reals, regions, _ = batch
    outside = regions.expand_as(reals) == 0
    assert torch.equal(composites[outside], reals[outside])
    assert (composites != reals).flatten(1).any(1).all()


def test_regions_stay_free_of_the_degradation(batch):
    for index, (composite, applied) in enumerate(zip(batch[0], batch[3], strict=True)):
        if applied.degradation is not None:
            change = applied.regions[0]
            inside = (LABEL_MAPS[index % 4] == change.label).numpy()
            region = Region(change.perturbations, inside, composite.numpy()[:, inside])
            assert region.shows(*change.perturbations)


def test_noise_blur_and_jpeg_are_as_likely_and_so_is_each_of_their_kinds(batch):
    kinds = [type(a.degradation) for a in batch[3] if a.degradation is not None]
    noises, blurs = (GaussianNoise, LaplaceNoise, PoissonNoise), (MotionBlur, GaussianBlur)
    families = ["noise" if k in noises else "blur" if k in blurs else k for k in kinds]
    assert_each_as_likely(families, ["noise", "blur", JPEG])
    assert_each_as_likely([kind for kind in kinds if kind in noises], noises)
    assert_each_as_likely([kind for kind in kinds if kind in blurs], blurs)
