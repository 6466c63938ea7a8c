import errno
import json

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
from opmask.backbones import SmallUNet


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
    with pytest.raises(ValueError, match="'retoucher' must have the checkpoint's masks"):
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
        FileNotFoundError, match="'path' must be a checkpoint file, but there is no"
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


def test_the_calibration_comes_back(tmp_path):
    model = small()
    model.calibration = opmask.Calibration(0.25, (0.3, 0.7), (0.0, 0.9))
    opmask.save(model, tmp_path / "model.safetensors")
    assert opmask.load(tmp_path / "model.safetensors").calibration == model.calibration
    opmask.save(small(), tmp_path / "model.safetensors")
    assert opmask.load(tmp_path / "model.safetensors").calibration is None
