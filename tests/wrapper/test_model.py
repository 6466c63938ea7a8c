import copy
import io
import pickle
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from zoo import ZOO, Coarse, NeedsTime, Plain, Tokens, call_with_time

import opmask
from opmask import LAB_CENTERED, Add, OperatorMaskWrapper, OutputHead
from opmask.backbones import AttentionUNet, SmallUNet


def wrap(name: str) -> OperatorMaskWrapper:
    if name.startswith("smp"):
        import segmentation_models_pytorch as smp

        decoder, encoder = name.split()[1:]
        return OperatorMaskWrapper(getattr(smp, decoder)(encoder, encoder_weights=None, classes=3))
    if name == "four channels":
        return OperatorMaskWrapper(Plain(4), region=True)
    return OperatorMaskWrapper(ZOO[name]())


SMP = ["smp Unet resnet18", "smp FPN tu-convnext_femto", "smp PAN resnet18"]
ALL = [
    *ZOO, "four channels", *SMP[:2],
    pytest.param(SMP[2], marks=pytest.mark.third_party),
]  # fmt: skip
# Compiling a network of another library takes seconds.
COMPILED = [
    "plain", "tanh", "residual", "pixel shuffle", "tokens", "four channels",
    pytest.param("small U-Net", marks=pytest.mark.slow),
    *(pytest.param(name, marks=pytest.mark.third_party) for name in SMP),
]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_an_untrained_wrapper_returns_its_input(name):
    image = torch.rand(2, 3, 97, 131)
    model = wrap(name).eval()
    torch.testing.assert_close(model(image).image, image, rtol=0, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(image).image, image, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ZOO)
def test_masks_have_the_size_of_the_image_in_training_too(name):
    model, image = wrap(name), torch.rand(2, 3, 49, 70)
    masks = model(image).masks
    assert {mask.shape for mask in masks.values()} == {(2, 1, 49, 70)}
    assert list(masks) == ["l_mul", "a_mul", "b_mul", "l_add", "a_add", "b_add"]


@pytest.mark.parametrize("size", [(16, 16), (16, 45), (33, 17), (64, 64), (130, 97)])
def test_any_size_from_16_pixels_works(size):
    for model in (wrap("small U-Net").eval(), wrap("deep").eval()):
        image = torch.rand(1, 3, *size)
        assert model(image).image.shape == image.shape


@pytest.mark.parametrize("name", ZOO)
def test_the_network_is_left_as_it_was(name):
    net = ZOO[name]()
    keys, image = list(net.state_dict()), torch.rand(1, 3, 64, 96)
    net.train()
    next(net.children()).eval()
    flags = [m.training for m in net.modules()]
    expected = copy.deepcopy(net).eval()(image.clone())
    OperatorMaskWrapper(net)
    assert list(net.state_dict()) == keys
    assert [m.training for m in net.modules()] == flags
    torch.testing.assert_close(net.eval()(image.clone()), expected)


@pytest.mark.parametrize("name", ZOO)
def test_one_step_moves_the_head_and_two_reach_every_trainable_parameter(name):
    model, image = wrap(name), torch.rand(2, 3, 64, 64)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        (model(image).image - 0.9 * image).square().mean().backward()
        optimizer.step()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


@pytest.mark.parametrize(
    "name", ["small U-Net", "tanh", "pixel shuffle", "transposed", "tokens", "coarse"]
)
def test_thirty_steps_at_one_rate_halve_the_loss_without_rising(name):
    model, image = wrap(name), torch.rand(4, 3, 32, 32)
    optimizer, losses = torch.optim.Adam(model.parameters(), 1e-3), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (
            (model(image).image - image * torch.tensor([0.7, 1.0, 0.8]).view(3, 1, 1))
            .square()
            .mean()
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses) <= losses[0] * 1.001
    assert losses[-1] < losses[0] / 2


def compiled_whole(model: nn.Module) -> nn.Module:
    torch.compiler.reset()  # all wrappers share one function, and it may be compiled 8 times
    return torch.compile(model, fullgraph=True, backend="eager")


