"""Files in the exact layouts of Harmony Transformer's, made here from independent networks."""

import pytest
import torch
from reference_harmony_transformer import ReferenceHT, ReferenceHTPlus, harmonized, randomize
from torch import Tensor, nn

import opmask
from opmask import LAB_UNIT
from opmask.backbones import HarmonyTransformer, HarmonyTransformerPlus
from opmask.checkpoints import load_harmony_transformer, load_sgmmh_harmony_transformer
from opmask.color import to_levels
from opmask.color.opencv_lab import lab8_to_rgb, rgb_to_lab8

REFERENCES = {"v1": ReferenceHT, "plus": ReferenceHTPlus}
IMAGE = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
REGION = torch.zeros(2, 1, 24, 40).index_fill_(3, torch.arange(10, 33), 1.0)
FIRST = "transformer_enc.encoder.layers.0"


def published(version: str, d: int = 16, layers: int = 2, heads: int = 2) -> nn.Module:
    return randomize(REFERENCES[version](d, layers, heads))


def with_masks() -> ReferenceHTPlus:
    """A network whose masks lie about the identity, some of them past their bounds."""
    network = randomize(ReferenceHTPlus(16, 2, masks=True))
    nn.init.normal_(network.dec1[0].weight, std=0.05)
    nn.init.normal_(network.dec2[0].weight, std=0.2)
    nn.init.constant_(network.dec2[0].bias, 0.9)
    return network


@pytest.mark.parametrize("version", REFERENCES)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_images_are_those_of_the_published_network(version, prefix, file):
    reference = published(version)
    tensors = {prefix + name: t for name, t in reference.state_dict().items()}
    network = load_harmony_transformer(file(tensors), version=version)
    wanted = reference(torch.cat([IMAGE, REGION], 1))
    assert not network.training
    assert wanted.std() > 0.1
    torch.testing.assert_close(network(IMAGE, REGION), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("version", "count"), [("v1", 6_446_275), ("plus", 4_772_867)])
def test_networks_have_the_published_number_of_parameters(version, count):
    with torch.device("meta"):
        ours = {"v1": HarmonyTransformer, "plus": HarmonyTransformerPlus}[version]()
        theirs = REFERENCES[version]()
    for network in (ours, theirs):
        assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("version", REFERENCES)
@pytest.mark.parametrize(("width", "layers"), [(8, 1), (32, 3)])
def test_width_and_layers_are_read_from_the_tensors(version, width, layers, file):
    path = file(published(version, width, layers).state_dict())
    arguments = load_harmony_transformer(path, version).arguments
    assert (arguments["width"], arguments["layers"], arguments["ffn"]) == (
        width,
        layers,
        2 * width,
    )


def test_narrower_convolutions_have_one_more(file, tmp_path):
    reference = randomize(ReferenceHT(16, 2, n=2))
    network = load_harmony_transformer(file(reference.state_dict()))
    assert (network.arguments["width"], network.arguments["stem"]) == (16, 2)
    wanted = reference(torch.cat([IMAGE, REGION], 1))
    torch.testing.assert_close(network(IMAGE, REGION), wanted, rtol=0, atol=1e-5)
    painter = opmask.DirectRGB(network, region=True, multiple_of=4, centered=False)
    opmask.save(painter, tmp_path / "model.safetensors")
    assert opmask.load(tmp_path / "model.safetensors").backbone.arguments["stem"] == 2


def test_another_number_of_heads_is_an_argument(file):
    reference = published("plus", heads=4)
    network = load_harmony_transformer(file(reference.state_dict()), "plus", heads=4)
    wanted = reference(torch.cat([IMAGE, REGION], 1))
    torch.testing.assert_close(network(IMAGE, REGION), wanted, rtol=0, atol=1e-5)


def test_files_have_the_published_tensors():
    with torch.device("meta"):
        first, second, masks = ReferenceHT(), ReferenceHTPlus(), ReferenceHTPlus(masks=True)
    sizes = [len(network.state_dict()) for network in (first, second, masks)]
    assert sizes == [124, 112, 114]
    shapes = {
        "enc.model.1.conv.weight": (128, 64, 4, 4),
        f"{FIRST}.self_attn.in_proj_weight": (768, 256),
        f"{FIRST}.linear1.weight": (512, 256),
        "dec.model.2.norm.gamma": (128,),
        "dec.model.5.conv.weight": (3, 64, 7, 7),
    }
    assert {name: tuple(first.state_dict()[name].shape) for name in shapes} == shapes


def without(name):
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("patch_to_embedding.1.weight"), "'patch_to_embedding.1.weight' is missing"),
        (without(f"{FIRST}.norm2.bias"), "norm2.bias' is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "'extra' is unexpected"),
        (lambda s: s.update({"dec.0.bias": torch.zeros(2)}), "must have shape"),
        (
            lambda s: s.update({"patch_to_embedding.1.weight": torch.zeros(16, 63)}),
            "multiple of 16 numbers, got 63",
        ),
        (
            lambda s: s.update({"patch_to_embedding.1.weight": torch.zeros(16)}),
            "must have 2 dimensions",
        ),
        (lambda s: s["dec.0.bias"].fill_(torch.nan), "not finite"),
    ],
)
def test_another_file_is_refused(change, message, file):
    tensors = published("plus").state_dict()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        load_harmony_transformer(file(tensors), "plus")


