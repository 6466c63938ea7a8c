"""Files in the exact layout of BargainNet's, made here from independent networks."""

import pytest
import torch
from reference_bargainnet import ReferenceBargainNet, ReferenceExtractor
from reference_dovenet import ReferenceDoveNet
from torch import nn

import opmask
from opmask.backbones import BargainNet
from opmask.checkpoints import load_bargainnet, load_dovenet

REGION = torch.zeros(2, 1, 64, 96)
REGION[0, :, 8:50, 20:70], REGION[1, :, 30:] = 1, 1


def used(network: nn.Module, *inputs: torch.Tensor) -> nn.Module:
    """A network in evaluation mode whose norms have learned something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    network(*inputs)
    return network.eval()


def generator(width: int = 8, depth: int = 5, codes: int = 16) -> ReferenceBargainNet:
    network, side = ReferenceBargainNet(width, depth, codes), 2**depth
    nn.init.normal_(network.model.model[3].weight, std=0.5)  # an image far from constant
    nn.init.constant_(network.weight, 0.7)
    x = torch.rand(4, 4 + codes, side, 2 * side).split([3, 1, codes], 1)
    return used(network, x[0], x[1], x[2].mean((2, 3)))


def extractor(width: int = 4, codes: int = 16, depth: int = 5) -> ReferenceExtractor:
    network = ReferenceExtractor(width, codes, depth)
    nn.init.normal_(network.convs.weight, std=1.0)
    return used(network, torch.rand(2, 3, 64, 96), REGION)


@pytest.fixture
def files(tmp_path):
    """Writes the two files and gives their paths."""

    def write(*states):
        paths = [tmp_path / f"latest_net_{kind}.pth" for kind in "GE"]
        for state, path in zip(states, paths, strict=True):
            torch.save(state, path)
        return paths

    return write


@pytest.mark.parametrize("factor", [0.7, -1.0])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_images_are_those_of_the_published_bargainnet(factor, prefix, files):
    published, describing = generator(), extractor()
    nn.init.constant_(published.weight, factor)
    image, real = torch.rand(2, 2, 3, 64, 96)
    states = (network.state_dict() for network in (published, describing))
    network = load_bargainnet(*files(*({prefix + n: t for n, t in s.items()} for s in states)))
    assert not network.training
    for background in (real, None):
        shown = image if background is None else background
        code = describing(2 * shown - 1, 1 - REGION)
        wanted = (1 + published(2 * image - 1, REGION, code)) / 2
        assert wanted.std() > 0.1
        out = network(image, REGION, background)
        torch.testing.assert_close(out, wanted, rtol=0, atol=1e-5)


def test_codes_are_those_of_the_published_extractor(files):
    describing, image = extractor(), torch.rand(2, 3, 64, 96)
    network = load_bargainnet(*files(generator().state_dict(), describing.state_dict()))
    code, wanted = network.extractor(image, REGION), describing(2 * image - 1, REGION)
    assert wanted.std() > 0.1
    torch.testing.assert_close(code, wanted.flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "depth"), [(4, 5), (8, 6)])
@pytest.mark.parametrize(("code_width", "code_depth", "codes"), [(4, 5, 16), (2, 3, 7)])
def test_sizes_are_read_from_the_tensors(width, depth, code_width, code_depth, codes, files):
    pair = generator(width, depth, codes), extractor(code_width, codes, code_depth)
    network = load_bargainnet(*files(*(network.state_dict() for network in pair)))
    assert list(network.arguments.values()) == [3, width, depth, codes, code_width, code_depth]


def test_bargainnet_has_the_published_numbers_of_parameters():
    with torch.device("meta"):
        network, published = BargainNet(), (ReferenceBargainNet(), ReferenceExtractor())
    counts = [sum(p.numel() for p in part.parameters()) for part in (*published, network)]
    assert counts == [54_776_324, 3_919_376, 54_776_324 + 3_919_376]
    assert [len(part.state_dict()) for part in (*published, network)] == [89, 23, 89 + 23]


def test_swapped_files_are_refused(files):
    states = extractor().state_dict(), generator().state_dict()
    with pytest.raises(ValueError, match=r"net_G.*no generator .*load_bargainnet\(generator, ext"):
        load_bargainnet(*files(*states))


def test_other_files_are_refused_with_what_reads_them(files, tmp_path):
    states = ReferenceDoveNet(4, 5, "batch").state_dict(), extractor().state_dict()
    with pytest.raises(ValueError, match=r"'weight' is missing.* use load_dovenet"):
        load_bargainnet(*files(*states))
    with pytest.raises(ValueError, match=r"'weight' is unexpected.* use load_bargainnet"):
        load_dovenet(files(generator().state_dict(), {})[0])
    one = ReferenceDoveNet(4, 5, "instance", 20).state_dict() | {"weight": torch.zeros(1)}
    with pytest.raises(ValueError, match="instance norms"):
        load_bargainnet(*files(one, extractor().state_dict()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g, e: e.pop("conv1f.bias"), "net_E.*no extractor .*'conv1f.bias' is missing"),
        (lambda g, e: e.pop("norm3f.running_var"), "'norm3f.running_var' is missing"),
        (lambda g, e: g.update({"model.model.3.bias": torch.zeros(2)}), "net_G.*must have shape"),
        (lambda g, e: e.update({"conv2f.weight": torch.zeros(2, 2, 3, 3)}), "net_E.*must have sh"),
        (lambda g, e: e.update({"conv1f.weight": torch.zeros(3)}), r"inputs, 3, 3\)"),
        (lambda g, e: e["convs.bias"].fill_(torch.nan), "net_E.*not finite"),
        (lambda g, e: e.update(extractor(codes=5).state_dict()), "codes of 16 .*makes 5"),
    ],
)
def test_damaged_files_are_refused(change, message, files):
    states = generator().state_dict(), extractor().state_dict()
    change(*states)
    with pytest.raises(ValueError, match=message):
        load_bargainnet(*files(*states))


def test_a_bargainnet_with_masks_is_trained_saved_and_loaded(files, tmp_path):
    network = load_bargainnet(*files(generator().state_dict(), extractor().state_dict()))
    model = opmask.OperatorMaskWrapper(network, region=True)
    image, region = torch.rand(1, 3, 50, 40), torch.ones(1, 1, 50, 40)
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)
    opmask.save(model.eval(), tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(image, region).image, model(image, region).image)
