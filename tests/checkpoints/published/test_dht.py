"""Files in the exact layouts of D-HT's, made here from independent networks."""

import pytest
import torch
from reference_dht import ReferenceDHT
from reference_harmony_transformer import randomize
from torch import nn

import opmask
from opmask.backbones import DHT
from opmask.checkpoints import load_dht, load_harmony_transformer

IMAGE = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
REGION = torch.zeros(2, 1, 24, 40).index_fill_(3, torch.arange(10, 33), 1.0)
REGION[1, :, :9] = 0
LAST = "light_generator.transformer_dec.decoder.norm"


def published(version: str, d: int = 16, layers: int = 2) -> ReferenceDHT:
    """A network whose factors are far from constant."""
    network = randomize(ReferenceDHT(d, layers, version=version))
    for decoder in (network.reflectance_dec, network.illumination_dec):
        nn.init.normal_(decoder.model[5].conv.weight, std=0.2)
    return network


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_images_are_those_of_the_published_network(version, prefix, file):
    reference = published(version)
    tensors = {prefix + name: t for name, t in reference.state_dict().items()}
    network = load_dht(file(tensors), version=version)
    product, *factors = reference(IMAGE, REGION)
    assert not network.training
    assert all(wanted.std() > 0.05 for wanted in (product, *factors))
    torch.testing.assert_close(network(IMAGE, REGION), product, rtol=0, atol=1e-5)
    torch.testing.assert_close([*network.factors(IMAGE, REGION)], factors, rtol=0, atol=1e-5)


def test_narrower_convolutions_have_one_more(file):
    reference = randomize(ReferenceDHT(16, 1, n=2))
    network = load_dht(file(reference.state_dict()))
    assert (network.arguments["width"], network.arguments["stem"]) == (16, 2)
    wanted = reference(IMAGE, REGION)[0]
    torch.testing.assert_close(network(IMAGE, REGION), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("version", "count", "tensors"), [("v1", 26_515_654, 573), ("v2", 21_771_718, 465)]
)
def test_networks_have_the_published_parameters(version, count, tensors):
    with torch.device("meta"):
        networks = DHT(version=version), ReferenceDHT(version=version)
    for network in networks:
        assert sum(p.numel() for p in network.parameters()) == count
        assert len(network.state_dict()) == tensors


@pytest.mark.parametrize(("width", "layers"), [(8, 1), (32, 3)])
def test_width_and_layers_are_read_from_the_tensors(width, layers, file):
    arguments = load_dht(file(published("v1", width, layers).state_dict())).arguments
    read = [arguments[name] for name in ("width", "layers", "ffn", "lights", "version")]
    assert read == [width, layers, 2 * width, 27, "v1"]


@pytest.mark.parametrize(
    ("version", "other", "message"),
    [
        ("v1", "v2", "'light_generator.transformer_enc.encoder.layers.0.* is unexpected"),
        ("v2", "v1", "'light_generator.transformer_enc.encoder.layers.0.* is missing"),
    ],
)
def test_a_file_of_the_other_version_says_what_to_pass(version, other, message, file):
    with pytest.raises(ValueError, match=f"{message}.* version='{version}'"):
        load_dht(file(published(version).state_dict()), other)


def test_a_file_of_another_network_says_what_reads_it(file):
    path = file(published("v2").state_dict())
    with pytest.raises(ValueError, match=r"use load_dht\(path, version='v2'\)"):
        load_harmony_transformer(path)


def test_a_version_that_there_is_not_is_refused(file):
    with pytest.raises(ValueError, match="'version' must be one of v1, v2, got 'plus'"):
        load_dht(file({}), "plus")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(f"{LAST}.bias"), "norm.bias' is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "'extra' is unexpected"),
        (lambda s: s.update({f"{LAST}.bias": torch.zeros(2)}), "must have shape"),
        (lambda s: s[f"{LAST}.bias"].fill_(torch.nan), "not finite"),
    ],
)
def test_another_file_is_refused(change, message, file):
    tensors = published("v2").state_dict()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        load_dht(file(tensors), "v2")


def test_a_dht_with_masks_is_trained_saved_and_loaded(file, tmp_path):
    network = load_dht(file(published("v1", layers=5).state_dict()))
    model = opmask.OperatorMaskWrapper(network, region=True)
    image, region = torch.rand(1, 3, 50, 41), torch.ones(1, 1, 50, 41)
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)
    opmask.save(model.eval(), tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(image, region).image, model(image, region).image)
