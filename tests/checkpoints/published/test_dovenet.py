"""Files in the exact layout of DoveNet's, made here from an independent network."""

import pytest
import torch
from reference_dovenet import ReferenceDoveNet
from torch import nn

import opmask
from opmask.backbones import DoveNet
from opmask.checkpoints import load_dovenet

REGION = torch.zeros(2, 1, 64, 64).index_fill_(3, torch.arange(20, 50), 1.0)


def dovenet(norm: str = "instance", width: int = 8, depth: int = 5) -> ReferenceDoveNet:
    """A network in evaluation mode whose norms have seen images."""
    network = ReferenceDoveNet(width, depth, norm)
    side = 2**depth
    network(torch.rand(4, 4, side, 2 * side))
    nn.init.normal_(network.model.model[3].weight, std=0.5)  # an image far from constant
    return network.eval()


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_images_are_those_of_the_published_dovenet(norm, prefix, file):
    published, image = dovenet(norm), torch.rand(2, 3, 64, 64)
    tensors = {prefix + name: t for name, t in published.state_dict().items()}
    network = load_dovenet(file(tensors))
    wanted = (1 + published(torch.cat([2 * image - 1, REGION], 1))) / 2
    assert not network.training
    assert wanted.std() > 0.1
    torch.testing.assert_close(network(image, REGION), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("width", "depth"), [(4, 5), (8, 6), (8, 8)])
def test_width_and_depth_of_a_dovenet_are_read_from_the_tensors(width, depth, file):
    network = load_dovenet(file(dovenet(width=width, depth=depth).state_dict()))
    assert (network.arguments["width"], network.arguments["depth"]) == (width, depth)


@pytest.mark.parametrize(("norm", "count"), [("instance", 54_755_587), ("batch", 54_759_939)])
def test_dovenet_has_the_published_number_of_parameters(norm, count):
    with torch.device("meta"):
        networks = DoveNet(norm=norm), ReferenceDoveNet(norm=norm)
    for network in networks:
        assert sum(p.numel() for p in network.parameters()) == count


def without(name):
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model.model.0.weight"), "'model.model.0.weight' is missing"),
        (without("model.model.1.model.1.bias"), "'model.model.1.model.1.bias' is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "'extra' is unexpected"),
        (lambda s: s.update({"model.model.3.bias": torch.zeros(2)}), "must have shape"),
        (lambda s: s["model.model.3.bias"].fill_(torch.nan), "not finite"),
    ],
)
def test_another_file_is_refused(change, message, file):
    tensors = dovenet().state_dict()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        load_dovenet(file(tensors))


def test_a_file_of_the_papers_generator_says_what_reads_it(file):
    tensors = dovenet().state_dict()
    tensors["model.model.3.conv2d.weight"] = tensors.pop("model.model.3.weight")
    with pytest.raises(ValueError, match="use load_reference_checkpoint"):
        load_dovenet(file(tensors))


def test_a_dovenet_with_masks_is_trained_saved_and_loaded(file, tmp_path):
    network = load_dovenet(file(dovenet().state_dict()))
    model = opmask.OperatorMaskWrapper(network, region=True)
    image, region = torch.rand(1, 3, 50, 40), torch.ones(1, 1, 50, 40)
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)
    opmask.save(model.eval(), tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(image, region).image, model(image, region).image)
