import pytest

import opmask
from opmask import operators
from opmask.editor.labels import label


@pytest.mark.parametrize(
    ("retoucher", "name", "words"),
    [
        (opmask.lab_retoucher(), "l_mul", ("Lightness", "factor", 100.0, "%")),
        (opmask.lab_retoucher(), "b_add", ("Blue–yellow", "shift", 128.0, "b*")),
        (opmask.hls_retoucher(), "s_add", ("Saturation", "shift", 1.0, "")),
        (opmask.Retoucher(opmask.Add(opmask.LAB, prefix="sky_")), "sky_l_add",
         ("Lightness", "shift", 100.0, "L*")),
    ],
)  # fmt: skip
def test_masks_of_known_spaces_have_names_that_people_know(retoucher, name, words):
    found = label(retoucher, name)
    assert (found.title, found.operation, found.scale, found.unit) == words


def test_other_masks_are_called_by_their_names():
    class Exposure(opmask.Operator):
        space = opmask.LINEAR_RGB
        ranges = {"exposure_stops": opmask.MaskRange(0.0, low=-2.0, high=2.0)}

        def forward(self, image, mask):
            return image * 2**mask

    found = label(opmask.Retoucher(Exposure()), "exposure_stops")
    assert (found.title, found.operation, found.reach, found.limit) == (
        "Exposure stops",
        "",
        1,
        0.5,
    )


def test_a_range_without_an_end_reaches_as_far_as_one_unit():
    assert label(opmask.paper_hls_retoucher(), "l_mul").reach == 0.5


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (operators.Exposure(), ("Exposure", "", 1.0, "stops")),
        (operators.Temperature(prefix="sky_"), ("Sky temperature", "", 100.0, "mired")),
        (operators.HueShift(), ("Hue shift", "", 360.0, "°")),
        (operators.SelectiveColor(), ("Reds hue", "", 100.0, "")),
        (operators.Relight(), ("Relight", "", 1.0, "stops")),
        (operators.Parallel(operators.Exposure()), ("Exposure", "", 1.0, "stops")),
        (
            operators.LowResolution(operators.Frozen(opmask.Add(opmask.LAB))),
            ("Lightness", "shift", 100.0, "L*"),
        ),
    ],
)
def test_masks_of_other_operators_have_their_units(operator, words):
    found = label(opmask.Retoucher(operator), next(iter(operator.ranges)))
    assert (found.title, found.operation, found.scale, found.unit) == words
