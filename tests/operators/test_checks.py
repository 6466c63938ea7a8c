import pytest
import torch

import opmask
from opmask import LAB, MaskRange, Retoucher, operators


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
