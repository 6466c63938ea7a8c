import pickle
from collections import Counter
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import torch
from changes import rng_of

from opmask.perturb import (
    DEFAULT,
    FILTERS,
    JPEG,
    LIFELIKE,
    PRESETS,
    REFERENCE,
    REFERENCE_RGB,
    Filter,
    GaussianBlur,
    GaussianNoise,
    LabScaling,
    LabScaling8,
    LaplaceNoise,
    MotionBlur,
    PoissonNoise,
    choose_regions,
    draw,
    draw_filter,
    sample_seed,
    settings,
)
from opmask.perturb.rng import make_rng

LABEL_MAP = torch.arange(12).repeat_interleave(4).view(6, 8)  # 11 classes and 0
ALL = [REFERENCE, REFERENCE_RGB, DEFAULT]
CSS = ["contrast", "grayscale", "hue_rotate", "saturate", "sepia"]
CLASSES = (5, 10, 15, 20)
SECOND = {*CSS, "lab"}


def draw_many(settings, count=20_000):
    """As many records, a quarter of them for each number of classes."""
    maps = [torch.arange(1, n + 1).view(1, n) for n in CLASSES]
    return [draw(maps[seed % 4], seed, settings) for seed in range(count)]


@pytest.fixture(scope="module")
def reference():
    return draw_many(REFERENCE)


@pytest.fixture(scope="module")
def default():
    return draw_many(DEFAULT)


def changes(records):
    return [change.perturbations for applied in records for change in applied.regions]


def seconds(records):
    return [perturbations[1] for perturbations in changes(records) if len(perturbations) == 2]


def assert_frequency(count, total, probability):
    """Within four standard deviations of a binomial variable."""
    deviation = sqrt(total * probability * (1 - probability))
    assert abs(count - total * probability) < 4 * deviation


def assert_uniform(values, low, high):
    """In range and, by eighths of it, within four standard deviations of uniform."""
    values = np.array(values)
    assert low <= values.min()
    assert values.max() < high
    for count in np.histogram(values, 8, (low, high))[0]:
        assert_frequency(count, len(values), 1 / 8)


def test_presets_have_the_names_of_their_constants():
    assert PRESETS == {
        "default": DEFAULT,
        "lifelike": LIFELIKE,
        "reference": REFERENCE,
        "reference-rgb": REFERENCE_RGB,
    }


# --- REFERENCE, over 20,000 draws ---


@pytest.mark.slow
@pytest.mark.parametrize(("place", "expected"), [(0, 1.80), (1, 2.71), (2, 3.62), (3, 4.52)])
def test_the_reference_changes_as_many_regions_as_drawing_with_replacement(
    reference, place, expected
):
    counts = np.array([len(applied.regions) for applied in reference[place::4]])
    assert counts.mean() == pytest.approx(expected, abs=0.005 + 4 * counts.std() / sqrt(5000))
    assert counts.max() == CLASSES[place] // 5 + 1


@pytest.mark.slow
def test_every_filter_is_as_likely_in_the_reference(reference):
    firsts = [perturbations[0] for perturbations in changes(reference)]
    counts = Counter(first.name for first in firsts)
    assert set(counts) == set(FILTERS)
    assert {first.amount for first in firsts} == {None}
    for count in counts.values():
        assert_frequency(count, len(firsts), 1 / 23)


@pytest.mark.slow
def test_half_of_the_regions_are_changed_twice_in_the_reference(reference):
    lengths = Counter(len(perturbations) for perturbations in changes(reference))
    assert set(lengths) == {1, 2}
    assert_frequency(lengths[2], lengths.total(), 0.5)


@pytest.mark.slow
def test_the_six_second_changes_are_as_likely_in_the_reference(reference):
    drawn = seconds(reference)
    counts = Counter(p.name if isinstance(p, Filter) else "lab" for p in drawn)
    assert set(counts) == SECOND
    assert {type(p) for p in drawn} == {Filter, LabScaling8}
    for count in counts.values():
        assert_frequency(count, len(drawn), 1 / 6)


@pytest.mark.slow
def test_the_reference_gives_no_amounts_so_that_half_of_its_second_changes_do_nothing(reference):
    css = [p for p in seconds(reference) if isinstance(p, Filter)]
    assert {p.amount for p in css} == {None}
    image = torch.randint(0, 256, (3, 9, 9), dtype=torch.uint8)
    idle = {name for name in CSS if torch.equal(Filter(name)(image), image)}
    assert idle == {"contrast", "hue_rotate", "saturate"}


