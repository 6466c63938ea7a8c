"""Files in the exact layout of DIRL's, made here from an independent network."""

from collections import Counter

import pytest
import torch
from reference_dirl import ReferenceDecoder, ReferenceEncoder
from shaken import shaken
from torch import nn

import opmask
from opmask.backbones import DIRL, with_region_input
from opmask.checkpoints import load_dirl, load_s2ad

IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)


def dirl(width: int = 4, channels: int = 6) -> tuple[ReferenceEncoder, ReferenceDecoder]:
    decoder = shaken(ReferenceDecoder(width, channels), seed=1)
    nn.init.normal_(decoder.decoder_layers["deconv"]["decoder"]["d0"].conv5.weight)
    return shaken(ReferenceEncoder(width)), decoder


@pytest.fixture
def files(tmp_path):
    """Writes tensors of an encoder and a decoder as the published code does; gives the paths."""

    def write(*parts):
        paths = tmp_path / "encoder_epochbest.pth", tmp_path / "decoder_epochbest.pth"
        schedule = {"milestones": Counter({30: 1, 40: 1}), "gamma": 0.5, "base_lrs": [1e-4]}
        for tensors, path in zip(parts, paths, strict=True):
            rest = {"epoch": "best", "best_acc": 0.7, "opt": schedule}
            torch.save({"state_dict": tensors, **rest}, path)
        return paths

    return write


@pytest.mark.parametrize("prefix", ["", "module."])
def test_maps_are_those_of_the_published_dirl(prefix, files):
    encoder, decoder = dirl()
    both = [{prefix + n: t for n, t in p.state_dict().items()} for p in (encoder, decoder)]
    network = load_dirl(*files(*both))
    wanted = decoder(encoder((IMAGE - MEAN) / DEVIATION))
    assert not network.training
    assert min(found.std() for found in wanted) > 0.001
    torch.testing.assert_close(network.maps(IMAGE), wanted, rtol=0, atol=1e-5)
    assert torch.equal(network(IMAGE), network.maps(IMAGE)[0])


@pytest.mark.parametrize(("width", "channels"), [(4, 4), (8, 3)])
def test_widths_of_a_dirl_are_read_from_the_tensors(width, channels, files):
    network = load_dirl(*files(*(part.state_dict() for part in dirl(width, channels))))
    assert network.arguments == {"in_channels": 3, "width": width, "channels": channels}


def test_dirl_has_the_published_numbers_of_parameters():
    with torch.device("meta"):
        pairs = (DIRL().encoder, ReferenceEncoder()), (DIRL().decoder, ReferenceDecoder())
    for pair, count in zip(pairs, (35_438_976, 18_032_378), strict=True):
        assert [sum(p.numel() for p in part.parameters()) for part in pair] == [count, count]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e, d: e.pop("inbn.bias"), "no encoder of DIRL.*'inbn.bias' is missing"),
        (lambda e, d: d.update(extra=torch.zeros(1)), "no decoder of DIRL.*'extra' is unexpected"),
        (
            lambda e, d: d.update({"trans.im1.m_concat.conv.bias": torch.zeros(9)}),
            "must have sha",
        ),
        (lambda e, d: e["inconv.bias"].fill_(torch.nan), "not finite"),
    ],
)
def test_another_file_is_refused(change, message, files):
    parts = [part.state_dict() for part in dirl()]
    change(*parts)
    with pytest.raises(ValueError, match=message):
        load_dirl(*files(*parts))


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_another_loader_says_what_reads_the_files_of_a_dirl(half, files):
    paths = dict(
        zip(("encoder", "decoder"), files(*(p.state_dict() for p in dirl())), strict=True)
    )
    with pytest.raises(ValueError, match=rf"{half} of DIRL: use load_dirl\(encoder, decoder\)"):
        load_s2ad(paths[half])


def test_exchanged_files_and_halves_of_two_trainings_are_told(files):
    encoder, decoder = files(*(part.state_dict() for part in dirl()))
    with pytest.raises(ValueError, match="It is the other half: exchange the two files"):
        load_dirl(decoder, encoder)
    files_of_two = files(dirl(8)[0].state_dict(), dirl(4)[1].state_dict())
    with pytest.raises(ValueError, match="'decoder' must be of the training of 'encoder'"):
        load_dirl(*files_of_two)


def test_a_file_that_would_run_code_is_refused(files):
    encoder, decoder = files(*(part.state_dict() for part in dirl()))
    torch.save({"state_dict": dirl()[1].state_dict(), "opt": print}, decoder)
    with pytest.raises(ValueError, match="would run code"):
        load_dirl(encoder, decoder)


def test_a_dirl_with_masks_is_saved_and_loaded(files, tmp_path):
    network = load_dirl(*files(*(part.state_dict() for part in dirl())))
    model = opmask.OperatorMaskWrapper(with_region_input(network), region=True)
    image, region = torch.rand(1, 3, 50, 40), torch.ones(1, 1, 50, 40)
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)
    opmask.save(model.eval(), tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(image, region).image, model(image, region).image)
