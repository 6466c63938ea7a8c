import pytest
import torch

import opmask
from opmask.backbones import RegionUNet
from opmask.color import with_lab


@pytest.fixture
def trained():
    """A small one whose last layer is no longer zero."""
    net = RegionUNet(width=8, trunk=False).eval()
    torch.nn.init.normal_(net.out.weight)
    return net


def inputs(region, size=64):
    image = torch.rand(1, 3, size, size)
    return torch.cat([image, torch.as_tensor(region).expand(1, 1, size, size)], 1)


def square(size=64):
    region = torch.zeros(1, 1, size, size)
    region[..., 16:32, 16:32] = 1
    return region


def test_with_and_without_its_trunk_it_has_so_many_parameters_of_its_own():
    with_trunk, without = RegionUNet(7, 7), RegionUNet(7, 7, trunk=False)
    trained = [p for p in with_trunk.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == 1_906_676
    assert sum(p.numel() for p in with_trunk.parameters()) == 4_376_372
    assert all(p.requires_grad for p in without.parameters())


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 3), (7, 6)])
def test_it_maps_images_to_maps_of_the_same_size(inputs, outputs):
    net = RegionUNet(inputs, outputs, width=8)
    assert net(torch.rand(2, inputs, 48, 80)).shape == (2, outputs, 48, 80)


def test_untrained_it_puts_out_zeros():
    assert not RegionUNet(width=8, trunk=False)(inputs(-1.0)).any()


def test_unknown_is_not_the_same_as_outside(trained):
    unknown, outside = inputs(-1.0), inputs(0.0)
    outside[:, :3] = unknown[:, :3]
    assert not torch.allclose(trained(unknown), trained(outside))


def test_a_place_far_from_the_region_depends_on_what_is_inside(trained):
    x = inputs(square(256), 256).requires_grad_()
    trained(x)[..., -1, -1].sum().backward()
    assert x.grad[:, :3, 16:32, 16:32].abs().sum() > 0


def test_the_trunk_sees_the_image_as_imagenet_networks_do():
    net = RegionUNet(width=8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    expected = net.trunk.features[0].bias.relu()
    torch.testing.assert_close(net.trunk(mean)[0][0, :, 8, 8], expected)


def test_the_trunk_stays_as_it_is_and_has_the_sizes_it_says():
    trunk = RegionUNet(width=8).trunk
    assert not any(p.requires_grad for p in trunk.parameters())
    shapes = [tuple(f.shape) for f in trunk(torch.rand(1, 3, 128, 96))]
    assert shapes == [(1, 64, 31, 23), (1, 192, 15, 11), (1, 256, 7, 5)]


def test_the_weights_of_the_trunk_come_from_a_file(tmp_path):
    source, net = RegionUNet(width=8), RegionUNet(width=8)
    torch.save(source.trunk.state_dict(), tmp_path / "alexnet.pth")
    net.load_trunk(tmp_path / "alexnet.pth")
    torch.testing.assert_close(net.trunk.state_dict(), source.trunk.state_dict())


def test_the_weights_of_torchvisions_alexnet_fit(data_root):
    net = RegionUNet(width=8)
    net.load_trunk(data_root / "weights" / "alexnet_features.pth")
    assert net.trunk.features[0].weight.abs().max() > 0.5


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"must hold the weights of torchvision's AlexNet"):
        RegionUNet(width=8).load_trunk(tmp_path / "other.pth")


def test_a_network_without_a_trunk_has_none_to_load(tmp_path):
    with pytest.raises(ValueError, match="must have a trunk to load"):
        RegionUNet(width=8, trunk=False).load_trunk(tmp_path / "alexnet.pth")


def test_it_remembers_its_arguments():
    arguments = {"in_channels": 7, "out_channels": 6, "width": 8, "trunk": False, "finder": False}
    assert RegionUNet(7, 6, width=8, trunk=False).arguments == arguments


def test_a_wrapper_around_it_is_saved_and_loaded(tmp_path):
    retoucher = opmask.Retoucher(opmask.Gated(opmask.Add(opmask.LAB)))
    network = RegionUNet(7, 4, width=8, trunk=False)
    torch.nn.init.normal_(network.out.weight)
    model = opmask.OperatorMaskWrapper(
        network, retoucher, region=True, head=opmask.OutputHead(), preprocess=with_lab
    ).eval()
    opmask.save(model, tmp_path / "model.safetensors")
    loaded, image = opmask.load(tmp_path / "model.safetensors").eval(), torch.rand(1, 3, 50, 70)
    torch.testing.assert_close(loaded(image).image, model(image).image)
    assert loaded.preprocess is with_lab
    assert loaded.multiple_of == 16


def test_older_files_say_true_or_false_for_the_trunk():
    assert len(RegionUNet(width=8, trunk=True).state_dict()) == len(
        RegionUNet(width=8).state_dict()
    )
    assert RegionUNet(width=8, trunk=False).trunk is RegionUNet(width=8, trunk=None).trunk is None


def test_an_unknown_trunk_is_refused():
    with pytest.raises(ValueError, match="'trunk' must be alexnet, lite0 or None, got 'vgg'"):
        RegionUNet(trunk="vgg")


def test_lite0_has_so_many_parameters_and_the_sizes_it_says():
    net = RegionUNet(7, 7, trunk="lite0")
    assert sum(p.numel() for p in net.parameters()) == 2_555_204
    assert not any(p.requires_grad for p in net.trunk.parameters())
    shapes = [tuple(f.shape) for f in net.trunk(torch.rand(1, 3, 128, 96))]
    assert shapes == [(1, 24, 32, 24), (1, 40, 16, 12), (1, 112, 8, 6)]


@pytest.fixture
def lite0(tmp_path):
    """timm's network, with norms that do something, and its file."""
    timm = pytest.importorskip("timm")
    net = timm.create_model("tf_efficientnet_lite0").eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    torch.save(net.state_dict(), tmp_path / "lite0.pth")
    return net, tmp_path / "lite0.pth"


def test_lite0_has_the_features_of_timms(lite0):
    theirs, path = lite0
    net = RegionUNet(width=8, trunk="lite0")
    net.load_trunk(path)
    image = torch.rand(1, 3, 64, 96)
    x, expected = theirs.bn1(theirs.conv_stem((image * 255 - 127) / 128)), []
    for stage in theirs.blocks[:5]:
        x = stage(x)
        expected.append(x)
    for found, wanted in zip(net.trunk(image), (expected[i] for i in (1, 2, 4)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_file_of_another_network_is_no_lite0(lite0):
    _, path = lite0
    state = torch.load(path)
    torch.save(dict(reversed(state.items())), path)
    with pytest.raises(ValueError, match="must hold the weights of EfficientNet-Lite0 in"):
        RegionUNet(width=8, trunk="lite0").load_trunk(path)
