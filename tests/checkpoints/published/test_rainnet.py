"""Files in the exact layout of RainNet's, made here from an independent network."""

import pytest
import torch
from reference_dovenet import ReferenceDoveNet
from reference_rainnet import ReferenceRainNet
from torch import nn

import opmask
from opmask.backbones import RainNet
from opmask.checkpoints import load_rainnet

REGION = torch.zeros(2, 1, 64, 96)
REGION[0, :, 8:50, 20:70], REGION[1, :, 30:] = 1, 1


def rainnet(width: int = 8, depth: int = 5, inputs: int = 3) -> ReferenceRainNet:
    """A network in evaluation mode whose norms have learned something."""
    network = ReferenceRainNet(width, depth, inputs)
    for name, parameter in network.named_parameters():
        if name.endswith(("gamma", "beta")):
            nn.init.normal_(parameter, std=0.5)
    nn.init.normal_(network.model_out[1].weight, std=0.2)  # an image far from constant
    return network.eval()


@pytest.mark.parametrize("inputs", [3, 4])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_images_are_those_of_the_published_rainnet(inputs, prefix, file):
    published, image = rainnet(inputs=inputs), torch.rand(2, 3, 64, 96)
    tensors = {prefix + name: t for name, t in published.state_dict().items()}
    network = load_rainnet(file(tensors))
    x = torch.cat([2 * image - 1, REGION], 1)[:, :inputs]
    wanted = (1 + published(x, REGION)) / 2
    assert not network.training
    assert wanted.std() > 0.1
    torch.testing.assert_close(network(image, REGION), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("width", "depth"), [(4, 5), (8, 6), (8, 8)])
def test_width_and_depth_of_a_rainnet_are_read_from_the_tensors(width, depth, file):
    network = load_rainnet(file(rainnet(width, depth).state_dict()))
    assert (network.arguments["width"], network.arguments["depth"]) == (width, depth)


@pytest.mark.parametrize(("inputs", "count"), [(3, 54_759_043), (4, 54_760_067)])
def test_rainnet_has_the_published_number_of_parameters(inputs, count):
    with torch.device("meta"):
        networks = RainNet(inputs), ReferenceRainNet(inputs=inputs)
    for network in networks:
        assert sum(p.numel() for p in network.parameters()) == count
        assert len(network.state_dict()) == 51


def without(name):
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model_layer0.weight"), "'model_layer0.weight' is missing"),
        (without("unet_block.upnorm.foreground_beta"), "'unet_block.*foreground_beta' is missing"),
        (without("unet_block.up.1.weight"), "'unet_block.up.1.weight' is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "'extra' is unexpected"),
        (lambda s: s.update({"model_layer0.weight": torch.zeros(8, 5, 4, 4)}), "got 5"),
        (lambda s: s.update({"model_out.1.bias": torch.zeros(2)}), "must have shape"),
        (lambda s: s["model_out.1.bias"].fill_(torch.nan), "not finite"),
    ],
)
def test_another_file_is_refused(change, message, file):
    tensors = rainnet().state_dict()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        load_rainnet(file(tensors))


def test_a_file_of_dovenet_says_what_reads_it(file):
    with pytest.raises(ValueError, match=r"no generator of RainNet .*: use load_dovenet"):
        load_rainnet(file(ReferenceDoveNet(4, 5).state_dict()))


def test_a_rainnet_with_masks_is_trained_saved_and_loaded(file, tmp_path):
    network = load_rainnet(file(rainnet().state_dict()))
    model = opmask.OperatorMaskWrapper(network, region=True)
    image, region = torch.rand(1, 3, 50, 40), torch.ones(1, 1, 50, 40)
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)
    opmask.save(model.eval(), tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(image, region).image, model(image, region).image)