@pytest.mark.parametrize(
    ("version", "other", "tensor"),
    [("v1", "plus", "enc.model.0.conv.weight"), ("plus", "v1", "patch_to_embedding.1.weight")],
)
def test_a_file_of_the_other_version_says_what_to_pass(version, other, tensor, file):
    message = f"'{tensor}' is unexpected .* version='{version}'"
    with pytest.raises(ValueError, match=message):
        load_harmony_transformer(file(published(version).state_dict()), other)


def test_a_version_that_there_is_not_is_refused(file):
    with pytest.raises(ValueError, match="'version' must be one of v1, plus, got 'v2'"):
        load_harmony_transformer(file({}), "v2")


def test_heads_that_do_not_divide_the_width_are_refused(file):
    with pytest.raises(ValueError, match="'width' must be a multiple of 4 and of the 3 heads"):
        load_harmony_transformer(file(published("plus").state_dict()), "plus", heads=3)


def test_a_network_with_masks_is_trained_saved_and_loaded(file, tmp_path):
    network = load_harmony_transformer(file(published("plus").state_dict()), "plus")
    model = opmask.OperatorMaskWrapper(network, region=True)
    image, region = torch.rand(1, 3, 50, 41), torch.ones(1, 1, 50, 41)
    torch.testing.assert_close(model(image, region).image, image, rtol=0, atol=1e-4)
    opmask.save(model.eval(), tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(image, region).image, model(image, region).image)


# --- the paper's, with masks ---


def masks_of(network: ReferenceHTPlus, x: Tensor) -> Tensor:
    return network(torch.cat([x, REGION], 1))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_masks_are_those_of_the_papers_network(prefix, file):
    network = with_masks()
    tensors = {prefix + name: t for name, t in network.state_dict().items()}
    model = load_sgmmh_harmony_transformer(file(tensors))
    wanted = masks_of(network, LAB_UNIT.from_rgb(IMAGE))
    found = torch.cat([*model(IMAGE, REGION).masks.values()], 1)
    assert not model.training
    assert all(wanted.std((0, 2, 3)) > 0.05)
    assert (wanted == 0).any()
    torch.testing.assert_close(found, wanted[:, [3, 4, 5, 0, 1, 2]], rtol=0, atol=1e-5)


def test_images_are_those_of_the_papers_network(file):
    network, x = with_masks(), LAB_UNIT.from_rgb(IMAGE)
    image = load_sgmmh_harmony_transformer(file(network.state_dict()))(IMAGE, REGION).image
    clamped = harmonized(x, masks_of(network, x))
    assert (clamped == 0).any()
    wanted = LAB_UNIT.to_rgb(clamped).clamp(0, 1)
    torch.testing.assert_close(image, wanted, rtol=0, atol=1e-4)


def test_images_are_those_of_the_published_8_bits_but_for_their_rounding(file):
    network, levels = with_masks(), to_levels(IMAGE)
    x = rgb_to_lab8(levels) / 255
    codes = to_levels(harmonized(x, masks_of(network, x)))
    model = load_sgmmh_harmony_transformer(file(network.state_dict()))
    found = to_levels(model(levels / 255, REGION).image)
    difference = (found.int() - lab8_to_rgb(codes).int()).abs().float()
    assert difference.mean() < 0.5
    assert difference.quantile(0.99) < 6


def test_the_papers_masks_have_its_ranges(file):
    model = load_sgmmh_harmony_transformer(file(with_masks().state_dict()))
    assert model.retoucher.ranges == opmask.paper_lab_retoucher().ranges
    assert (model.region, model.multiple_of, model.backbone.arguments["tanh"]) == (True, 4, False)


def test_the_papers_network_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = HarmonyTransformerPlus(4, 6, tanh=False)
    assert sum(p.numel() for p in network.parameters()) == 4_785_158


def test_a_converted_model_is_trained_saved_and_loaded(file, tmp_path):
    model = load_sgmmh_harmony_transformer(file(with_masks().state_dict()))
    model(IMAGE, REGION).image.mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    opmask.save(model, tmp_path / "model.safetensors")
    again = opmask.load(tmp_path / "model.safetensors")
    assert torch.equal(again(IMAGE, REGION).image, model(IMAGE, REGION).image)
    assert repr(again) == repr(model)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("dec1.0.weight", torch.zeros(16, 2, 4, 4), r"'dec1.0.weight' must hold .* \(16, 3, 4, 4"),
        ("dec2.0.bias", torch.zeros(3, dtype=torch.long), "'dec2.0.bias' must hold floating"),
        ("dec2.0.bias", torch.full((3,), torch.nan), "not finite"),
        ("patch_to_embedding.1.weight", torch.zeros(16, 80), "must hold a network with 4 inputs"),
    ],
)
def test_another_file_with_masks_is_refused(name, tensor, message, file):
    with pytest.raises(ValueError, match=message):
        load_sgmmh_harmony_transformer(file(with_masks().state_dict() | {name: tensor}))


def test_files_with_and_without_masks_say_what_reads_them(file):
    with pytest.raises(ValueError, match="use load_sgmmh_harmony_transformer"):
        load_harmony_transformer(file(with_masks().state_dict()), "plus")
    with pytest.raises(ValueError, match=r"'dec\.0\.weight' is unexpected .* version='plus'"):
        load_sgmmh_harmony_transformer(file(published("plus").state_dict()))
