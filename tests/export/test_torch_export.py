"""`torch.export` of models and retouchers, as the page on deployment shows it."""

import pytest
import torch
from torch import nn
from torch.export import Dim, export, load, save

import opmask
from opmask import Gated, Mul, OperatorMaskWrapper, Retoucher
from opmask.backbones import SmallUNet

FREE = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}


@pytest.fixture
def model():
    model = OperatorMaskWrapper(SmallUNet(width=8))
    nn.init.normal_(model.head.layer.weight)
    return model.eval()


def saved(program, tmp_path):
    """The program after a trip through a file."""
    save(program, tmp_path / "program.pt2")
    return load(tmp_path / "program.pt2").module()


@pytest.mark.slow
def test_a_model_is_exported_for_all_multiples_of_its_own(model, tmp_path):
    program = export(model, (torch.rand(2, 3, 96, 128),), dynamic_shapes=(FREE,))
    restored = saved(program, tmp_path)
    for size in (1, 3, 64, 160), (3, 3, 128, 96):
        image = torch.rand(size)
        with torch.no_grad():
            # Eager mode computes colours in place, which rounds otherwise.
            torch.testing.assert_close(restored(image), model(image), rtol=0, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "retoucher",
    [
        opmask.lab_retoucher(),
        opmask.hls_retoucher(),
        Retoucher(Gated(Mul(opmask.LAB, "l"))),
    ],
)
def test_a_retoucher_is_exported_for_all_sizes(retoucher, tmp_path):
    def inputs(batch, height, width):
        image = torch.rand(batch, 3, height, width)
        return image, {name: torch.rand(batch, 1, height, width) for name in retoucher.ranges}

    shapes = (FREE, dict.fromkeys(retoucher.ranges, FREE))
    restored = saved(export(retoucher, inputs(2, 20, 30), dynamic_shapes=shapes), tmp_path)
    for size in (1, 17, 33), (3, 40, 24):
        given = inputs(*size)
        torch.testing.assert_close(restored(*given), retoucher(*given), rtol=0, atol=1e-5)
