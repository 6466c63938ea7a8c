import numpy as np
import pytest
import torch

import opmask
from opmask import LAB, MaskRange, Retoucher, operators
from opmask.testing import check_operator


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: MaskRange("0"), "identity"),
        (lambda: MaskRange(0, low=None), "low"),
        (lambda: operators.Blur(radius="wide"), "radius"),
        (lambda: operators.Clarity(contrast=None), "contrast"),
        (lambda: operators.Contrast(pivot="grey"), "pivot"),
        (lambda: operators.Affine(pivot=("1", 0, 0)), "pivot"),
    ],
)
def test_what_is_no_number_is_named(build, name):
    with pytest.raises(TypeError, match=f"'{name}' must be a number, got"):
        build()


@pytest.mark.parametrize("operator", [operators.Add, operators.Affine, operators.HueShift])
def test_a_colour_space_is_no_name(operator):
    with pytest.raises(TypeError, match=r"'space' must be a colour space such as opmask\.LAB"):
        operator("lab")


@pytest.mark.parametrize("name", ["pixels", "mask_size"])
def test_fit_masks_takes_whole_numbers(name):
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(TypeError, match=f"'{name}' must be a whole number, got 2.5"):
        opmask.fit_masks(Retoucher(opmask.Add(LAB)), image, image, **{name: 2.5})


@pytest.mark.parametrize("ranges", [[opmask.MaskRange(0.0)], opmask.MaskRange(0.0), "exposure"])
def test_ranges_that_are_no_table_are_refused(ranges):
    with pytest.raises(TypeError, match=r"'ranges' must map masks to ranges, as in .*, got"):
        operators.Exposure(ranges=ranges)


def test_masks_that_an_operator_declares_as_a_list_are_refused():
    wrong = type("Wrong", (operators.Exposure,), {"ranges": ["exposure"]})
    with pytest.raises(TypeError, match=r"'ranges' must map masks to .*, got \['exposure'\]"):
        wrong()


def test_a_prefix_is_a_text():
    with pytest.raises(TypeError, match="'prefix' must be a text such as 'sky_', got 1"):
        operators.Exposure(prefix=1)


@pytest.mark.parametrize("color", ["#ff8800", np.ones(3)])
def test_a_colour_is_made_of_numbers(color):
    with pytest.raises(TypeError, match=r"'color' must be a grey or a triple .* Write numbers"):
        operators.PhotoFilter(color=color)


class Unfinished(opmask.Operator):
    """Forgets the constructor of its base."""

    space = opmask.RGB
    ranges = {"x": opmask.MaskRange(0.0)}

    def __init__(self):
        pass

    def forward(self, image, mask):
        return image + mask


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (operators.Exposure, r"got the class Exposure\. Build it: Exposure\(\)\."),
        ([operators.Exposure()], r"got a list\. Hand them in one by one, by a \* before it\."),
        (Unfinished(), r"Unfinished\.__init__ must call super\(\)\.__init__\(\)"),
    ],
)
def test_who_hands_in_no_operator_is_told_what_to_do(found, message):
    for kind in (opmask.Retoucher, opmask.Gated):
        with pytest.raises(TypeError, match=message):
            kind(found)


def test_the_contract_names_the_constructor_that_was_forgotten():
    with pytest.raises(AssertionError, match=r"'__init__' must call super\(\).__init__\(\)"):
        check_operator(Unfinished())
    with pytest.raises(TypeError, match=r"got the class Unfinished\. Build it: Unfinished\(\)"):
        check_operator(Unfinished)