@pytest.mark.slow
def test_lab_factors_are_uniform_and_independent(reference, default):
    for records in reference, default:
        scalings = [p for p in seconds(records) if not isinstance(p, Filter)]
        factors = np.array([p.factors for p in scalings])
        for channel in factors.T:
            assert_uniform(channel, 0.8, 1.2)
            assert channel.mean() == pytest.approx(1, abs=4 * 0.4 / sqrt(12 * len(factors)))
        correlations = np.corrcoef(factors.T)[np.triu_indices(3, 1)]
        assert abs(correlations).max() < 4 / sqrt(len(factors))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "default"])
def test_one_in_twenty_is_degraded(name, request):
    records = request.getfixturevalue(name)
    degraded = [a.degradation for a in records if a.degradation is not None]
    assert_frequency(len(degraded), 20_000, 0.05)
    noise, blur = 1 / 9, 1 / 6
    for kind in GaussianNoise, LaplaceNoise, PoissonNoise:
        assert_frequency(sum(isinstance(d, kind) for d in degraded), len(degraded), noise)
    for kind in MotionBlur, GaussianBlur:
        assert_frequency(sum(isinstance(d, kind) for d in degraded), len(degraded), blur)
    assert_frequency(sum(isinstance(d, JPEG) for d in degraded), len(degraded), 1 / 3)


# --- DEFAULT ---


@pytest.mark.slow
def test_the_default_draws_the_same_kinds_as_often(default):
    firsts = Counter(perturbations[0] for perturbations in changes(default))
    drawn = seconds(default)
    assert set(firsts) == {Filter(name) for name in FILTERS}
    assert_frequency(len(drawn), firsts.total(), 0.5)
    counts = Counter(p.name if isinstance(p, Filter) else "lab" for p in drawn)
    assert set(counts) == SECOND
    for count in counts.values():
        assert_frequency(count, len(drawn), 1 / 6)
    assert {type(p) for p in drawn} == {Filter, LabScaling}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("contrast", 0.6, 1.4),
        ("grayscale", 0.3, 1.0),
        ("hue_rotate", -30, 30),
        ("saturate", 0.6, 1.4),
        ("sepia", 0.3, 1.0),
    ],
)
def test_the_default_draws_amounts(default, name, low, high):
    css = [p for p in seconds(default) if isinstance(p, Filter)]
    assert_uniform([p.amount for p in css if p.name == name], low, high)


# --- how a record is drawn ---


def by_hand(label_map, seed, second):
    """Regions and changes, number by number."""
    rng = make_rng(seed)
    labels = choose_regions(label_map, rng)
    changes = [[Filter(FILTERS[int(rng.random() * 23)])] for _ in labels]
    for change in changes:
        if rng.random() > 0.5:
            change.append(second(rng))
    return labels, [tuple(change) for change in changes], rng.random() > 0.95


def reference_second(rng):
    kind = int(rng.random() * 6)
    if kind == 5:
        return LabScaling8(tuple(0.8 + (1.2 - 0.8) * rng.random() for _ in range(3)))
    return Filter(CSS[kind])


@pytest.mark.parametrize("seed", range(30))
def test_records_are_drawn_number_by_number(seed):
    applied = draw(LABEL_MAP, seed, REFERENCE)
    labels, changes, degraded = by_hand(LABEL_MAP, seed, reference_second)
    assert [change.label for change in applied.regions] == list(labels)
    assert [change.perturbations for change in applied.regions] == changes
    assert (applied.degradation is not None) == degraded
    assert applied.seed == seed


def test_draws_are_pinned():
    # The seeds of a benchmark split stand for these: they must never change.
    assert [(c.label, c.perturbations) for c in draw(LABEL_MAP, 1, DEFAULT).regions] == [
        (2, (Filter("gingham"), Filter("sepia", 0.3657017107419644))),
        (9, (Filter("maven"),)),
        (10, (Filter("lofi"), Filter("hue_rotate", 15.736804947476521))),
    ]
    assert draw(LABEL_MAP, 0, REFERENCE).to_json() == (
        '{"seed": 0, "regions": [{"label": 5, "perturbations": [{"filter": "gingham"}, '
        '{"filter": "grayscale"}]}, {"label": 9, "perturbations": [{"filter": "maven"}]}, '
        '{"label": 10, "perturbations": [{"filter": "lark"}, {"lab8": [1.001874742326956, '
        '0.9127351377598816, 1.1023216816628896]}]}], "compositing": "lab8-opencv"}'
    )


