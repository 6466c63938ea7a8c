import errno
import json
import os
import resource

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from zoo import NeedsTime, Plain, Tokens, call_with_time

import opmask
from opmask import (
    HLS,
    LAB,
    LAB_CENTERED,
    RGB,
    Add,
    DirectRGB,
    Gated,
    MaskRange,
    Mul,
    Operator,
    OperatorMaskWrapper,
    OutputHead,
    Retoucher,
)  # fmt: skip
from opmask.backbones import DoveNet, SmallUNet
from opmask.checkpoints.description import own_networks
from opmask.checkpoints.metadata import convert_arguments


def randomized(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def small(**options) -> OperatorMaskWrapper:
    return randomized(OperatorMaskWrapper(SmallUNet(width=8), **options))


MODELS = {
    "default": small,
    "region": lambda: randomized(OperatorMaskWrapper(SmallUNet(4, width=8), region=True)),
    "preprocess": lambda: small(preprocess=LAB_CENTERED.from_rgb),
    "size": lambda: small(size=48),
    "two sizes": lambda: small(size=(32, 64)),
    "gated": lambda: small(
        retoucher=Retoucher(
            Gated(Mul(LAB, "l"), Add(LAB, "b", "a", prefix="x_"), prefix="y_"), Mul(HLS, "s")
        )
    ),
    "ranges": lambda: small(
        retoucher=Retoucher(Add(RGB, "g", range=MaskRange(0.0), prefix="lr_"))
    ),
    "output head": lambda: randomized(
        OperatorMaskWrapper(SmallUNet(3, 6, width=8), head=OutputHead())
    ),
    "direct": lambda: randomized(DirectRGB(SmallUNet(width=8), multiple_of=32)),
    "direct with region": lambda: randomized(
        DirectRGB(SmallUNet(4, width=8), region=True, multiple_of=32)
    ),
    "direct, not centred": lambda: randomized(
        DirectRGB(SmallUNet(width=8), multiple_of=32, centered=False)
    ),
    "direct and pasted": lambda: randomized(
        DirectRGB(
            DoveNet(width=4, depth=5), region=True, multiple_of=32, centered=False, paste="always"
        )
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_gives_the_same_image_and_masks(name, tmp_path):
    model, image = MODELS[name](), torch.rand(2, 3, 40, 70)
    opmask.save(model, tmp_path / "model.safetensors")
    loaded = opmask.load(tmp_path / "model.safetensors")
    torch.testing.assert_close(loaded(image), model(image), rtol=0, atol=0)
    assert repr(loaded) == repr(model)
    assert [p.requires_grad for p in loaded.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]


def test_a_loaded_model_is_in_evaluation_mode_and_can_be_trained(tmp_path):
    opmask.save(small(), tmp_path / "model.safetensors")
    with torch.inference_mode():
        loaded = opmask.load(tmp_path / "model.safetensors")
    assert not any(module.training for module in loaded.modules())
    loaded.train()(torch.rand(2, 3, 32, 32)).image.sum().backward()
    assert all(p.grad is not None for p in loaded.parameters() if p.requires_grad)


def test_a_network_of_ones_own_is_handed_in(tmp_path):
    model, image = randomized(OperatorMaskWrapper(Plain())), torch.rand(1, 3, 32, 32)
    opmask.save(model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"network 'Plain' is none of .*Pass backbone="):
        opmask.load(tmp_path / "model.safetensors")
    loaded = opmask.load(tmp_path / "model.safetensors", backbone=Plain())
    torch.testing.assert_close(loaded(image).image, model(image).image)


def test_a_network_of_one_size_is_loaded(tmp_path):
    model = randomized(OperatorMaskWrapper(Tokens(fixed=64), example=torch.rand(2, 3, 64, 64)))
    opmask.save(model, tmp_path / "m.safetensors")
    loaded, image = (
        opmask.load(tmp_path / "m.safetensors", backbone=Tokens(fixed=64)),
        torch.rand(1, 3, 50, 60),
    )
    torch.testing.assert_close(loaded(image).image, model(image).image)


def test_another_network_than_the_one_saved_raises(tmp_path):
    opmask.save(OperatorMaskWrapper(Plain()), tmp_path / "m.safetensors")
    with pytest.raises(
        ValueError, match="'backbone' must be the network of the checkpoint, but Tokens has no"
    ):
        opmask.load(tmp_path / "m.safetensors", backbone=Tokens())


def test_a_network_of_another_width_raises(tmp_path):
    opmask.save(small(), tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"cannot wrap|does not fit the model"):
        opmask.load(tmp_path / "m.safetensors", backbone=SmallUNet(width=16))


def test_call_and_preprocess_are_asked_for_again(tmp_path):
    model = OperatorMaskWrapper(NeedsTime(), call=call_with_time, preprocess=nn.Identity())
    opmask.save(model, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="Pass call= it again"):
        opmask.load(tmp_path / "m.safetensors", backbone=NeedsTime(), preprocess=nn.Identity())
    with pytest.raises(ValueError, match="Pass preprocess= it again"):
        opmask.load(tmp_path / "m.safetensors", backbone=NeedsTime(), call=call_with_time)
    again = {"call": call_with_time, "preprocess": nn.Identity()}
    opmask.load(tmp_path / "m.safetensors", backbone=NeedsTime(), **again)


class Exposure(Operator):
    space, ranges = opmask.LINEAR_RGB, {"exposure": MaskRange(0.0, low=-2.0, high=2.0)}

    def forward(self, image, mask):
        return image * 2**mask


def test_operators_of_ones_own_are_handed_in(tmp_path):
    model, image = small(retoucher=Retoucher(Exposure())), torch.rand(1, 3, 32, 32)
    opmask.save(model, tmp_path / "m.safetensors")
    with pytest.raises(
        ValueError,
        match=r"operator .*Exposure in linear_rgb is none of opmask's\. Pass retoucher=",
    ):
        opmask.load(tmp_path / "m.safetensors")
    loaded = opmask.load(tmp_path / "m.safetensors", retoucher=Retoucher(Exposure()))
    torch.testing.assert_close(loaded(image).image, model(image).image)


def test_a_retoucher_with_other_masks_raises(tmp_path):
    opmask.save(small(), tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="'retoucher' must have the masks of the file"):
        opmask.load(tmp_path / "m.safetensors", retoucher=opmask.hls_retoucher())


def rewrite(path, change) -> None:
    """Writes a checkpoint again after `change(tensors, metadata)`."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def test_a_missing_tensor_raises(tmp_path):
    path = tmp_path / "m.safetensors"
    opmask.save(small(), path)
    rewrite(path, lambda tensors, _: tensors.pop("head.layer.bias"))
    with pytest.raises(ValueError, match=r"1 tensors missing \['head\.layer\.bias'\]"):
        opmask.load(path)


def test_a_name_of_any_length_makes_a_short_message(tmp_path):
    path = tmp_path / "m.safetensors"
    opmask.save(small(), path)
    rewrite(path, lambda tensors, _: tensors.update({5000 * "a": torch.zeros(1)}))
    with pytest.raises(ValueError, match=r"m\.safetensors': .* 1 unknown \['aaa") as caught:
        opmask.load(path)
    assert len(str(caught.value)) < 1000


def test_a_tensor_that_is_not_finite_raises(tmp_path):
    path = tmp_path / "m.safetensors"
    opmask.save(small(), path)
    rewrite(path, lambda tensors, _: tensors["head.layer.bias"].fill_(torch.nan))
    with pytest.raises(
        ValueError, match=r"is damaged: 1 tensors hold values .* 'head\.layer\.bias'"
    ):
        opmask.load(path)


def test_a_model_that_is_not_finite_is_not_saved(tmp_path):
    model = small()
    with torch.no_grad():
        model.head.layer.bias[0] = torch.inf
    with pytest.raises(ValueError, match="cannot save the model: 1 tensors"):
        opmask.save(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_model_that_pastes_still_does_once_loaded(tmp_path):
    net = DoveNet(width=4, depth=5)
    model = DirectRGB(net, region=True, multiple_of=32, centered=False, paste="always").eval()
    opmask.save(model, tmp_path / "model.safetensors")
    loaded = opmask.load(tmp_path / "model.safetensors")
    image, region = torch.rand(1, 3, 40, 70), torch.rand(1, 1, 40, 70)
    assert torch.equal(loaded(image, region).image, model(image, region).image)
    assert not torch.equal(loaded(image, region).image, loaded(image).image)


def test_older_files_of_painted_images_neither_paste_nor_say_so(tmp_path):
    opmask.save(DirectRGB(SmallUNet(width=8)), tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        about = json.loads(file.metadata()["opmask"])
    assert about.keys() == {"kind", "backbone", "region", "multiple_of", "format"}
    loaded = opmask.load(tmp_path / "model.safetensors")
    assert (loaded.centered, loaded.paste) == (True, "never")


def test_a_newer_format_raises(tmp_path):
    path = tmp_path / "m.safetensors"
    opmask.save(small(), path)

    def newer(_, metadata):
        metadata["opmask"] = json.dumps({**json.loads(metadata["opmask"]), "format": 99})

    rewrite(path, newer)
    with pytest.raises(
        ValueError, match=r"has format 99, this opmask reads up to 1\. Update opmask"
    ):
        opmask.load(path)


def test_a_file_of_something_else_raises(tmp_path):
    (tmp_path / "text.safetensors").write_text("no tensors here")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no whole safetensors file"):
        opmask.load(tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match=r"was not written by opmask\.save"):
        opmask.load(tmp_path / "other.safetensors")
    with pytest.raises(
        FileNotFoundError, match=r"'path' must be a checkpoint file, got .*there is no such file"
    ):
        opmask.load(tmp_path / "none.safetensors")


def test_a_truncated_file_raises(tmp_path):
    path = tmp_path / "m.safetensors"
    opmask.save(small(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is no whole safetensors file"):
        opmask.load(path)


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    opmask.save(small(), path)
    before = path.read_bytes()

    def full(tensors, file, metadata):
        file.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("opmask.checkpoints.native.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        opmask.save(small(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_something_else_is_not_saved(tmp_path):
    with pytest.raises(
        TypeError, match="must be an OperatorMaskWrapper or a DirectRGB, got Plain"
    ):
        opmask.save(Plain(), tmp_path / "m.safetensors")


def test_half_precision_halves_the_file_and_keeps_the_image(tmp_path):
    model, image = small(), torch.rand(1, 3, 64, 64)
    opmask.save(model, tmp_path / "whole.safetensors")
    opmask.save(model, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    loaded = opmask.load(tmp_path / "half.safetensors")
    assert sizes[1] < 0.6 * sizes[0]
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded(image).image, model(image).image, rtol=0, atol=2e-3)


def test_in_half_precision_norms_keep_theirs(tmp_path):
    model = small()
    model.backbone.stem[1][1].running_var.fill_(1e6)  # beyond half precision
    opmask.save(model, tmp_path / "half.safetensors", half=True)
    assert opmask.load(tmp_path / "half.safetensors").backbone.stem[1][1].running_var[0] == 1e6


def test_a_weight_too_large_for_half_precision_is_refused(tmp_path):
    model = small()
    with torch.no_grad():
        model.backbone.stem[1][0].weight[0, 0] = 1e6
    with pytest.raises(ValueError, match="cannot save the model"):
        opmask.save(model, tmp_path / "half.safetensors", half=True)


@pytest.mark.parametrize(
    "younger",
    [{}, {"refines": True}, {"limit": 1.5}, {"told": 0.8, "rough": 0.5}, {"rough_error": 12.5}],
)
def test_the_calibration_comes_back(tmp_path, younger):
    model = small()
    model.calibration = opmask.Calibration(0.25, (0.3, 0.7), (0.0, 0.9), **younger)
    opmask.save(model, tmp_path / "model.safetensors")
    assert opmask.load(tmp_path / "model.safetensors").calibration == model.calibration
    opmask.save(small(), tmp_path / "model.safetensors")
    assert opmask.load(tmp_path / "model.safetensors").calibration is None


class Table(Plain):
    """Plain, with buffers as swin transformers and codebooks have them."""

    def __init__(self):
        super().__init__()
        self.register_buffer("index", torch.arange(5000, 5006).view(2, 3))
        self.register_buffer("grid", torch.tensor([[1 / 3, 1e300]], dtype=torch.float64))
        self.register_buffer("codes", torch.full((2, 2), 1 / 3))


def test_in_half_precision_integers_and_doubles_keep_every_bit(tmp_path):
    model, path = OperatorMaskWrapper(Table()), tmp_path / "half.safetensors"
    opmask.save(model, path, half=True)
    loaded = opmask.load(path, backbone=Table()).backbone
    assert torch.equal(loaded.index, model.backbone.index)
    assert torch.equal(loaded.grid, model.backbone.grid)
    assert torch.equal(loaded.codes, model.backbone.codes.half().float())


def test_a_calibration_of_numpy_numbers_is_saved(tmp_path):
    model = small()
    model.calibration = opmask.Calibration(0.5, (np.float32(0.25),), (np.float64(0.75),))
    opmask.save(model, tmp_path / "model.safetensors")
    calibration = opmask.load(tmp_path / "model.safetensors").calibration
    assert calibration == opmask.Calibration(0.5, (0.25,), (0.75,))


def test_what_could_not_be_read_is_not_written(tmp_path):
    model = small(size=10**6)
    with pytest.raises(ValueError, match=r"cannot save the model: .*<= 8192, in the field 'size'"):
        opmask.save(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


# --- hostile metadata ---


def edited(*keys, value):
    """A change of one field of the metadata."""

    def change(_, metadata):
        about = json.loads(metadata["opmask"])
        place = about
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        metadata["opmask"] = json.dumps(about)

    return change


def replaced(text):
    return lambda _, metadata: metadata.update(opmask=text)


def without(field):
    def change(_, metadata):
        about = json.loads(metadata["opmask"])
        del about[field]
        metadata["opmask"] = json.dumps(about)

    return change


def enlarging(tensors, metadata):
    """A head that would enlarge its features by 64."""
    geometry = {"inputs": 12, "transposed": True, "stride": [64, 64]}
    edited("head", "geometry", value=geometry)(tensors, metadata)
    tensors["head.layer.weight"] = torch.zeros(12, 6, 1, 1)


DEEP = {"type": "Gated", "space": "lab", "ranges": {"gate": ["0.5", "0.0", "1.0"]}}
for _ in range(200):
    DEEP = DEEP | {"operators": [DEEP]}
ARGUMENTS = ("backbone", "arguments")


def operator(kind, arguments):
    """Another first operator, with the masks that were there."""
    masks = {f"{c}_mul": ["1.0", "0.0", "2.0"] for c in "lab"}
    about = {"type": kind, "space": "lab", "ranges": masks, "arguments": arguments}
    return edited("operators", 0, value=about)


HOSTILE = {
    "an object": (replaced("{}"), "missing required field `format`"),
    "a list": (replaced("[]"), "expected `object`, got `array`"),
    "a text": (replaced('"x"'), "expected `object`, got `str`"),
    "no JSON": (replaced("{"), "the metadata: Input data was truncated"),
    "brackets": (replaced("[" * 50_000), "the metadata"),
    "brackets in a field": (
        replaced('{"format": 1, "x": ' + "[" * 50_000 + "]" * 50_000 + "}"),
        "nested too deeply",
    ),
    "long": (replaced('{"format": 1}' + " " * 5_000_000), "in at most 4194304 characters"),
    **{
        f"no {field}": (without(field), f"missing required field `{field}`")
        for field in ("format", "kind", "backbone", "region", "multiple_of", "operators", "head")
    },
    "kind": (edited("kind", value="Robot"), "invalid value 'Robot', in the field 'kind'"),
    "format 0": (edited("format", value=0), "'format'"),
    "format -1": (edited("format", value=-1), "'format'"),
    "format 10**400": (edited("format", value=10**400), "'format'"),
    "format true": (edited("format", value=True), "got `bool`, in the field 'format'"),
    "region": (edited("region", value="yes"), "got `str`, in the field 'region'"),
    "multiple 0": (edited("multiple_of", value=0), ">= 1, in the field 'multiple_of'"),
    "multiple 3": (edited("multiple_of", value=3), r"describes does not run \(.*\)\.$"),
    "multiple 10**6": (edited("multiple_of", value=10**6), "'multiple_of'"),
    "fixed": (edited("fixed", value=[10**6, 10**6]), r"'fixed\[0\]'"),
    "fixed of one": (edited("fixed", value=[64]), "'fixed'"),
    "size": (edited("size", value=[10**6, 10**6]), r"'size\[...\]'|'size\[0\]'"),
    "size 0": (edited("size", value=0), "'size'"),
    "unused": (edited("unused", value=[3]), r"'unused\[0\]'"),
    "unused name": (edited("unused", value=["nobody"]), "nobody"),
    "width of 2000": (edited(*ARGUMENTS, "width", value=2000), "does not fit the model"),
    "width of 10**6": (edited(*ARGUMENTS, "width", value=10**6), "SmallUNet: .* 'width'"),
    "width of 0": (edited(*ARGUMENTS, "width", value=0), "SmallUNet: .* 'width'"),
    "width of a text": (edited(*ARGUMENTS, "width", value="8"), "SmallUNet: .* 'width'"),
    "channels": (edited(*ARGUMENTS, "in_channels", value=10**9), "SmallUNet: .* 'in_channels'"),
    "argument": (edited(*ARGUMENTS, "exec", value=1), "SmallUNet: .*`exec`"),
    "arguments": (edited(*ARGUMENTS, value=[]), "'backbone.arguments'"),
    "network": (edited("backbone", "name", value="__doc__"), "network '__doc__' is none of"),
    "deep network": (
        edited("backbone", value={"name": "AttentionUNet", "arguments": {"depth": 10**6}}),
        "AttentionUNet: .* 'depth'",
    ),
    "deep extractor": (
        edited("backbone", value={"name": "BargainNet", "arguments": {"code_depth": 10**6}}),
        "BargainNet: .* 'code_depth'",
    ),
    "layers of a transformer": (
        edited("backbone", value={"name": "DHT", "arguments": {"layers": 10**6}}),
        "DHT: .* 'layers'",
    ),
    "an optional number": (
        edited("backbone", value={"name": "HarmonyTransformer", "arguments": {"ffn": -1}}),
        "HarmonyTransformer: .* 'ffn'",
    ),
    "layer": (edited("head", "name", value="nothing"), "has no layer 'nothing'"),
    "inputs": (edited("head", "geometry", "inputs", value=65536), "does not fit the model"),
    "kernel": (edited("head", "geometry", "kernel_size", value=[10**6] * 2), "kernel_size"),
    "stride": (edited("head", "geometry", "stride", value=[0, 0]), "stride"),
    "a map of 6 GB": (enlarging, "layer 'out' gives 16321x16321 for an image of 256x256"),
    "a map of 3 MB that lies elsewhere": (
        edited("head", "geometry", "excess", value=2),
        "layer 'out' gives 256x256 for an image of 256x256",
    ),
    "shuffle": (edited("head", "geometry", "shuffle", value=10**6), "shuffle"),
    "scale": (edited("head", "geometry", "scale", value=[64, 1]), "'scale' times 'shuffle'"),
    "scale of 0": (edited("head", "geometry", "scale", value=[1, 0]), "scale"),
    "padding mode": (edited("head", "geometry", "padding_mode", value="x"), "padding_mode"),
    "no operators": (edited("operators", value=[]), "'operators'"),
    "operator": (edited("operators", 0, "type", value="Exec"), "operator Exec in lab is none"),
    "no ranges": (edited("operators", 0, "ranges", value={}), "'operators\\[0\\].ranges'"),
    "mask": (
        edited("operators", 0, "ranges", value={"x": ["1", "0", "2"]}),
        r"operator Mul of the file must have the masks \['l_mul'",
    ),
    "channel": (operator("Mul", {"channels": ["h"]}), "'channels' must be drawn from lab's"),
    "too many channels": (operator("Mul", {"channels": ["l"] * 65}), "Mul: .*'channels'"),
    "channel 7": (operator("Mul", {"channels": [7]}), r"Mul: .*got `int`.*'channels\["),
    "no operator": (operator("MaskRange", {}), "operator MaskRange in lab is none of opmask's"),
    "base class": (operator("Operator", {}), "operator Operator in lab is none of opmask's"),
    "other masks": (operator("ToneCurve", {}), r"'ranges' must be drawn from \['curve_1'"),
    "many knots": (
        operator("ToneCurve", {"knots": 10**9}),
        "ToneCurve: .*<= 64, in the field 'knots'",
    ),
    "half a knot": (operator("ToneCurve", {"knots": 4.5}), "ToneCurve: .*'knots'"),
    "pivot": (operator("Contrast", {"pivot": "grey"}), "Contrast: .*'pivot'"),
    "pivot of 1e999": (operator("Contrast", {"pivot": 1e300}), "'pivot' must be"),
    "unknown argument": (operator("Contrast", {"exec": 1}), "Contrast: .*`exec`"),
    "ranges as argument": (operator("Contrast", {"ranges": {}}), "Contrast: .*`ranges`"),
    "prefix": (edited("operators", 0, "prefix", value="x"), "operator Mul of the file must have"),
    "long prefix": (edited("operators", 0, "prefix", value="x" * 1001), "'operators.*prefix'"),
    "deep operators": (edited("operators", value=[DEEP]), "at most 8 deep"),
    "no gated": (edited("operators", value=[{**DEEP, "operators": []}]), "at least one operator"),
    **{
        f"range {low}": (
            edited("operators", 0, "ranges", "l_mul", value=["1.0", low, "2.0"]),
            "range of mask 'l_mul' must be three numbers",
        )
        for low in ("nan", "x", "3.0", "1.0", "-1e308", "")
    },
    "once": (edited("head", "geometry", "once", value=1), "'head.geometry.once'"),
    "least 0": (edited("least", value=0), ">= 1, in the field 'least'"),
    "least 10**6": (edited("least", value=10**6), "'least'"),
    "least 40": (edited("least", value=40), r"does not run \('least' must be .* got 40 and 32"),
    "least null": (edited("least", value=None), "'least'"),
    "calibration": (
        edited("calibration", value={"threshold": 2, "confidence": [0.1], "strength": [1]}),
        "calibration.threshold",
    ),
    "knots": (
        edited("calibration", value={"threshold": 0, "confidence": [0.1], "strength": [1, 1]}),
        "'strength' must hold one value",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_is_refused_by_file_and_field_in_little_memory(name, tmp_path):
    change, message = HOSTILE[name]
    path = tmp_path / "m.safetensors"
    opmask.save(small(), path)
    rewrite(path, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=rf"cannot load '.*m\.safetensors': .*{message}"):
        opmask.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_of_another_kind_are_refused(dtype, tmp_path):
    path = tmp_path / "m.safetensors"
    opmask.save(small(), path)
    zeros = torch.zeros(6).to(dtype)
    rewrite(path, lambda tensors, _: tensors.update({"head.layer.bias": zeros}))
    with pytest.raises(ValueError, match=r"m\.saf.*'head\.layer\.bias' must be of torch\.float32"):
        opmask.load(path)


def test_a_header_without_end_and_a_pipe_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes((10**8).to_bytes(8, "little") + b"{")
    with pytest.raises(ValueError, match="no whole safetensors file: the header would be 100000"):
        opmask.load(path)
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(FileNotFoundError, match="must be a checkpoint file"):
        opmask.load(tmp_path / "pipe.safetensors")


def test_every_network_of_opmask_says_what_it_can_be_built_with():
    for kind in own_networks().values():
        with torch.device("meta"):
            arguments = kind().arguments
        assert convert_arguments(kind, arguments) == arguments


# --- nothing is tried out again ---


@pytest.fixture
def no_runs(monkeypatch):
    """Networks of opmask and of the zoo fail if they are run."""

    def fail(network, *args):
        raise AssertionError(f"{type(network).__name__} was run")

    def forbid():
        for kind in (*vars(opmask.backbones).values(), Plain, Tokens, NeedsTime):
            if isinstance(kind, type) and issubclass(kind, nn.Module):
                monkeypatch.setattr(kind, "forward", fail)

    return forbid


@pytest.mark.parametrize("name", MODELS)
def test_loading_runs_no_network(name, tmp_path, no_runs):
    model, path = MODELS[name](), tmp_path / "model.safetensors"
    opmask.save(model, path)
    no_runs()
    loaded = opmask.load(path)
    if isinstance(model, OperatorMaskWrapper):
        assert loaded.size_rule == model.size_rule


def test_loading_the_model_in_the_box_runs_no_network(no_runs):
    no_runs()
    assert opmask.load().size_rule == (16, 16, None)


def test_loading_runs_no_network_that_is_handed_in(tmp_path, no_runs):
    fixed, example = Tokens(fixed=64), torch.rand(2, 3, 64, 64)
    timed = OperatorMaskWrapper(NeedsTime(), call=call_with_time)
    opmask.save(OperatorMaskWrapper(fixed, example=example), tmp_path / "fixed.safetensors")
    opmask.save(timed, tmp_path / "timed.safetensors")
    no_runs()
    loaded = opmask.load(tmp_path / "fixed.safetensors", backbone=fixed)
    assert (loaded.size_rule.fixed, loaded.size) == ((64, 64), (64, 64))
    opmask.load(tmp_path / "timed.safetensors", backbone=NeedsTime(), call=call_with_time)


def of_before(_, metadata):
    """As files were before they held all that is known of sizes."""
    about = json.loads(metadata["opmask"])
    del about["least"]
    if about["head"]:
        del about["head"]["geometry"]["once"]
    metadata["opmask"] = json.dumps(about)


@pytest.mark.parametrize("name", [name for name in MODELS if "direct" not in name])
def test_a_file_of_before_gives_the_same_model_and_what_it_lacks_is_found_out(name, tmp_path):
    model, path, image = MODELS[name](), tmp_path / "m.safetensors", torch.rand(1, 3, 40, 70)
    opmask.save(model, path)
    rewrite(path, of_before)
    loaded = opmask.load(path)
    torch.testing.assert_close(loaded(image), model(image), rtol=0, atol=0)
    assert loaded.size_rule == model.size_rule
    if name != "output head":
        assert loaded.head.geometry == model.head.geometry
        assert loaded.head.geometry.once


def test_a_file_of_before_for_a_network_of_one_size_is_loaded(tmp_path):
    path, net = tmp_path / "m.safetensors", Tokens(fixed=64)
    model = OperatorMaskWrapper(net, example=torch.rand(2, 3, 64, 64))
    opmask.save(model, path)
    rewrite(path, of_before)
    assert opmask.load(path, backbone=Tokens(fixed=64)).size_rule == model.size_rule


def test_a_layer_that_runs_twice_is_not_stopped_after_loading_either(tmp_path):
    class Twice(Plain):
        def forward(self, x):
            return super().forward(super().forward(x))

    path, image = tmp_path / "m.safetensors", torch.rand(1, 3, 32, 32)
    model = randomized(OperatorMaskWrapper(Twice()))
    opmask.save(model, path)
    for change in (lambda *_: None, of_before):
        rewrite(path, change)
        loaded = opmask.load(path, backbone=Twice())
        assert not loaded.head.geometry.once
        with torch.no_grad():
            torch.testing.assert_close(loaded.predict(image), model.predict(image))


def test_outputs_that_are_no_masks_are_refused_without_a_run(tmp_path, no_runs):
    path = tmp_path / "m.safetensors"
    opmask.save(MODELS["output head"](), path)
    rewrite(path, edited("operators", value=[ONE]))
    no_runs()
    with pytest.raises(ValueError, match="describes puts out 6 maps for 1 masks"):
        opmask.load(path)


ONE = {"type": "Add", "space": "rgb", "ranges": {"r_add": ["0.0", "-1.0", "1.0"]}}


def test_a_network_of_ones_own_that_does_not_fit_is_refused_when_it_is_used(tmp_path):
    class Larger(Plain):
        def forward(self, x):
            return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))

    path = tmp_path / "m.safetensors"
    opmask.save(OperatorMaskWrapper(Plain()), path)
    model = opmask.load(path, backbone=Larger())
    with pytest.raises(ValueError, match="layer 'out' gives 34x34 for an image of 32x32"):
        model(torch.rand(1, 3, 32, 32))
