"""Files in the exact layout of DoveNet's discriminator, made here from an independent network."""

import pytest
import torch
from reference_dovenet import ReferenceDoveNet
from reference_dovenet_discriminator import ReferenceDiscriminator

from opmask.checkpoints import load_dovenet, load_dovenet_discriminator
from opmask.discriminator import DomainVerificationDiscriminator


def pair():
    """Images in [-1, 1], and regions of 0 and 1."""
    region = torch.zeros(2, 1, 34, 41)
    region[0, :, 3:20, 5:30], region[1, :, 15:] = 1, 1
    return 2 * torch.rand(2, 3, 34, 41) - 1, region


def published(width=4, depth=3):
    """A discriminator in evaluation mode whose estimates of spectral norms have settled."""
    network = ReferenceDiscriminator(width, depth)
    with torch.no_grad():
        for _ in range(3):
            network(*pair())
    for parameter in network.parameters():
        parameter.data *= 3
    return network.eval()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_logits_are_those_of_the_published_discriminator(prefix, file):
    theirs, inputs = published(), pair()
    tensors = {prefix + name: t for name, t in theirs.state_dict().items()}
    discriminator = load_dovenet_discriminator(file(tensors))
    assert discriminator.training
    with torch.no_grad():
        wanted = theirs(*inputs)
        for logits, target in zip(discriminator.eval()(*inputs), wanted, strict=True):
            torch.testing.assert_close(logits, target, rtol=1e-4, atol=1e-5)
            assert target.std() > 1e-3


@pytest.mark.parametrize(("width", "depth"), [(4, 2), (8, 4), (2, 6)])
def test_width_and_depth_are_read_from_the_tensors(width, depth, file):
    network = load_dovenet_discriminator(file(ReferenceDiscriminator(width, depth).state_dict()))
    assert (network.judge_whole.in_channels, network.depth) == (min(2**depth, 8) * width, depth)


def test_it_has_the_published_number_of_parameters():
    with torch.device("meta"):
        networks = DomainVerificationDiscriminator(), ReferenceDiscriminator()
    for network in networks:
        assert sum(p.numel() for p in network.parameters()) == 17_787_138
        assert len(network.state_dict()) == 68


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("D.conv1f.weight_u"), "'D.conv1f.weight_u' is missing"),
        (lambda s: s.update({"D.norm2.weight": torch.zeros(8)}), "'D.norm2.weight' is unexpected"),
        (lambda s: s.update({"convl3.bias": torch.zeros(2)}), "must have shape"),
        (lambda s: s["convl3.bias"].fill_(torch.nan), "not finite"),
        (lambda s: s.update({"D.conv1.weight_orig": torch.zeros(2)}), r"inputs, 3, 3\)"),
    ],
)
def test_another_file_is_refused(change, message, file):
    tensors = ReferenceDiscriminator(4, 3).state_dict()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        load_dovenet_discriminator(file(tensors))


def test_generators_and_discriminators_are_told_apart(file):
    with pytest.raises(ValueError, match=r"no discriminator of DoveNet .* use load_dovenet\."):
        load_dovenet_discriminator(file(ReferenceDoveNet(4, 5).state_dict()))
    with pytest.raises(ValueError, match=r"no generator .* use load_dovenet_discriminator\."):
        load_dovenet(file(ReferenceDiscriminator(4, 3).state_dict()))
