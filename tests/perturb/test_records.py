import json
import pickle
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch

from opmask.perturb import (
    JPEG,
    REFERENCE,
    REFERENCE_RGB,
    Filter,
    GaussianBlur,
    GaussianNoise,
    LabScaling,
    LabScaling8,
    LaplaceNoise,
    MotionBlur,
    PerturbationRecord,
    PoissonNoise,
    RegionChange,
    composite,
)

PLAIN = PerturbationRecord(9, (RegionChange(3, (Filter("moon"),)),))
FULL = PerturbationRecord(
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


@pytest.mark.parametrize("applied", [PLAIN, FULL, PerturbationRecord(0, ())])
def test_records_survive_json(applied):
    assert PerturbationRecord.from_json(applied.to_json()) == applied
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
    applied = PerturbationRecord(0, (), degradation)
    assert PerturbationRecord.from_json(applied.to_json()).degradation == degradation


@pytest.mark.parametrize("settings", [REFERENCE, REFERENCE_RGB])
def test_the_compositing_survives_json(settings):
    applied = PerturbationRecord(0, (), None, settings.compositing)
    assert PerturbationRecord.from_json(applied.to_json()).compositing == settings.compositing


def test_records_have_a_format_that_does_not_change():
    text = '{"seed": 9, "regions": [{"label": 3, "perturbations": [{"filter": "moon"}]}]}'
    assert PerturbationRecord.from_json(text) == PLAIN
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
        "degradation": FULL.degradation.to_dict(),
        "compositing": "lab8-opencv",
    }


def change(*perturbations):
    return json.dumps({"seed": 1, "regions": [{"label": 2, "perturbations": perturbations}]})


def degraded(**record):
    return json.dumps({"seed": 1, "regions": [], "degradation": record})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Input data was truncated"),
        ("[]", "expected `object`, got `array`"),
        ("3", "expected `object`, got `int`"),
        ("{}", "missing required field `seed`"),
        ('{"seed": 1}', "missing required field `regions`"),
        ('{"seed": 1, "regions": [{"label": 2}]}', "missing required field `perturbations`"),
        (change({"filter": "nope"}), "'name' must be that of a filter, got 'nope'"),
        (change({"filter": "sepia", "amount": -1}), "'amount' must be at least 0"),
        (change({"filter": "moon", "amount": 1}), "'amount' must be None for filter 'moon'"),
        (change({"curve": 3}), "unknown field `curve`, in the field 'regions[0].pertur"),
        (change("moon"), "expected `object`, got `str`, in the field"),
        (change({"lab": [1, 1]}), "expected `array` of length 3"),
        (change({"lab": [1, 1, "x"]}), "expected `float`, got `str`"),
        (change({"lab": [1, 1, True]}), "expected `float`, got `bool`"),
        (change({}), "cube, light, transfer, degradation or own, got {}"),
        (change({"filter": "moon", "lab": [1, 1, 1]}), "must be a filter, lab, lab8, cube, light"),
        (
            change({"filter": "moon", "sha256": "0" * 64}),
            "must be a filter, lab, lab8, c",
        ),
        (change({"filter": ["moon"]}), "expected `str`, got `array`"),
        (change({"filter": "sepia", "amount": "1"}), "expected `float | null`, got `str`"),
        (change({"filter": "sepia", "amount": 10**400}), "out of range"),
        (change({"filter": "sepia", "amount": 1e300}), "'amount' must be at most 1e+06 in size"),
        (change({"cube": "a.cube", "sha256": "00"}), "matching regex"),
        (change({"own": "Swap", "parameters": []}), "expected `object | null`, got `array`"),
        ('{"seed": -1, "regions": []}', "'seed'"),
        ('{"seed": 1.5, "regions": []}', "got `float`, in the field 'seed'"),
        ('{"seed": true, "regions": []}', "got `bool`, in the field 'seed'"),
        (f'{{"seed": {10**400}, "regions": []}}', "'seed'"),
        (f'{{"seed": 1, "regions": [{{"label": {10**400}, "perturbations": []}}]}}', "label"),
        ('{"seed": 1, "regions": [], "x": 1}', "unknown field `x`"),
        ('{"seed": 1, "regions": [' + "[" * 50_000 + "]" * 50_000 + "]}", "expected `object`"),
        (change({"own": "Swap", "parameters": {"x": 0}}).replace("0", "[" * 10**5), ""),
        (change({"lab8": [1, -1, 1]}), "'factors' must be finite"),
        ('{"seed": 1, "regions": [], "compositing": "xyz"}', "one of rgb-antialiased, rgb-opencv"),
        ('{"seed": 1, "regions": [], "degradation": {"degrade": "fog"}}', "fog"),
        ('{"seed": 1, "regions": [], "degradation": {"degrade": "jpeg", "dpi": 1}}', "dpi"),
        ('{"seed": 1, "regions": [], "degradation": "jpeg"}', "expected `object | null`"),
        (degraded(degrade="jpeg", quality=9.5), "expected `int`, got `float`, in the field 'qual"),
        (degraded(degrade="jpeg", quality="9"), "expected `int`, got `str`"),
        (degraded(degrade="gaussian_blur", sigma=1e9), "'sigma' must be at most 32"),
        (degraded(degrade="gaussian_noise", scale=1e9, seed=1), "'scale' must be at most 255"),
        (degraded(degrade="poisson_noise", rate=10**400, seed=1), "out of range"),
        (degraded(degrade="poisson_noise", rate=9.0, seed=10**400), "'seed'"),
        (
            degraded(degrade="motion_blur", angle="x", direction=0.0),
            "got `str`, in the field",
        ),
        (degraded(degrade="motion_blur", angle=1.0), "missing required field `direction`"),
        (degraded(degrade=["jpeg"]), "'degrade' must be one of"),
    ],
)
def test_other_text_is_no_record(text, reason):
    with pytest.raises(
        ValueError, match=r"'text' must be what PerturbationRecord.to_json wrote, got "
    ) as error:
        PerturbationRecord.from_json(text)
    assert repr(text[:80]) in str(error.value)
    assert reason in str(error.value)


