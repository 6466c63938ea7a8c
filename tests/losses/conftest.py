import warnings
from functools import lru_cache

import pytest


@pytest.fixture(scope="session")
def lpips_package():
    """Makes the module of the package `lpips` that has the trunk of one of ours."""

    def build(loss):
        reference, ours = _package(loss.net), dict(loss.trunk.named_children())
        for piece in reference.net.children():
            for index, layer in piece.named_children():
                for name, parameter in layer.named_parameters():
                    parameter.data.copy_(getattr(ours[index], name))
        return reference

    return build


@lru_cache
def _package(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision's `pretrained`, SciPy and others
        import lpips

        return lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
