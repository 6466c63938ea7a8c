import pytest
import torch
from torch import nn

from opmask import LAB, Add, Gated, Mul, OperatorMaskWrapper, Retoucher
from opmask.backbones import SmallUNet


@pytest.fixture
def gated_model():
    """A small U-Net with a gate that looks as if trained: masks differ from place to place."""
    retoucher = Retoucher(Gated(Mul(LAB), Add(LAB)))
    model = OperatorMaskWrapper(SmallUNet(4, width=8), retoucher, region=True)
    nn.init.normal_(model.head.layer.weight, std=2.0)
    return model.eval()


@pytest.fixture
def photo():
    """A photo of noise, 8 bits, larger than the masks."""
    return torch.randint(0, 256, (3, 120, 200), dtype=torch.uint8)