def test_a_second_change_and_a_degradation_need_more_than_their_thresholds(monkeypatch):
    label_map = torch.tensor([[4]])
    monkeypatch.setattr(settings, "make_rng", lambda _: rng_of([0, 0, 0.5, 0.95]))
    applied = draw(label_map, 0, REFERENCE)
    assert [len(change.perturbations) for change in applied.regions] == [1]
    assert applied.degradation is None
    numbers = [0, 0, 0.500001, 0.2, 0.950001, 0.99]
    monkeypatch.setattr(settings, "make_rng", lambda _: rng_of(numbers))
    applied = draw(label_map, 0, REFERENCE)
    assert applied.regions[0].perturbations[1] == Filter("grayscale")
    assert isinstance(applied.degradation, JPEG)


def test_regions_and_first_filters_depend_on_the_seed_only():
    for seed in range(20):
        records = [draw(LABEL_MAP, seed, settings) for settings in ALL]
        firsts = [[(c.label, c.perturbations[0]) for c in a.regions] for a in records]
        assert firsts[0] == firsts[1] == firsts[2]


def test_records_say_how_they_are_put_together():
    composited = [draw(LABEL_MAP, 0, settings).compositing.name for settings in ALL]
    assert composited == ["lab8-opencv", "rgb-opencv", "rgb-antialiased"]


def test_draws_follow_the_default_unless_told_otherwise():
    assert draw(LABEL_MAP, 3) == draw(LABEL_MAP, 3, DEFAULT) != draw(LABEL_MAP, 3, REFERENCE)


def test_rates_of_zero_and_one_are_never_and_always():
    never = replace(DEFAULT, second_rate=0, degradation_rate=0)
    always = replace(DEFAULT, second_rate=1, degradation_rate=1)
    for seed in range(50):
        assert not seconds([draw(LABEL_MAP, seed, never)])
        assert draw(LABEL_MAP, seed, never).degradation is None
        assert {len(c) for c in changes([draw(LABEL_MAP, seed, always)])} == {2}
        assert draw(LABEL_MAP, seed, always).degradation is not None


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("argument", ["second_rate", "degradation_rate"])
def test_rates_out_of_range_are_refused(argument, rate):
    with pytest.raises(ValueError, match=rf"'{argument}' must be in \[0, 1\], got {rate}"):
        replace(DEFAULT, **{argument: rate})


def test_settings_are_values():
    assert len({REFERENCE, REFERENCE_RGB, DEFAULT}) == 3
    assert all(pickle.loads(pickle.dumps(settings)) == settings for settings in ALL)


def test_a_map_without_labels_and_a_negative_seed_are_refused():
    with pytest.raises(ValueError, match="'label_map' must have a labelled pixel"):
        draw(torch.zeros(2, 2).long(), 0, REFERENCE)
    with pytest.raises(ValueError, match="'seed' must not be negative, got -1"):
        draw(LABEL_MAP, -1, REFERENCE)


# --- first changes of one's own ---


def always_moon(_rng):
    return Filter("moon")


def moon_for_a_tenth(rng):
    return Filter("moon") if rng.random() < 0.1 else draw_filter(rng)


def test_the_first_change_is_drawn_by_draw_first():
    own = replace(DEFAULT, draw_first=always_moon)
    records = [draw(LABEL_MAP, seed, own) for seed in range(50)]
    assert {perturbations[0] for perturbations in changes(records)} == {Filter("moon")}
    assert len(seconds(records)) > 10


def test_regions_do_not_depend_on_how_changes_are_drawn():
    own = replace(DEFAULT, draw_first=moon_for_a_tenth)
    for seed in range(20):
        labels = [[c.label for c in draw(LABEL_MAP, seed, s).regions] for s in (own, DEFAULT)]
        assert labels[0] == labels[1]


def test_draw_filter_draws_every_filter_evenly():
    drawn = [draw_filter(rng_of([i / 23 + 1e-9])) for i in range(23)]
    assert drawn == [Filter(name) for name in FILTERS]


# --- policies ---


def allow_all(_label, _perturbation):
    return True


def refuse_all(_label, _perturbation):
    return False


def no_sepia(_label, perturbation):
    return perturbation.to_dict().get("filter") != "sepia"


def not_class_three(label, _perturbation):
    return label != 3


FEW = (Filter("moon"), Filter("lark"), Filter("walden"))


def class_one_in_few_ways(label, perturbation):
    return label == 1 and perturbation in FEW


def test_a_policy_that_refuses_nothing_changes_nothing():
    lenient = replace(DEFAULT, policy=allow_all)
    for seed in range(100):
        assert draw(LABEL_MAP, seed, lenient) == draw(LABEL_MAP, seed, DEFAULT)