@pytest.mark.parametrize("name", COMPILED)
def test_a_wrapper_compiles_in_one_graph(name):
    model, image = wrap(name).eval(), torch.rand(1, 3, 128, 128)
    compiled = compiled_whole(model)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image).masks, model(image).masks)


def test_a_wrapper_compiles_in_training_too():
    model = wrap("plain").train()
    compiled_whole(model)(torch.rand(2, 3, 32, 32)).image.sum().backward()
    assert model.head.layer.weight.grad is not None


# PyTorch 2.7 warns of constants that it has made itself.
@pytest.mark.filterwarnings("ignore:.*get_attr:UserWarning")
@pytest.mark.parametrize("name", COMPILED)
def test_a_wrapper_exports_saves_and_loads(name):
    model, image, file = wrap(name).eval(), torch.rand(1, 3, 128, 128), io.BytesIO()
    torch.export.save(torch.export.export(model, (image,)), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    torch.testing.assert_close(loaded(image).image, model(image).image)


@pytest.mark.parametrize("name", ALL)
def test_a_wrapper_copies_and_pickles_after_its_backbone_has_run(name):
    model, image = wrap(name).eval(), torch.rand(2, 3, 128, 128)
    inputs = torch.cat([image, image[:, :1]], 1) if name == "four channels" else image
    model.backbone(inputs.clone())
    randomize(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(twin(image).image, model(image).image)


def randomize(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.normal_(0, 0.1)


def test_a_copy_does_not_listen_to_the_original():
    model = wrap("plain").eval()
    twin = copy.deepcopy(model)
    randomize(twin)
    with torch.no_grad():
        for parameter in twin.backbone.parameters():
            parameter.mul_(-2)
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(model(image).image, image, rtol=0, atol=1e-4)
    assert not torch.allclose(twin(image).image, image, atol=1e-3)


def in_four_threads(model: nn.Module, images: list[torch.Tensor]) -> list[torch.Tensor]:
    results: dict[int, torch.Tensor] = {}

    def work(first: int) -> None:
        for i in range(first, len(images), 4):
            results[i] = model(images[i]).image.detach()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[i] for i in range(len(images))]


def test_many_calls_from_four_threads_agree_with_one_thread():
    model = wrap("small U-Net").eval()
    randomize(model)
    images = [torch.rand(1, 3, 32 + 32 * (i % 3), 64) for i in range(60)]
    for result, image in zip(in_four_threads(model, images), images, strict=True):
        torch.testing.assert_close(result, model(image).image, rtol=0, atol=0)


@pytest.mark.slow
def test_calls_of_a_compiled_wrapper_from_four_threads_agree_with_one_thread():
    model, images = wrap("plain").eval(), list(torch.rand(20, 1, 3, 32, 32))
    randomize(model)
    compiled = compiled_whole(model)
    results = in_four_threads(compiled, images)
    for result, image in zip(results, images, strict=True):
        torch.testing.assert_close(result, compiled(image).image, rtol=0, atol=0)


def test_no_features_stay_alive_after_a_call():
    model = wrap("plain")
    model(torch.rand(1, 3, 32, 32))
    model.backbone(torch.rand(1, 3, 32, 32))
    assert model.head.tap._state.features is None


def test_wrapping_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Dropout(), nn.Conv2d(8, 3, 1))
    torch.manual_seed(3)
    OperatorMaskWrapper(net)
    assert torch.equal(torch.rand(3), expected)


def test_a_failed_wrap_leaves_no_hook_behind():
    net = Coarse()
    with pytest.raises(ValueError, match="cannot wrap"):
        OperatorMaskWrapper(net, multiple_of=3)
    assert not any(m._forward_pre_hooks for m in net.modules())


def test_parameters_after_the_tapped_layer_are_frozen_and_named():
    model = wrap("squeeze last")
    frozen = [n for n, p in model.backbone.named_parameters() if not p.requires_grad]
    assert model.unused == frozen
    assert {n.split(".")[0] for n in frozen} == {"out", "gate", "colors"}


def test_a_region_reaches_the_network_and_absence_means_minus_one():
    seen = []

    def call(net, x):
        seen.append(x)
        return net(x)

    model = OperatorMaskWrapper(Plain(4), region=True, call=call)
    image, region = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    seen.clear()
    model(image, region)
    model(image)
    torch.testing.assert_close(seen[0], torch.cat([image, region], 1))
    torch.testing.assert_close(seen[1], torch.cat([image, -torch.ones_like(region)], 1))


def test_the_region_is_padded_and_resized_with_the_image():
    seen = []

    def call(net, x):
        seen.append(x[:, 3])
        return net(x)

    model = OperatorMaskWrapper(SmallUNet(4, width=8), region=True, call=call, size=32)
    seen.clear()
    region = torch.zeros(1, 1, 64, 60)
    region[..., 30:] = 1
    model.eval()(torch.rand(1, 3, 64, 60), region)
    assert seen[0].shape == (1, 32, 32)
    assert seen[0].unique().tolist() == [0, 1]
    torch.testing.assert_close(seen[0].mean(), torch.tensor(17 / 32))


def test_preprocess_comes_before_the_region_and_sees_rgb():
    seen = []

    def call(net, x):
        seen.append(x)
        return net(x)

    model = OperatorMaskWrapper(Plain(4), region=True, call=call, preprocess=LAB_CENTERED.from_rgb)
    image = torch.rand(1, 3, 32, 32)
    model(image)
    torch.testing.assert_close(seen[-1][:, :3], LAB_CENTERED.from_rgb(image))
    assert (seen[-1][:, 3] == -1).all()


def test_a_blind_model_refuses_a_region():
    with pytest.raises(ValueError, match=r"this model is blind: it was built without region=True"):
        wrap("plain")(torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32))


