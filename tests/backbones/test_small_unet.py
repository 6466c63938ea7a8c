import pytest
import torch

from opmask.backbones import SmallUNet


def test_it_has_about_two_million_parameters():
    assert sum(p.numel() for p in SmallUNet().parameters()) == 1_937_955


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 3), (4, 6)])
def test_it_maps_images_to_maps_of_the_same_size(inputs, outputs):
    net = SmallUNet(inputs, outputs, width=8)
    assert net(torch.rand(2, inputs, 64, 96)).shape == (2, outputs, 64, 96)


def test_every_place_knows_of_the_whole_picture():
    net, image = SmallUNet(width=8).eval(), torch.rand(1, 3, 256, 256, requires_grad=True)
    net(image)[..., 0, 0].sum().backward()
    assert image.grad[..., -8:, -8:].abs().sum() > 0


def test_it_remembers_its_arguments():
    assert SmallUNet(4, 6, width=8).arguments == {"in_channels": 4, "out_channels": 6, "width": 8}