def test_a_refusal_changes_nothing_but_what_was_refused():
    redrawn = 0
    for seed in range(300):
        before = draw(LABEL_MAP, seed, DEFAULT)
        after = draw(LABEL_MAP, seed, replace(DEFAULT, policy=no_sepia))
        assert replace(after, regions=()) == replace(before, regions=())
        for old, new in zip(before.regions, after.regions, strict=True):
            assert (old.label, len(old.perturbations)) == (new.label, len(new.perturbations))
            for p, q in zip(old.perturbations, new.perturbations, strict=True):
                assert p == q if no_sepia(0, p) else no_sepia(0, q)
                redrawn += p != q
    assert redrawn > 20


def test_a_policy_is_asked_of_every_change_with_its_label():
    asked = []
    noting = replace(DEFAULT, policy=lambda label, p: asked.append((label, p)) or True)
    applied = draw(LABEL_MAP, 3, noting)
    assert asked == [(c.label, p) for c in applied.regions for p in c.perturbations]


def test_refused_changes_are_redrawn_from_numbers_of_their_own():
    (change,) = draw(torch.tensor([[4]]), 0, replace(DEFAULT, second_rate=1)).regions
    refused = set(change.perturbations)
    own = replace(DEFAULT, second_rate=1, policy=lambda _, p: p not in refused)
    (redrawn,) = draw(torch.tensor([[4]]), 0, own).regions
    first = draw_filter(make_rng(sample_seed(0, 4, 0)))
    second = DEFAULT.draw_second(make_rng(sample_seed(0, 4, 1)))
    assert redrawn.perturbations == (first, second)
    assert refused.isdisjoint(redrawn.perturbations)


def test_redrawing_ends():
    asked = []
    strict = replace(DEFAULT, policy=lambda label, _: asked.append(label))
    with pytest.raises(ValueError, match="'policy' must allow some change"):
        draw(torch.tensor([[4, 9]]), 0, strict)
    assert Counter(asked) == {4: 101, 9: 101}
    last = replace(DEFAULT, policy=lambda label, _: asked.append(label) or len(asked) == 303)
    assert len(draw(torch.tensor([[4]]), 0, last).regions) == 1


def test_a_second_change_that_is_always_refused_is_left_out():
    own = replace(DEFAULT, second_rate=1, policy=lambda _, p: p in map(Filter, FILTERS))
    for seed in range(20):
        before, after = draw(LABEL_MAP, seed, DEFAULT), draw(LABEL_MAP, seed, own)
        assert [c.label for c in after.regions] == [c.label for c in before.regions]
        assert [len(c.perturbations) for c in after.regions] == [1] * len(after.regions)


def test_a_region_whose_first_change_is_always_refused_is_left_out():
    own = replace(DEFAULT, policy=not_class_three)
    left_out = 0
    for seed in range(200):
        before, after = draw(LABEL_MAP, seed, DEFAULT), draw(LABEL_MAP, seed, own)
        kept = tuple(c for c in before.regions if c.label != 3)
        assert after.regions == kept or (not kept and len(after.regions) == 1)
        left_out += kept != before.regions
    assert left_out > 20


def test_another_class_is_changed_where_no_region_is_left():
    label_map = torch.tensor([[1, 3, 3, 7, 9]])
    own = replace(DEFAULT, policy=not_class_three, second_rate=0)
    instead = Counter()
    for seed in range(400):
        before, after = draw(label_map, seed, DEFAULT), draw(label_map, seed, own)
        if [c.label for c in before.regions] == [3]:
            (change,) = after.regions
            instead[change.label] += 1
            rng = make_rng(sample_seed(seed, change.label, 2))
            assert change.perturbations == (draw_filter(rng),)
    assert set(instead) == {1, 7, 9}
    assert min(instead.values()) > instead.total() / 6


def test_all_classes_are_tried_before_a_photo_is_refused():
    label_map = torch.arange(12).view(1, 12)
    own = replace(DEFAULT, second_rate=1, policy=class_one_in_few_ways)
    for seed in range(30):
        (change,) = draw(label_map, seed, own).regions
        assert change.label == 1
        assert change.perturbations in [(allowed,) for allowed in FEW]


def test_a_policy_that_refuses_everything_is_refused():
    message = r"'policy' must allow some change of some class, but refused 101 changes of each of"
    with pytest.raises(ValueError, match=message + r" \[2, 5\]\. Leave such photos out"):
        draw(torch.tensor([[2, 5, 0]]), 0, replace(DEFAULT, policy=refuse_all))


def test_settings_with_a_policy_pickle():
    own = replace(DEFAULT, policy=no_sepia, draw_first=always_moon)
    assert pickle.loads(pickle.dumps(own)) == own != DEFAULT
