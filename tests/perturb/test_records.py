import json
import pickle

import pytest

from opmask.perturb import (
    JPEG,
    REFERENCE,
    REFERENCE_RGB,
    Applied,
    Filter,
    GaussianBlur,
    GaussianNoise,
    LabScaling,
    LabScaling8,
    LaplaceNoise,
    MotionBlur,
    PoissonNoise,
    RegionChange,
)

PLAIN = Applied(9, (RegionChange(3, (Filter("moon"),)),))
FULL = Applied(
    2**62,
    (
        RegionChange(2, (Filter("moon"), Filter("sepia", 0.1 + 0.2))),
        RegionChange(5, (Filter("1977"), LabScaling((0.9, 1.1, 1 / 3)))),
        RegionChange(6, (LabScaling8((0.8, 1.2, 1.0)),)),
        RegionChange(7, ()),
    ),
    GaussianNoise(8.5, 2**53 - 1),
    REFERENCE.compositing,
)


@pytest.mark.parametrize("applied", [PLAIN, FULL, Applied(0, ())])
def test_records_survive_json(applied):
    assert Applied.from_json(applied.to_json()) == applied
    assert "\n" not in applied.to_json()


@pytest.mark.parametrize(
    "degradation",
    [
        GaussianNoise(9.25, 3),
        LaplaceNoise(8.0, 4),
        PoissonNoise(9.9, 5),
        MotionBlur(123.4, -0.5),
        GaussianBlur(),
        JPEG(),
    ],
)
def test_every_degradation_survives_json(degradation):
    applied = Applied(0, (), degradation)
    assert Applied.from_json(applied.to_json()).degradation == degradation


@pytest.mark.parametrize("settings", [REFERENCE, REFERENCE_RGB])
def test_the_compositing_survives_json(settings):
    applied = Applied(0, (), None, settings.compositing)
    assert Applied.from_json(applied.to_json()).compositing == settings.compositing


def test_records_have_a_format_that_does_not_change():
    text = '{"seed": 9, "regions": [{"label": 3, "perturbations": [{"filter": "moon"}]}]}'
    assert Applied.from_json(text) == PLAIN
    assert PLAIN.to_json() == text


def test_full_records_have_a_format_that_does_not_change():
    assert json.loads(FULL.to_json()) == {
        "seed": 2**62,
        "regions": [
            {
                "label": 2,
                "perturbations": [{"filter": "moon"}, {"filter": "sepia", "amount": 0.1 + 0.2}],
            },
            {"label": 5, "perturbations": [{"filter": "1977"}, {"lab": [0.9, 1.1, 1 / 3]}]},
            {"label": 6, "perturbations": [{"lab8": [0.8, 1.2, 1.0]}]},
            {"label": 7, "perturbations": []},
        ],
        "degradation": FULL.degradation.to_record(),
        "compositing": "lab8-opencv",
    }


def change(*perturbations):
    return json.dumps({"seed": 1, "regions": [{"label": 2, "perturbations": perturbations}]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ("3", "not subscriptable"),
        ("{}", "'seed'"),
        ('{"seed": 1}', "'regions'"),
        ('{"seed": 1, "regions": [{"label": 2}]}', "'perturbations'"),
        (change({"filter": "nope"}), "'name' must be that of a filter, got 'nope'"),
        (change({"filter": "sepia", "amount": -1}), "'amount' must be at least 0"),
        (change({"filter": "moon", "amount": 1}), "'amount' must be None for filter 'moon'"),
        (change({"curve": 3}), "must be a filter, lab or lab8, got {'curve': 3}"),
        (change("moon"), "must be a filter, lab or lab8, got moon"),
        (change({"lab": [1, 1]}), "must be a filter, lab or lab8, got {'lab': "),
        (change({"lab8": [1, -1, 1]}), "'factors' must be finite"),
        ('{"seed": 1, "regions": [], "compositing": "xyz"}', "one of rgb-antialiased, rgb-opencv"),
        ('{"seed": 1, "regions": [], "degradation": {"degrade": "fog"}}', "fog"),
        ('{"seed": 1, "regions": [], "degradation": {"degrade": "jpeg", "dpi": 1}}', "dpi"),
        ('{"seed": 1, "regions": [], "degradation": "jpeg"}', ""),
    ],
)
def test_other_text_is_no_record(text, reason):
    with pytest.raises(
        ValueError, match=r"'text' must be what Applied.to_json wrote, got "
    ) as error:
        Applied.from_json(text)
    assert repr(text[:80]) in str(error.value)
    assert reason in str(error.value)


def test_records_pickle_and_hash():
    assert pickle.loads(pickle.dumps(FULL)) == FULL
    assert len({FULL, Applied.from_json(FULL.to_json())}) == 1
