import pytest
import torch

from opmask import LAB, Add, Gated, Mul, OperatorMaskWrapper, Retoucher, plan
from opmask.backbones import SmallUNet
from opmask.datasets import SyntheticScenes


@pytest.fixture(scope="session")
def photo():
    """A drawn scene, 8 bits."""
    return SyntheticScenes(1, size=200)[0].image[:, :120].contiguous()


@pytest.fixture(scope="session")
def still(photo):
    """An edit that changes nothing; its gate is half open everywhere."""
    model = OperatorMaskWrapper(SmallUNet(width=8), Retoucher(Gated(Mul(LAB), Add(LAB))))
    return plan(model.eval(), photo, work_size=64)


@pytest.fixture(scope="session")
def edit(still):
    """The left is darker and bluer, the right has more contrast; between them nothing changes."""
    left, right = torch.zeros(120, 200), torch.zeros(120, 200)
    left[:, :60], right[20:100, 150:] = 1, 1
    darker = still.adjust("l_add", offset=-0.3, region=left)
    bluer = darker.adjust("b_add", offset=-0.2, region=left)
    return bluer.adjust("l_mul", offset=0.6, region=right)
