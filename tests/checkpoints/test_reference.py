"""Files in the exact layout of the published code, made here from an independent network."""

import math
import os
import pickle

import pytest
import torch
from reference_dovenet import ReferenceDoveNet
from reference_rainnet import ReferenceRainNet
from reference_unet import ReferenceUNet, named_masks
from safetensors.torch import save_file
from torch import Tensor, nn

import opmask
from opmask import LAB_CENTERED, DirectRGB, MaskRange, OperatorMaskWrapper
from opmask.backbones import SmallUNet
from opmask.checkpoints import load_reference_checkpoint, load_reference_discriminator
from opmask.discriminator import PatchDiscriminator


def generator(outputs: int = 6, depth: int = 5, width: int = 8) -> ReferenceUNet:
    network = ReferenceUNet(outputs, width, depth).eval()
    nn.init.normal_(network.model.model[3].conv2d.weight, std=0.1)  # masks far from constant
    return network


def prefixed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": t for name, t in tensors.items()}


def changed(change, **options) -> dict[str, dict[str, Tensor]]:
    """The contents of a file after `change(state_dict)`."""
    tensors = generator(**options).state_dict()
    change(tensors)
    return {"params": tensors}


# --- the generator ---

LAYOUTS = {
    "params": lambda s: {"params": s},
    "with a moving average": lambda s: {"params": s, "params_ema": dict.fromkeys(s, 0)},
    "prefixed": lambda s: {"params": prefixed(s)},
    "bare": lambda s: s,
    "bare and prefixed": prefixed,
    "in float64": lambda s: {"params": {n: t.double() for n, t in s.items()}},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_are_those_of_the_published_network(layout, file):
    network, image = generator(), torch.rand(2, 3, 32, 64)
    model = load_reference_checkpoint(file(LAYOUTS[layout](network.state_dict()))).eval()
    published = named_masks(network(LAB_CENTERED.from_rgb(image)))
    torch.testing.assert_close(model(image).masks, published_order(published), rtol=0, atol=1e-4)


def published_order(masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: masks[n] for n in ("l_mul", "a_mul", "b_mul", "l_add", "a_add", "b_add")}


def test_masks_are_told_apart():
    masks = named_masks(generator()(torch.rand(1, 3, 64, 64)))
    assert all(m.std() > 0.05 for m in masks.values())
    assert (masks["l_mul"] == 0).any()


@pytest.mark.parametrize(("depth", "width"), [(5, 4), (6, 8), (8, 8)])
def test_width_and_depth_are_read_from_the_tensors(depth, width, file):
    network = generator(depth=depth, width=width)
    model = load_reference_checkpoint(file({"params": network.state_dict()})).eval()
    arguments = {"in_channels": 3, "out_channels": 6, "width": width, "depth": depth}
    assert (model.backbone.arguments, model.multiple_of) == (arguments, 2**depth)
    image = torch.rand(1, 3, 2**depth, 2**depth)
    masks = named_masks(network(LAB_CENTERED.from_rgb(image)))
    torch.testing.assert_close(model(image).masks["b_add"], masks["b_add"], rtol=0, atol=1e-4)


def test_a_file_has_38_tensors_of_the_published_names():
    with torch.device("meta"):
        tensors = ReferenceUNet().state_dict()
    inner = "model.model.1" + ".model.3" * 6
    shapes = {
        "model.model.0.weight": (64, 3, 4, 4),
        "model.model.1.attention.0.weight": (128, 128, 1, 1),
        "model.model.1.model.5.conv2d.weight": (64, 256, 3, 3),
        "model.model.1.model.3.model.3.attention.0.bias": (512,),
        f"{inner}.model.1.weight": (512, 512, 4, 4),
        f"{inner}.model.3.conv2d.weight": (512, 512, 3, 3),
        "model.model.3.conv2d.weight": (6, 128, 3, 3),
    }
    assert len(tensors) == 38
    assert {name: tuple(tensors[name].shape) for name in shapes} == shapes


def test_the_image_is_the_published_one_where_nothing_is_clamped(file):
    network, image = generator(), 0.3 + 0.4 * torch.rand(1, 3, 32, 32)
    network.model.model[3].conv2d.weight.data *= 0.02  # gentle masks, about the identity
    network.model.model[3].conv2d.bias.data = torch.tensor([0.05, 0.9, 0.02, 1.1, -0.03, 1.0])
    x = LAB_CENTERED.from_rgb(image)
    raw = network(x)
    published = LAB_CENTERED.to_rgb((x * raw[:, 1::2] + raw[:, 0::2]).clamp(-1, 1))
    model = load_reference_checkpoint(file({"params": network.state_dict()})).eval()
    torch.testing.assert_close(model(image).image, published, rtol=0, atol=1e-4)


def test_the_masks_have_the_published_ranges(file):
    model = load_reference_checkpoint(file({"params": generator().state_dict()}))
    factor, term = MaskRange(1.0, low=0.0, high=math.inf), MaskRange(0.0)
    names = ("l_mul", "a_mul", "b_mul", "l_add", "a_add", "b_add")
    assert list(model.retoucher.ranges.items()) == list(
        zip(names, 3 * [factor] + 3 * [term], strict=True)
    )
    assert {op.space for op in model.retoucher.operators} == {LAB_CENTERED}


def test_a_file_with_three_outputs_is_the_baseline(file):
    network, image = generator(outputs=3), torch.rand(1, 3, 32, 64)
    model = load_reference_checkpoint(file({"params": network.state_dict()})).eval()
    assert (type(model), model.multiple_of) == (DirectRGB, 32)
    painted = (network(2 * image - 1).clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(model(image).image, painted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("outputs", [3, 6])
def test_a_converted_model_is_saved_and_loaded(outputs, file, tmp_path):
    model = load_reference_checkpoint(file(generator(outputs).state_dict())).eval()
    opmask.save(model, tmp_path / "model.safetensors")
    loaded, image = opmask.load(tmp_path / "model.safetensors").eval(), torch.rand(1, 3, 40, 50)
    torch.testing.assert_close(loaded(image), model(image), rtol=0, atol=0)
    assert repr(loaded) == repr(model)


def test_a_converted_model_trains(file):
    model = load_reference_checkpoint(file(generator().state_dict()))
    model(torch.rand(1, 3, 64, 64)).image.mean().backward()
    assert model.training
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())


def test_the_size_of_the_published_training_can_be_kept(file):
    model = load_reference_checkpoint(file(generator().state_dict())).eval()
    model.size, image = (32, 32), torch.rand(1, 3, 64, 96)
    masks = model(image).masks
    small = nn.functional.interpolate(image, (32, 32), mode="bilinear", antialias=True)
    large = nn.functional.interpolate(model(small).masks["a_mul"], (64, 96), mode="bilinear")
    torch.testing.assert_close(masks["a_mul"], large)


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [3, 6])
def test_a_file_of_the_published_size_is_converted(outputs, file):
    network, image = generator(outputs, depth=8, width=64), torch.rand(1, 3, 256, 256)
    model = load_reference_checkpoint(file({"params": prefixed(network.state_dict())})).eval()
    assert (sum(p.numel() for p in model.parameters()), model.multiple_of) == (
        39_498_371 + 1153 * (outputs - 3),
        256,
    )
    if outputs == 6:
        masks = named_masks(network(LAB_CENTERED.from_rgb(image)))
        torch.testing.assert_close(model(image).masks, published_order(masks), rtol=0, atol=1e-4)


# --- which weights ---


def test_the_moving_average_is_loaded_on_request(file):
    raw, mean, image = generator(), generator(), torch.rand(1, 3, 32, 32)
    path = file({"params": raw.state_dict(), "params_ema": mean.state_dict()})
    for which, network in (("params", raw), ("params_ema", mean)):
        masks = load_reference_checkpoint(path, which).eval()(image).masks
        published = named_masks(network(LAB_CENTERED.from_rgb(image)))
        torch.testing.assert_close(masks["l_add"], published["l_add"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", ["params", "bare"])
def test_without_a_moving_average_the_weights_are_loaded_and_a_warning_says_so(layout, file):
    path = file(LAYOUTS[layout](generator().state_dict()))
    with pytest.warns(UserWarning, match="has no 'params_ema': 'params' are loaded") as caught:
        averaged = load_reference_checkpoint(path, "params_ema")
    assert caught[0].filename == __file__
    plain = load_reference_checkpoint(path)
    torch.testing.assert_close(averaged.state_dict(), plain.state_dict())


def test_a_file_with_nothing_but_a_moving_average_says_so(file):
    path = file({"params_ema": generator().state_dict()})
    with pytest.raises(ValueError, match=r"only 'params_ema'\. Pass which='params_ema'"):
        load_reference_checkpoint(path)
    assert load_reference_checkpoint(path, "params_ema").multiple_of == 32


def test_other_words_for_which_raise(file):
    with pytest.raises(ValueError, match="'which' must be 'params' or 'params_ema', got 'ema'"):
        load_reference_checkpoint(file(generator().state_dict()), which="ema")


# --- the discriminator ---


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_discriminator_is_loaded(layout, file):
    network, image = PatchDiscriminator(width=8), torch.rand(2, 3, 64, 64)
    loaded = load_reference_discriminator(file(LAYOUTS[layout](network.state_dict())))
    torch.testing.assert_close(loaded(image), network(image), rtol=0, atol=0)


@pytest.mark.parametrize(("inputs", "width", "depth"), [(3, 64, 3), (4, 2, 1), (1, 4, 5)])
def test_a_discriminators_width_and_depth_are_read(inputs, width, depth, file):
    network = PatchDiscriminator(inputs, width=width, depth=depth)
    loaded = load_reference_discriminator(file({"params": network.state_dict()}))
    torch.testing.assert_close(loaded.state_dict(), network.state_dict(), rtol=0, atol=0)


# --- bad files ---


def test_a_discriminator_is_no_generator_and_the_reverse(file):
    path = file({"params": PatchDiscriminator(width=8).state_dict()})
    with pytest.raises(
        ValueError,
        match=r"holds no generator .*: 'model\.0\.weight' is unexpected and "
        r"'model\.model\.0\.weight' is missing\. .* discriminator: use load_reference_discrim",
    ):
        load_reference_checkpoint(path)
    path = file({"params": generator(depth=8).state_dict()})
    with pytest.raises(
        ValueError,
        match=r"holds no discriminator .*: 'model\.model\.0\.weight' is unexpected and "
        r"'model\.0\.weight' is missing\. .* generator: use load_reference_checkpoint",
    ):
        load_reference_discriminator(path)


@pytest.mark.parametrize(
    ("kind", "loader"), [(ReferenceDoveNet, "load_dovenet"), (ReferenceRainNet, "load_rainnet")]
)
def test_a_file_of_another_published_network_says_what_reads_it(kind, loader, file):
    with pytest.raises(ValueError, match=rf"holds no generator .* use {loader}\."):
        load_reference_checkpoint(file(kind(4).state_dict()))


def test_a_missing_tensor_is_named(file):
    path = file(changed(lambda s: s.pop("model.model.1.attention.0.bias")))
    with pytest.raises(
        ValueError, match=r"code: 'model\.model\.1\.attention\.0\.bias' is missing\. Build"
    ):
        load_reference_checkpoint(path)


def test_an_unexpected_tensor_is_named(file):
    path = file(changed(lambda s: s.update(extra=torch.zeros(1))))
    with pytest.raises(ValueError, match=r"code: 'extra' is unexpected\. Build its network"):
        load_reference_checkpoint(path)


def test_a_file_of_a_network_with_batch_norms_says_so(file):
    norm = {f"model.model.1.model.2.{n}": t for n, t in nn.BatchNorm2d(16).state_dict().items()}
    path = file(changed(lambda s: s.update(norm)))
    with pytest.raises(
        ValueError, match=r"1\.model\.2\.weight' is unexpected\. It was trained with norm='batch'"
    ):
        load_reference_checkpoint(path)


def test_a_network_of_another_kind_is_refused(file):
    path = file(SmallUNet(width=8).state_dict())
    for load in (load_reference_checkpoint, load_reference_discriminator):
        with pytest.raises(
            ValueError, match=r"'stem\.1\.0\.weight' is unexpected .*takes any gen"
        ):
            load(path)


def test_widths_that_contradict_each_other_raise(file):
    name = "model.model.1.model.3.model.1.weight"
    path = file(changed(lambda s: s.update({name: torch.zeros(64, 16, 4, 4)})))
    with pytest.raises(
        ValueError,
        match=r"mixes .*'model\.model\.1\.model\.3\.model\.1\.weight' must have shape "
        r"\(32, 16, 4, 4\), got \(64, 16, 4, 4\)",
    ):
        load_reference_checkpoint(path)


def test_a_discriminator_of_several_widths_raises(file):
    network = PatchDiscriminator(width=8).state_dict()
    network["model.5.bias"] = torch.zeros(7)
    with pytest.raises(ValueError, match=r"'model\.5\.bias' must have shape \(32,\), got \(7,\)"):
        load_reference_discriminator(file(network))


@pytest.mark.parametrize("outputs", [1, 4, 5])
def test_a_network_with_other_outputs_raises(outputs, file):
    with pytest.raises(ValueError, match=f"6 outputs, for masks, or 3, .* and {outputs} outputs"):
        load_reference_checkpoint(file(generator(outputs).state_dict()))


def test_a_network_with_other_inputs_raises(file):
    path = file(changed(lambda s: s.update({"model.model.0.weight": torch.zeros(8, 4, 4, 4)})))
    with pytest.raises(ValueError, match=r"must hold a network with 3 inputs .*got 4 inputs"):
        load_reference_checkpoint(path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_raise(value, file):
    path = file(changed(lambda s: s["model.model.0.bias"].fill_(value)))
    with pytest.raises(ValueError, match=r"is damaged: 1 tensors .* 'model\.model\.0\.bias'"):
        load_reference_checkpoint(path)


def test_what_is_no_state_dict_raises(file):
    for content in ({"epoch": 3, "optimizers": []}, [1], {"params": 1}, {0: torch.zeros(1)}):
        with pytest.raises(ValueError, match=r"must hold a state dict, .*to resume training"):
            load_reference_checkpoint(file(content))


class Evil:
    def __init__(self, victim) -> None:
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("load", [load_reference_checkpoint, load_reference_discriminator])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_runs_code_is_refused(load, zipped, tmp_path):
    path, victim = tmp_path / "evil.pth", tmp_path / "victim"
    torch.save({"params": Evil(victim)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"would run code to rebuild '\w+\.mkdir', which .*alone"):
        load(path)
    assert not victim.exists()
    pickle.loads(pickle.dumps(Evil(victim)))
    assert victim.exists()  # it would have worked


def test_a_pickled_network_is_refused(file):
    with pytest.raises(ValueError, match=r"would run code to rebuild .*save the tensors alone"):
        load_reference_checkpoint(file(PatchDiscriminator(width=2)))


@pytest.mark.parametrize("kept", [0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_raises(kept, zipped, tmp_path):
    path = tmp_path / "half.pth"
    content = {"params": generator(width=2).state_dict()}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"damaged, or no file that torch\.save wrote\. Fetch it"):
        load_reference_checkpoint(path)


def test_a_text_file_raises(tmp_path):
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>404</html>")
    with pytest.raises(ValueError, match=r"damaged, or no file that torch\.save wrote"):
        load_reference_checkpoint(tmp_path / "page.pth")


def test_a_file_of_this_library_goes_to_its_own_loader(tmp_path):
    opmask.save(OperatorMaskWrapper(SmallUNet(width=8)), tmp_path / "model.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "renamed.pth")
    for name in ("model.safetensors", "renamed.pth"):
        with pytest.raises(ValueError, match=r"is a safetensors file\. Load it with opmask\.load"):
            load_reference_checkpoint(tmp_path / name)


def test_a_published_file_is_sent_from_the_other_loader(file):
    with pytest.raises(ValueError, match=r"read by opmask\.checkpoints\.load_reference_checkp"):
        opmask.load(file(generator().state_dict()))


@pytest.mark.parametrize("load", [load_reference_checkpoint, load_reference_discriminator])
def test_a_missing_file_raises(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got .*none\.pth.: there is no such file"):
        load(tmp_path / "none.pth")