def test_records_pickle_and_hash():
    assert pickle.loads(pickle.dumps(FULL)) == FULL
    assert len({FULL, PerturbationRecord.from_json(FULL.to_json())}) == 1


# --- perturbations of one's own ---


@dataclass(frozen=True)
class Swap:
    """Puts channels in another order."""

    order: tuple[int, int, int] = (2, 1, 0)
    name: str = "swap"
    times: int = field(default=1, init=False)

    def __call__(self, image):
        return image[list(self.order)]


@dataclass(frozen=True)
class Nested:
    parts: tuple[tuple[float, ...], ...] = ((0.5, 1.0), ())
    flag: bool | None = None

    def __call__(self, image):
        return image


def invert(image):
    return 255 - image


OWN = PerturbationRecord(
    3, (RegionChange(1, (Filter("moon"), Swap((1, 0, 2)), invert, Nested())),)
)


def test_perturbations_of_ones_own_survive_json():
    read = PerturbationRecord.from_json(OWN.to_json(), perturbations=[invert, Swap, Nested])
    assert read == OWN
    assert hash(read) == hash(OWN)


def test_perturbations_of_ones_own_have_a_format_that_does_not_change():
    (change,) = json.loads(OWN.to_json())["regions"]
    assert change["perturbations"] == [
        {"filter": "moon"},
        {"own": "Swap", "parameters": {"order": [1, 0, 2], "name": "swap"}},
        {"own": "invert"},
        {"own": "Nested", "parameters": {"parts": [[0.5, 1.0], []], "flag": None}},
    ]


def test_a_perturbation_that_was_not_given_is_asked_for():
    message = r"^'perturbations' must hold invert, which 'text' names, got \['Nested', 'Swap'\]"
    with pytest.raises(ValueError, match=message + r"\. Pass perturbations=\[invert\]\.$"):
        PerturbationRecord.from_json(OWN.to_json(), [Swap, Nested])
    with pytest.raises(ValueError, match=r"^'perturbations' must hold Swap, .* got \[\]"):
        PerturbationRecord.from_json(OWN.to_json())


def test_parameters_of_another_version_are_refused():
    text = change({"own": "Swap", "parameters": {"angle": 3}})
    with pytest.raises(
        ValueError, match=r"'text' must be what PerturbationRecord.to_json wrote.*angle"
    ):
        PerturbationRecord.from_json(text, perturbations=[Swap])


@pytest.mark.parametrize(
    "perturbation", [lambda image: image, partial(invert), Swap, torch.nn.Identity()]
)
def test_perturbations_without_a_name_or_fields_cannot_be_written(perturbation):
    with pytest.raises(TypeError, match="must be a dataclass or a function with a name to be"):
        PerturbationRecord(0, (RegionChange(1, (perturbation,)),)).to_json()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"order": [1, 2]}, "expected `array` of length 3"),
        ({"order": [1, 2, "x"]}, "expected `int`, got `str`"),
        ({"order": 3}, "expected `array`, got `int`"),
        ({"name": 3}, "expected `str`, got `int`, in the field 'name'"),
        ({"times": 3}, "unknown field `times`"),
    ],
)
def test_parameters_of_ones_own_are_checked_by_the_types_of_the_fields(parameters, reason):
    with pytest.raises(ValueError, match=reason):
        PerturbationRecord.from_json(change({"own": "Swap", "parameters": parameters}), [Swap])


@pytest.mark.parametrize("value", [[1.0], torch.ones(1), (1, [2])])
def test_parameters_that_json_cannot_keep_are_refused(value):
    kind = type(value).__name__
    with pytest.raises(TypeError, match=f"'parts' of Nested must be a number, .* got {kind}"):
        PerturbationRecord(0, (RegionChange(1, (Nested(value),)),)).to_json()


# --- where the regions are ---


def test_the_region_map_has_the_labels_that_were_changed():
    label_map = torch.tensor([[0, 2, 3], [5, 6, 200]], dtype=torch.uint8)
    expected = torch.tensor([[0, 2, 0], [5, 6, 0]], dtype=torch.uint8)
    assert torch.equal(FULL.region_map(label_map), expected)


@pytest.mark.parametrize("size", [(5, 7), (16, 8), (40, 33)])
def test_a_resized_region_map_covers_the_resized_region(size):
    label_map = torch.randint(0, 4, (24, 17)).repeat_interleave(3, 0)
    image = torch.randint(0, 256, (3, *label_map.shape), dtype=torch.uint8)
    sample = composite(image, label_map, PLAIN, size=size[0])
    regions = PLAIN.region_map(label_map, (size[0], size[0]))
    assert torch.equal(regions > 0, sample.region[0] > 0)
    assert PLAIN.region_map(label_map, size).shape == size


def test_a_record_without_regions_has_an_empty_region_map():
    assert PerturbationRecord(0, ()).region_map(torch.tensor([[1, 2]])).tolist() == [[0, 0]]


def test_large_labels_survive_the_resize_of_a_region_map():
    applied = PerturbationRecord(0, (RegionChange(65535, ()), RegionChange(65533, ())))
    label_map = torch.tensor([[65535, 65534], [65533, 0]])
    regions = applied.region_map(label_map, (4, 4))
    assert torch.equal(regions[::2, ::2], torch.tensor([[65535, 0], [65533, 0]]))
    assert regions.dtype == torch.int64
