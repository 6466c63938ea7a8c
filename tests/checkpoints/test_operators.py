"""Descriptions of operators, those of older files among them."""

import pytest
import torch

import opmask
from opmask import HLS, LAB, Add, Gated, MaskRange, Mul, Retoucher
from opmask.backbones import SmallUNet
from opmask.checkpoints.metadata import OperatorAbout
from opmask.checkpoints.operators import build_retoucher, describe_operator
from opmask.operators import Affine


def bounds(*values):
    return tuple(map(repr, values))


MUL, ADD, GATE = bounds(1.0, 0.0, 2.0), bounds(0.0, -1.0, 1.0), bounds(0.5, 0.0, 1.0)
OLD = {
    "add": (Add(LAB), OperatorAbout("Add", "lab", {f"{c}_add": ADD for c in "lab"})),
    "a prefix that ends like a channel": (
        Mul(HLS, "s", "l", prefix="hls_"),
        OperatorAbout("Mul", "hls", {"hls_s_mul": MUL, "hls_l_mul": MUL}),
    ),
    "unbounded": (
        Mul(LAB, "l", range=MaskRange(1.0, low=0.0)),
        OperatorAbout("Mul", "lab", {"l_mul": ("1.0", "0.0", "inf")}),
    ),
    "gated": (
        Gated(Add(LAB, "l", prefix="x_"), prefix="y_"),
        OperatorAbout(
            "Gated",
            "lab",
            {"x_l_add": ADD, "y_gate": GATE},
            [OperatorAbout("Add", "lab", {"x_l_add": ADD})],
        ),
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_files_without_arguments_and_prefix_are_read(name):
    operator, about = OLD[name]
    built = build_retoucher([about])
    assert repr(built) == repr(Retoucher(operator))
    assert built.ranges == operator.ranges
    assert built.operators[0].prefix == operator.prefix


def test_an_operator_of_ones_own_is_not_taken_for_that_of_the_same_name():
    class Exposure(opmask.operators.Exposure):
        def forward(self, image, mask):
            return image

    about = describe_operator(Exposure())
    assert about.type.endswith(".Exposure")
    with pytest.raises(ValueError, match="none of opmask's"):
        build_retoucher([about])


def test_an_operator_in_a_space_of_ones_own_is_none_of_opmasks():
    space = opmask.ColorSpace("mine", ("h", "x", "y"), HLS.from_rgb, HLS.to_rgb)
    about = describe_operator(opmask.operators.HueShift(space))
    assert about.type == "opmask.operators.channel.HueShift"
    with pytest.raises(ValueError, match="in mine is none of opmask's"):
        build_retoucher([about])


def test_an_operator_described_in_another_space_is_refused():
    about = OperatorAbout("Exposure", "lab", {"exposure": bounds(0.0, -2.0, 2.0)})
    message = (
        r"Exposure of the file must have the masks \['exposure'\] in linear_rgb, got .* in lab"
    )
    with pytest.raises(ValueError, match=message):
        build_retoucher([about])


def test_a_retoucher_that_is_handed_in_must_have_the_arguments_of_the_file():
    about = [describe_operator(opmask.operators.Contrast(pivot=0.25))]
    same = Retoucher(opmask.operators.Contrast(pivot=0.25))
    assert build_retoucher(about, same) is same
    with pytest.raises(ValueError, match=r"the Contrast of the file, with \{'pivot': 0.25\}, got"):
        build_retoucher(about, Retoucher(opmask.operators.Contrast()))


class Warmth(opmask.Operator):
    """An operator of one's own."""

    space = opmask.LINEAR_RGB
    ranges = {"warmth": MaskRange(0.0, low=-2.0, high=2.0)}

    def forward(self, image, mask):
        return image * 2 ** torch.cat([mask, torch.zeros_like(mask), -mask], dim=1)


@pytest.mark.parametrize(
    "operator",
    [Mul(HLS, "s"), Gated(Add(LAB, "a", "b")), Affine(LAB, "l", pivot=(0.8, 0.6, 0.5))],
)
def test_files_with_operators_of_ones_own_and_opmasks_are_loaded(operator, tmp_path):
    retoucher = Retoucher(Warmth(), operator)
    backbone = SmallUNet(width=8)
    opmask.save(opmask.OperatorMaskWrapper(backbone, retoucher), tmp_path / "own.safetensors")
    loaded = opmask.load(tmp_path / "own.safetensors", retoucher=Retoucher(Warmth(), operator))
    assert loaded.retoucher.ranges == retoucher.ranges
