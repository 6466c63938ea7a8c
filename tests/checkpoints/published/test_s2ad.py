"""Files in the exact layout of S2AM's, made here from an independent network."""

import pytest
import torch
from reference_s2ad import ReferenceS2AD
from shaken import shaken
from torch import nn

import opmask
from opmask.backbones import S2AD
from opmask.checkpoints import load_dovenet, load_s2ad

REGION = (torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0)) > 0.4).float()
IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def s2ad(width: int = 8, depth: int = 5, guided: bool = True) -> ReferenceS2AD:
    network = shaken(ReferenceS2AD(width, depth, guided))
    nn.init.normal_(network.model.model.up[1].weight, std=0.2)
    return network


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("region", [REGION, REGION.roll(1, 3) * 0.7])
def test_images_are_those_of_the_published_s2ad(region, prefix, file):
    published = s2ad()
    tensors = {prefix + name: t for name, t in published.state_dict().items()}
    rest = {"epoch": 60, "arch": "rascv2", "best_acc": 30.0, "optimizer": {"state": {}}}
    network = load_s2ad(file({"state_dict": tensors, **rest}))
    wanted = published(torch.cat([IMAGE, region], 1))
    assert not network.training
    assert wanted.std() > 0.1
    torch.testing.assert_close(network(IMAGE, region), wanted, rtol=0, atol=1e-5)


def test_images_are_those_of_the_published_network_without_a_region(file):
    published = s2ad(guided=False)
    network = load_s2ad(file(published.state_dict()))
    assert network.arguments["in_channels"] == 3
    torch.testing.assert_close(network(IMAGE), published(IMAGE.clone()), rtol=0, atol=1e-5)


def test_the_kernel_that_blurs_regions_is_read_from_the_file(file):
    published = s2ad()
    for name, kernel in published.named_buffers():
        if name.endswith("gaussianMask.weight"):
            kernel.copy_(kernel.half())
    wanted = published(torch.cat([IMAGE, REGION], 1))
    network = load_s2ad(file(published.state_dict()))
    torch.testing.assert_close(network(IMAGE, REGION), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("width", "depth"), [(8, 5), (16, 6), (8, 8)])
def test_width_and_depth_of_an_s2ad_are_read_from_the_tensors(width, depth, file):
    network = load_s2ad(file(s2ad(width, depth).state_dict()))
    assert (network.arguments["width"], network.arguments["depth"]) == (width, depth)


def test_a_file_that_does_not_count_batches_is_read(file):
    tensors = s2ad().state_dict()
    load_s2ad(file({n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}))


@pytest.mark.parametrize(("guided", "count"), [(True, 67_003_051), (False, 67_009_134)])
def test_s2ad_has_the_published_number_of_parameters(guided, count):
    with torch.device("meta"):
        networks = S2AD(3 + guided), ReferenceS2AD(guided=guided)
    for network in networks:
        assert sum(p.numel() for p in network.parameters()) == count


OUTER = "model.model.sub.model.attention"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.model.down.0.weight"), "'model.model.down.0.weight' is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "'extra' is unexpected"),
        (lambda s: s.update({"model.model.up.1.bias": torch.zeros(2)}), "must have shape"),
        (lambda s: s["model.model.up.1.bias"].fill_(torch.nan), "not finite"),
        (
            lambda s: s.update({f"{OUTER}.connection.rconv2.weight": torch.zeros(8, 16, 3, 3)}),
            "holds rascv1 of S2AM",
        ),
        (
            lambda s: s.update({"model.model.down.0.weight": torch.zeros(8, 3, 4, 4)}),
            "must take 4 channels or more",
        ),
    ],
)
def test_another_file_is_refused(change, message, file):
    tensors = s2ad().state_dict()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        load_s2ad(file(tensors))


def test_another_loader_says_what_reads_the_file_of_an_s2ad(file):
    with pytest.raises(ValueError, match="a network of S2AM: use load_s2ad"):
        load_dovenet(file(s2ad().state_dict()))


def test_an_s2ad_with_masks_is_saved_and_loaded(file, tmp_path):
    network = load_s2ad(file(s2ad().state_dict()))
    model = opmask.OperatorMaskWrapper(network, region=True)
    image, region = torch.rand(1, 3, 50, 40), torch.ones(1, 1, 50, 40)
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)
    torch.testing.assert_close(model(image).image, image, rtol=0, atol=1e-4)
    opmask.save(model.eval(), tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(image, region).image, model(image, region).image)