def test_a_region_of_another_shape_raises():
    with pytest.raises(
        ValueError, match=r"'region' must have shape \(1, 1, 32, 32\) to fit the image"
    ):
        wrap("four channels")(torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 31))


def test_an_8_bit_region_raises_and_says_what_to_do():
    with pytest.raises(TypeError, match=r"'region' must be bool or .* Divide an 8-bit region"):
        wrap("four channels")(torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32).byte())


def refusal(*arguments, **options) -> str:
    """The one line that says why a network is not wrapped, without its own trace."""
    with pytest.raises(ValueError, match=r"^cannot wrap") as caught:
        OperatorMaskWrapper(*arguments, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return str(caught.value)


def test_a_network_that_fails_is_named_with_its_error_and_the_argument_to_pass():
    assert refusal(Tokens(fixed=48)) == (
        "cannot wrap Tokens: on an image batch of shape (2, 3, 64, 96) it raised RuntimeError: "
        "The size of tensor a (96) must match the size of tensor b (36) at non-singleton "
        "dimension 1. Pass example= an image batch of a size that it takes."
    )
    text = refusal(Tokens(fixed=48), example=torch.rand(1, 3, 64, 64))
    assert text.endswith("Pass another example= an image batch of a size that it takes.")
    assert refusal(NeedsTime()).endswith(
        "missing 1 required positional argument: 'time'. "
        "Pass call= how to call it, as call(backbone, input)."
    )


def test_a_network_of_other_channels_is_told_from_one_of_another_size():
    advice = "Pass preprocess= what makes its {} channels of an RGB image"
    assert f"{advice.format(4)}, or region=True if" in refusal(Plain(4))
    assert refusal(Plain(5), region=True).endswith(f"{advice.format(5)}.")
    assert refusal(Plain(1)).endswith(f"{advice.format(1)}.")


def test_patches_without_a_place_for_the_region_are_told_from_a_wrong_size():
    patches = opmask.backbones.HarmonyTransformerPlus(3, width=8, layers=1)
    text = refusal(patches, region=True, call=lambda net, x: net.encoder(x))
    assert text.endswith("Build it with one input channel more, 4 for RGB: region=True adds one.")


def test_a_network_that_says_nothing_is_refused_all_the_same():
    class Silent(Plain):
        def forward(self, x):
            if x.shape[-1] != 40:
                raise AssertionError
            return super().forward(x)

    assert "it raised AssertionError. Pass example=" in refusal(Silent())


def test_where_the_image_does_not_fit_the_layer_the_message_names_both_arguments():
    text = refusal(Tokens(), example=torch.rand(2, 3, 65, 64))
    assert "not even the last, head: features (2, 65, 32) are not a map of the image" in text
    assert text.endswith("is a map of the image, or example= an image of another size.")


@pytest.mark.third_party
def test_networks_of_other_libraries_are_refused_in_one_line():
    import timm

    vit = timm.create_model("vit_tiny_patch16_224", img_size=48, num_classes=0, depth=1)
    text = refusal(vit, call=call_features)
    assert "Input height (64) doesn't match model (48). Pass example=" in text
    example = torch.rand(2, 3, 48, 48)
    with pytest.warns(UserWarning, match="Name a better layer"):
        model = OperatorMaskWrapper(vit, call=call_features, example=example)
    assert model.size == (48, 48)


def call_features(net: nn.Module, x: torch.Tensor) -> object:
    return net.forward_features(x)


def test_call_adapts_other_signatures():
    with pytest.raises(ValueError, match="missing 1 required positional argument: 'time'"):
        OperatorMaskWrapper(NeedsTime())
    model = OperatorMaskWrapper(NeedsTime(), call=call_with_time)
    assert model.head.name == "out"
    pickle.loads(pickle.dumps(model))


def test_a_smaller_working_size_gives_enlarged_masks():
    model = wrap("plain").eval()
    randomize(model)
    image = torch.rand(1, 3, 64, 96)
    masks = model.predict(image, size=48)
    small = torch.nn.functional.interpolate(image, (32, 48), mode="bilinear", antialias=True)
    for name, mask in model.predict(small).items():
        enlarged = torch.nn.functional.interpolate(mask, (64, 96), mode="bilinear")
        torch.testing.assert_close(masks[name], enlarged)


def test_a_working_size_never_enlarges_the_image():
    model = wrap("plain").eval()
    randomize(model)
    image = torch.rand(1, 3, 32, 40)
    torch.testing.assert_close(model.predict(image, size=512), model.predict(image))


def test_a_network_of_one_size_is_run_at_that_size():
    model = OperatorMaskWrapper(Tokens(fixed=64), example=torch.rand(2, 3, 64, 64)).eval()
    assert model.size == (64, 64)
    image = torch.rand(1, 3, 90, 120)
    torch.testing.assert_close(model(image).image, image, rtol=0, atol=1e-4)


def test_another_size_than_the_only_one_is_refused():
    example = torch.rand(2, 3, 64, 64)
    assert OperatorMaskWrapper(Tokens(fixed=64), example=example, size=64).size == (64, 64)
    with pytest.raises(ValueError, match=r"'size' must be \(64, 64\), the only .* Leave it out"):
        OperatorMaskWrapper(Tokens(fixed=64), example=example, size=32)


@pytest.mark.parametrize("size", [0, -5, 15, 40.5, "64", (0, 64), (64,), (64, 64, 64), (64, 32.0)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="'size' must be the longer side or height and width"):
        OperatorMaskWrapper(Plain(), size=size)
    with pytest.raises(ValueError, match="in whole pixels from 16, got"):
        wrap("plain").predict(torch.rand(1, 3, 32, 32), size=size)


@pytest.mark.parametrize("multiple_of", [0, -4, 2.0])
def test_a_multiple_that_is_none_is_refused(multiple_of):
    with pytest.raises(ValueError, match="'multiple_of' must be at least 1, got"):
        OperatorMaskWrapper(Plain(), multiple_of=multiple_of)


def test_an_example_that_is_no_image_batch_is_refused():
    with pytest.raises(ValueError, match=r"'example' must have shape \(B, 3, H, W\)"):
        OperatorMaskWrapper(Plain(4), example=torch.rand(1, 4, 64, 64))
    with pytest.raises(ValueError, match="'example' must hold at least one image"):
        OperatorMaskWrapper(Plain(), example=torch.rand(0, 3, 64, 64))
    with pytest.raises(TypeError, match="'example' must be a tensor, got ndarray"):
        OperatorMaskWrapper(Plain(), example=torch.rand(1, 3, 64, 64).numpy())
    OperatorMaskWrapper(Plain(), example=torch.rand(1, 3, 64, 96, dtype=torch.float64))


def test_an_operator_is_no_retoucher():
    with pytest.raises(TypeError, match="'retoucher' must be a Retoucher, got Add"):
        OperatorMaskWrapper(Plain(), Add(opmask.LAB))


def test_a_network_without_weights_yet_is_refused():
    with torch.device("meta"):
        net = Plain()
    with pytest.raises(ValueError, match="Plain is on the meta device"):
        OperatorMaskWrapper(net)


def test_a_wrapper_built_in_inference_mode_can_be_trained():
    net = Plain()
    with torch.inference_mode():
        model = OperatorMaskWrapper(net)
    for _ in range(2):
        randomize(model)
        model(torch.rand(1, 3, 32, 32)).image.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_network_built_in_inference_mode_is_refused():
    with torch.inference_mode():
        net = Plain()
    with pytest.raises(ValueError, match=r"Plain was built in torch\.inference_mode"):
        OperatorMaskWrapper(net)


def test_an_output_head_takes_the_network_at_its_word():
    net = nn.Conv2d(3, 6, 1)
    model, image = OperatorMaskWrapper(net, head=OutputHead()), torch.rand(1, 3, 20, 24)
    expected = model.retoucher.from_logits(net(image))
    torch.testing.assert_close(model.predict(image), expected)


def test_an_output_head_needs_one_tensor_of_the_right_size():
    with pytest.raises(ValueError, match="the network must put out one tensor of 64x96, got list"):
        OperatorMaskWrapper(NeedsTime(), head=OutputHead(), call=call_with_time)
    with pytest.raises(ValueError, match=r"of 64x96, got \(2, 3, 16, 24\)"):
        OperatorMaskWrapper(Coarse(), head=OutputHead())


def test_an_output_head_needs_a_channel_for_each_mask():
    with pytest.raises(ValueError, match=r"must put out 6 channels, one for each of .*, got 3\."):
        OperatorMaskWrapper(AttentionUNet(3, 3, width=8, depth=5), head=OutputHead())


def test_a_head_can_be_named():
    model = OperatorMaskWrapper(Plain(), head="trunk.2")
    assert model.head.name == "trunk.2"


def test_a_name_that_is_no_layer_raises():
    with pytest.raises(ValueError, match=r"there is no layer .decoder\.out. that ran"):
        OperatorMaskWrapper(Plain(), head="decoder.out")


def test_a_layer_that_does_not_run_in_training_raises():
    class EvalOnly(Plain):
        def forward(self, x):
            return self.trunk(x) if self.training else super().forward(x)

    with pytest.warns(UserWarning, match="in training mode, layer 'out' did not run"):
        model = OperatorMaskWrapper(EvalOnly()).train()
    with pytest.raises(RuntimeError, match="layer 'out' did not run in this mode"):
        model(torch.rand(1, 3, 32, 32))
    model.backbone.eval()
    assert model(torch.rand(1, 3, 32, 32)).image.requires_grad


def test_compiled_and_parallel_networks_are_refused():
    class Traced(torch.jit.ScriptModule):  # as what torch.jit.trace returns
        pass

    for outer in (torch.compile(Plain()), nn.DataParallel(Plain()), Traced()):
        with pytest.raises(TypeError, match="'backbone' must be the network itself, got"):
            OperatorMaskWrapper(outer)


def test_a_wrapper_is_not_wrapped_again():
    with pytest.raises(TypeError, match=r"got an OperatorMaskWrapper\. Pass its \.backbone"):
        OperatorMaskWrapper(OperatorMaskWrapper(Plain()))


def test_something_that_cannot_learn_is_refused():
    with pytest.raises(ValueError, match="AvgPool2d has none"):
        OperatorMaskWrapper(nn.AvgPool2d(3))
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, got function"):
        OperatorMaskWrapper(call_with_time)


def test_a_network_without_gradients_or_layers_is_refused():
    class NoGrad(Plain):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    class Functional(Plain):
        def forward(self, x):
            return nn.functional.conv2d(x, self.out.weight[:, :3])

    with pytest.raises(ValueError, match=r"cannot wrap NoGrad: .* switches gradients off"):
        OperatorMaskWrapper(NoGrad())
    with pytest.raises(ValueError, match=r"no convolution or linear layer that ran\. Pass head="):
        OperatorMaskWrapper(Functional())


class Checkpointed(Plain):
    """Its trunk, or the whole of it, runs again in the backward pass to save memory."""

    def __init__(self, *, reentrant: bool, whole: bool = False, in_training: bool = True):
        super().__init__()
        self.reentrant, self.whole, self.in_training = reentrant, whole, in_training

    def forward(self, x):
        if self.in_training and not self.training:
            return super().forward(x)
        run = super().forward if self.whole else self.trunk
        y = checkpoint(run, x, use_reentrant=self.reentrant)
        return y if self.whole else self.out(y)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("whole", [False, True])
def test_reentrant_checkpoints_are_refused_at_the_latest_in_the_first_training_step(whole):
    with pytest.raises(ValueError, match=r"cannot wrap Checkpointed: .*use_reentrant=False"):
        OperatorMaskWrapper(Checkpointed(reentrant=True, whole=whole, in_training=False))
    with pytest.warns(UserWarning, match="in training mode, the network switches gradients off"):
        model = OperatorMaskWrapper(Checkpointed(reentrant=True, whole=whole)).train()
    with pytest.raises(RuntimeError, match=r"would not learn\. Pass use_reentrant=False"):
        model(torch.rand(1, 3, 32, 32))
    model.eval()(torch.rand(1, 3, 32, 32))
    with torch.no_grad():
        model.train()(torch.rand(1, 3, 32, 32))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_frozen_network_may_switch_gradients_off():
    net = Checkpointed(reentrant=True, in_training=False).requires_grad_(False)
    model = OperatorMaskWrapper(net).train()
    model(torch.rand(1, 3, 32, 32)).image.sum().backward()
    assert model.head.layer.weight.grad is not None


@pytest.mark.parametrize("whole", [False, True])
def test_other_checkpoints_give_every_gradient_that_the_plain_network_gets(whole):
    model = OperatorMaskWrapper(Checkpointed(reentrant=False, whole=whole)).train()
    randomize(model)
    twin, image = copy.deepcopy(model), torch.rand(1, 3, 32, 32)
    twin.backbone.eval()  # where nothing is checkpointed
    for each in (model, twin):
        each(image).image.square().sum().backward()
    for name, parameter in twin.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(model.get_parameter(name).grad, parameter.grad)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_an_output_without_a_gradient_is_refused_too():
    net = Checkpointed(reentrant=True, whole=True)
    net.out = nn.Conv2d(16, 6, 1)
    with pytest.warns(UserWarning, match="in training mode, the network switches gradients off"):
        model = OperatorMaskWrapper(net, head=OutputHead()).train()
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        model(torch.rand(1, 3, 32, 32))


def test_masks_are_read_from_what_hooks_of_others_leave():
    net, image = Plain(), torch.rand(1, 3, 32, 32)
    net.trunk.register_forward_hook(lambda layer, args, output: 2 * output)
    net.out.register_forward_hook(lambda layer, args, output: (output,))
    model = OperatorMaskWrapper(net)
    assert model.head.name == "out"
    net.out.register_forward_pre_hook(lambda layer, args: (args[0] + 1,))
    features = model.head.features(lambda: net(image))
    torch.testing.assert_close(features, 1 + net.trunk(image))


@pytest.mark.parametrize("shape", [(2, 4, 64, 64), (3, 64, 64)])
def test_an_image_of_another_shape_raises(shape):
    with pytest.raises(ValueError, match=r"'image' must have shape \(B, 3, H, W\), got"):
        wrap("plain")(torch.rand(shape))


def test_an_image_smaller_than_16_pixels_raises():
    with pytest.raises(ValueError, match=r"'image' must be at least 16x16 pixels, got \(15, 64\)"):
        wrap("plain")(torch.rand(1, 3, 15, 64))


def test_an_empty_batch_raises():
    with pytest.raises(ValueError, match=r"'image' must hold at least one image, got \(0, 3,"):
        wrap("plain")(torch.rand(0, 3, 32, 32))


def test_a_picture_that_is_no_tensor_raises():
    with pytest.raises(TypeError, match="'image' must be a tensor, got ndarray"):
        wrap("plain")(torch.rand(1, 3, 32, 32).numpy())


def test_an_8_bit_image_raises_and_says_what_to_do():
    with pytest.raises(TypeError, match="Divide 8-bit values by 255"):
        wrap("plain")(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_a_doubtful_head_is_reported():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 3, padding=1)
            self.out_a, self.out_b = (
                nn.Conv2d(16, 12, 3, padding=1),
                nn.Conv2d(16, 3, 3, padding=1),
            )

        def forward(self, x):
            return self.out_a(self.a(x)), self.out_b(self.b(x))

    with pytest.warns(UserWarning, match="depends on .* of the parameters. Name a better layer"):
        model = OperatorMaskWrapper(Branches())
    assert model.head.name == "out_a"


def test_a_sound_head_is_not_reported():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OperatorMaskWrapper(Plain(), opmask.Retoucher(Add(opmask.LAB)))


def test_printing_shows_head_scale_and_size_multiple():
    text = repr(wrap("pixel shuffle"))
    assert "multiple_of=2, region=False" in text
    assert "reads the input of 'up' at 1/2 of the image's size, sub-pixel" in text


def test_double_precision_is_kept():
    for model in (OperatorMaskWrapper(Plain()).double(), OperatorMaskWrapper(Plain().double())):
        randomize(model)
        image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
        assert model(image).image.dtype == model.predict(image)["l_add"].dtype == torch.float64
        assert model.head.layer.weight.dtype == torch.float64


def test_gradients_are_exact_in_double_precision():
    model = OperatorMaskWrapper(Plain().double().eval())
    randomize(model)
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: torch.stack(list(model.predict(x).values())), image, fast_mode=True
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_an_image_of_another_precision_is_cast_for_the_network(dtype):
    model, image = OperatorMaskWrapper(Plain()).eval(), torch.rand(1, 3, 32, 32).to(dtype)
    randomize(model)
    output, expected = model(image), model(image.float())
    assert output.image.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(output.masks, expected.masks, rtol=0, atol=0)
    torch.testing.assert_close(output.image.float(), expected.image)


@pytest.mark.parametrize("wrapped_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_features_count_in_half_precision_too(dtype, wrapped_first):
    net, image = Plain().eval(), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        net.trunk[2].weight.mul_(3000)  # the squares of its features overflow
    model = OperatorMaskWrapper(copy.deepcopy(net) if wrapped_first else net.to(dtype)).eval()
    randomize(model)
    expected = copy.deepcopy(model).float()(image).image
    output = model.to(dtype)(image).image
    assert output.dtype == torch.float32
    assert (expected - image).abs().mean() > 0.03
    assert (output - expected).abs().mean() < 0.003


def test_a_network_without_a_channel_for_the_region_is_told_so():
    with pytest.raises(ValueError, match="Build it with one input channel more, 4 for RGB"):
        OperatorMaskWrapper(nn.Conv2d(3, 3, 3, padding=1), region=True)
    with pytest.raises(
        ValueError, match=r"Or wrap opmask\.backbones\.with_region_input\(backbone"
    ):
        OperatorMaskWrapper(nn.Conv2d(3, 3, 3, padding=1), region=True)


def test_a_residual_network_without_a_channel_for_the_region_is_told_so():
    class Residual(nn.Conv2d):
        def forward(self, x):
            return x + super().forward(x[:, :3])

    with pytest.raises(ValueError, match="Build it with one input channel more, 4 for RGB"):
        OperatorMaskWrapper(Residual(3, 3, 3, padding=1), region=True)


def test_a_region_that_is_no_tensor_is_refused():
    model = OperatorMaskWrapper(nn.Conv2d(4, 3, 3, padding=1), region=True)
    with pytest.raises(TypeError, match="'region' must be a tensor, got list"):
        model(torch.rand(1, 3, 32, 32), [[1.0]])
