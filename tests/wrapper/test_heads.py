"""How logits are read: their numbers, and where the run of a network ends."""

import copy
import math
import pickle
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from zoo import ZOO, Plain

from opmask import OperatorMaskWrapper
from opmask.wrapper.geometry import Geometry
from opmask.wrapper.heads import MaskHead, may_stop

GEOMETRIES = {
    "1x1": Geometry(8),
    "3x3": Geometry(8, kernel_size=(3, 3), padding=(1, 1)),
    "same": Geometry(8, kernel_size=(5, 3), padding="same", dilation=(2, 1)),
    "transposed": Geometry(
        8, True, (4, 4), (2, 2), (1, 1), output_padding=(1, 1), scale=(2, 1), excess=1
    ),
    **{
        mode: Geometry(8, kernel_size=(3, 3), padding=(1, 1), padding_mode=mode)
        for mode in ("reflect", "replicate", "circular")
    },
}


def random_head(geometry: Geometry, dtype: torch.dtype = torch.float32) -> MaskHead:
    head = MaskHead("out", 6, geometry).to(dtype)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def by_definition(head: MaskHead, features: torch.Tensor) -> torch.Tensor:
    """Features are divided by their root mean square, then convolved, in double precision."""
    features = features.double()
    layer = copy.deepcopy(head.layer).double()
    rms = (features.square().mean((1, 2, 3), keepdim=True) + 1e-6).sqrt()
    return head._crop(head.gain * layer(features / rms), tuple(features.shape[-2:]))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_logits_are_those_of_the_definition_for_every_kind_of_convolution(name, layout):
    head, sizes = random_head(GEOMETRIES[name]), torch.tensor([0.01, 1.0, 300.0])
    features = (torch.randn(3, 8, 20, 24) * sizes.view(3, 1, 1, 1)).to(memory_format=layout)
    found = head.read(features, (20, 24))
    torch.testing.assert_close(found.double(), by_definition(head, features), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3, 1.0, 1e5, 1e15])
def test_the_bias_does_not_depend_on_how_strong_the_features_are(scale):
    head, features = random_head(GEOMETRIES["3x3"]), scale * torch.randn(2, 8, 20, 24)
    found = head.read(features, (20, 24))
    torch.testing.assert_close(found.double(), by_definition(head, features), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_root_mean_square_of_millions_of_numbers_is_exact(layout):
    maps = torch.rand(1, 64, 256, 256).add_(0.5).to(memory_format=layout)
    factor = MaskHead("out", 6, Geometry(64)).condition(maps)[1]
    expected = (maps.double().square().mean() + 1e-6).rsqrt()
    assert factor.item() == pytest.approx(expected.item(), rel=3e-7)


def test_tokens_are_read_as_maps_are():
    head, maps = random_head(GEOMETRIES["3x3"]), torch.randn(2, 8, 20, 24)
    tokens = maps.flatten(2).transpose(1, 2)
    torch.testing.assert_close(head.read(tokens, (20, 24)), head.read(maps, (20, 24)))
    last = maps.permute(0, 2, 3, 1)
    torch.testing.assert_close(head.read(last, (20, 24)), head.read(maps, (20, 24)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_at_the_end_of_half_precision_overflow_nowhere(dtype):
    geometry = Geometry(64, kernel_size=(3, 3), padding=(1, 1))
    head = random_head(geometry, dtype)
    features = torch.full((1, 64, 20, 24), 60000.0, dtype=dtype)
    found = head.read(features, (20, 24))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), by_definition(head, features), rtol=0.02, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features_for_a_head_in_single_precision_are_read_in_that(dtype):
    head, features = random_head(GEOMETRIES["3x3"]), 3000 * torch.randn(2, 8, 20, 24).to(dtype)
    found = head.read(features, (20, 24))
    torch.testing.assert_close(found.double(), by_definition(head, features), rtol=1e-5, atol=2e-6)


def test_gradients_of_features_and_weights_are_exact():
    head = random_head(GEOMETRIES["reflect"], torch.float64)
    features = torch.randn(2, 8, 6, 7, dtype=torch.float64, requires_grad=True)
    weights = [parameter.requires_grad_() for parameter in head.parameters()]
    assert torch.autograd.gradcheck(
        lambda x, *_: head.read(x, (6, 7)), (features, *weights), fast_mode=True
    )


def test_features_that_are_all_zero_have_gradients_without_nan():
    head, features = random_head(GEOMETRIES["3x3"]), torch.zeros(1, 8, 6, 7, requires_grad=True)
    head.read(features, (6, 7)).sum().backward()
    assert features.grad.isfinite().all()


class LargestOutputs(TorchDispatchMode):
    """Counts new tensors of a given size."""

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.numel, self.names = numel, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        aliases = any(r.alias_info for r in func._schema.returns)
        if isinstance(output, torch.Tensor) and output.numel() == self.numel and not aliases:
            self.names.append(str(func))
        return output


def test_no_tensor_as_large_as_the_features_is_made():
    head, features = random_head(GEOMETRIES["3x3"]), torch.randn(1, 8, 20, 24)
    with LargestOutputs(features.numel()) as made, torch.no_grad():
        head.read(features, (20, 24))
    assert [name for name in made.names if "_to_copy" not in name] == []


# --- where a run ends ---


class Counting(nn.Conv2d):
    """A convolution that knows how often it ran; a hook would be found."""

    runs = 0

    def forward(self, x):
        self.runs += 1
        return super().forward(x)


def counting() -> Plain:
    return Plain(out=Counting(16, 3, 3, padding=1))


def wrapped(net: nn.Module, **options) -> OperatorMaskWrapper:
    model = OperatorMaskWrapper(net, **options)
    for parameter in model.head.parameters():
        nn.init.normal_(parameter)
    if hasattr(net, "out"):
        net.out.runs = 0
    return model.eval()


@torch.no_grad()
def same_either_way(model: OperatorMaskWrapper, times: int = 3) -> None:
    """Masks of a network that may stop are those of one that runs to its end."""
    geometry = model.head.geometry
    for image in torch.rand(times, 1, 3, 32, 48):
        model.head.geometry = replace(geometry, once=False)
        whole = model.predict(image)
        model.head.geometry = geometry
        torch.testing.assert_close(model.predict(image), whole, rtol=0, atol=0)


@pytest.mark.parametrize("name", ZOO)
def test_a_run_that_is_cut_short_gives_the_same_masks(name):
    model = wrapped(ZOO[name]())
    assert model.head.geometry.once
    same_either_way(model)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_tapped_layer_does_not_run(without):
    model = wrapped(counting())
    with without():
        model(torch.rand(1, 3, 32, 32))
    assert model.backbone.out.runs == 0


def test_with_gradients_or_in_training_the_whole_network_runs():
    model, image = wrapped(counting()), torch.rand(1, 3, 32, 32)
    model(image)
    with torch.no_grad():
        model.train()(image)
    assert model.backbone.out.runs == 2


def test_copies_and_pickles_stop_too():
    model = wrapped(Plain())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.backbone.out.forward = None  # fails if it is called
        with torch.no_grad():
            twin.predict(torch.rand(1, 3, 32, 32))


def test_the_network_itself_runs_to_its_end():
    model, image = wrapped(counting()), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert model.backbone(image).shape == image.shape


@pytest.mark.parametrize("place", ["", "trunk", "trunk.2", "out"])
@pytest.mark.parametrize(
    "register",
    [
        lambda module, hook: module.register_forward_hook(hook),
        lambda module, hook: module.register_forward_hook(hook, always_call=True),
        lambda module, hook: module.register_forward_pre_hook(hook),
    ],
)
def test_hooks_of_others_run_wherever_they_are(place, register):
    model, seen = wrapped(counting()), []
    handle = register(model.backbone.get_submodule(place), lambda *_: seen.append(1))
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
        assert (len(seen), model.backbone.out.runs) == (1, 1)
        handle.remove()
        model(torch.rand(1, 3, 32, 32))
        assert (len(seen), model.backbone.out.runs) == (1, 1)


@pytest.mark.parametrize(
    "register",
    [
        nn.modules.module.register_module_forward_hook,
        nn.modules.module.register_module_forward_pre_hook,
    ],
)
def test_hooks_on_all_modules_see_the_whole_network(register):
    model, seen = wrapped(counting()), []
    handle = register(lambda module, *_: seen.append(module))
    try:
        with torch.no_grad():
            model(torch.rand(1, 3, 32, 32))
    finally:
        handle.remove()
    assert model.backbone in seen
    assert model.backbone.out in seen


def test_a_hook_that_replaces_the_input_of_the_layer_is_heeded_without_gradients_too():
    model = wrapped(Plain())
    model.backbone.out.register_forward_pre_hook(lambda layer, args: (args[0] + 1,))
    same_either_way(model)
    with torch.no_grad():
        image = torch.rand(1, 3, 32, 32)
        features = model.head.features(lambda: model.backbone(image))
        torch.testing.assert_close(features, 1 + model.backbone.trunk(image))


def test_statistics_that_a_later_norm_keeps_in_training_mode_are_kept():
    class NormLast(Plain):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(super().forward(x))

    model = wrapped(NormLast())
    model.backbone.norm.train()
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
        assert model.backbone.norm.num_batches_tracked == 1
        model.eval()(torch.rand(1, 3, 32, 32))
        assert model.backbone.norm.num_batches_tracked == 1


class Refining(Plain):
    """Its layer runs three times, each time on what it made before."""

    def forward(self, x):
        for _ in range(3):
            x = x + 0.1 * super().forward(x)
        return x


def test_of_a_layer_that_runs_several_times_the_last_input_counts():
    model = wrapped(Refining())
    assert not model.head.geometry.once
    same_either_way(model)


def test_a_layer_that_runs_several_times_on_the_same_input_is_not_stopped():
    net = Refining()
    nn.init.zeros_(net.out.weight)  # as a network that starts at the identity: all inputs agree
    nn.init.zeros_(net.out.bias)
    assert not OperatorMaskWrapper(net).head.geometry.once


class Forgetful(Plain):
    """Keeps its features on itself, and tidies up at the end of its forward alone."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, x):
        self.kept.append(self.trunk(x))
        y = self.out(torch.stack(self.kept).sum(0))
        self.kept.clear()
        return y


def test_a_network_that_must_tidy_up_runs_to_its_end():
    model = wrapped(Forgetful())
    assert not model.head.geometry.once
    assert not model.backbone.kept
    same_either_way(model)


def test_a_network_that_breaks_if_it_is_cut_short_is_not():
    class Locked(Plain):
        locked = False

        def forward(self, x):
            if self.locked:
                self.locked = False
                raise RuntimeError("called twice")
            self.locked = True
            y = super().forward(x)
            self.locked = False
            return y

    model = wrapped(Locked())
    assert not model.head.geometry.once
    same_either_way(model)


def test_a_network_with_noise_in_it_runs_to_its_end():
    class Noisy(Plain):
        def forward(self, x):
            return self.out(self.trunk(x) + torch.rand(16, 1, 1))

    assert not wrapped(Noisy()).head.geometry.once


@pytest.mark.parametrize("caught", [Exception, BaseException])
def test_networks_that_catch_exceptions_give_the_same_masks(caught):
    class Catching(Plain):
        def forward(self, x):
            features = self.trunk(x)
            while True:
                try:
                    return self.out(features)
                except caught:  # and tries again, with something else
                    features = features * 0

    same_either_way(wrapped(Catching()))


def test_the_networks_own_errors_and_interrupts_come_through():
    model, image = wrapped(Plain()), torch.rand(1, 3, 32, 32)
    for error in (ZeroDivisionError, KeyboardInterrupt, SystemExit):

        def fail(x, error=error):
            raise error

        model.backbone.trunk.forward = fail
        with torch.no_grad(), pytest.raises(error):
            model.predict(image)
    del model.backbone.trunk.forward
    same_either_way(model)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_tapped_layer_within_a_checkpoint_is_stopped_at(reentrant):
    class Inside(Plain):
        def forward(self, x):
            if torch.is_grad_enabled():
                return super().forward(x)
            return checkpoint(super().forward, x, use_reentrant=reentrant)

    model = wrapped(Inside(out=Counting(16, 3, 3, padding=1)))
    same_either_way(model)
    assert model.backbone.out.runs == 3  # of six, where it was told not to stop
    assert torch._C._autograd._saved_tensors_hooks_is_enabled()


def test_a_stop_leaves_contexts_of_the_network_behind():
    class Contexts(Plain):
        def forward(self, x):
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
                return super().forward(x)

    model = wrapped(Contexts())
    same_either_way(model)
    with torch.no_grad():
        model.predict(torch.rand(1, 3, 32, 32))
        assert not torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")


def test_what_call_does_with_the_output_does_not_matter():
    after = []

    def call(net, x):
        y = net(x)
        after.append(1)
        return y

    model = wrapped(counting(), call=call)
    after.clear()
    with torch.no_grad():
        model.predict(torch.rand(1, 3, 32, 32))
    assert (after, model.backbone.out.runs) == ([], 0)


def test_a_call_that_runs_the_network_twice_is_not_cut_short():
    def call(net, x):
        net(x.flip(3))
        return net(x)

    model = wrapped(Plain(), call=call)
    assert not model.head.geometry.once
    same_either_way(model)


def test_several_wrappers_of_one_network_do_not_hinder_each_other():
    net = counting()
    models = [wrapped(net), wrapped(net)]
    net.out.runs = 0
    with torch.no_grad():
        for model in models:
            model.predict(torch.rand(1, 3, 32, 32))
    assert net.out.runs == 0
    for model in models:
        same_either_way(model)


def test_a_wrapper_within_a_network_that_is_wrapped_stops_for_itself():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = wrapped(counting())

        def forward(self, x):
            return self.inner.head.layer.weight.sum() + self.inner(x).image

    net = Outer()
    model = wrapped(net, head="inner.backbone.out")
    same_either_way(model)
    inner = net.inner.head
    with torch.no_grad():
        assert inner.features(lambda: net.inner.backbone(torch.rand(1, 3, 32, 32)), True).ndim == 4


def test_no_features_stay_alive_after_a_stop():
    model = wrapped(Plain())
    with torch.no_grad():
        model.predict(torch.rand(1, 3, 32, 32))
    state = model.head.tap._state
    assert (state.features, state.listening, state.stopping) == (None, False, False)
    assert sys.exc_info() == (None, None, None)


def test_only_modules_at_rest_without_gradients_may_stop():
    net = Plain().eval()
    assert not may_stop(net)
    with torch.no_grad():
        assert may_stop(net)
        net.trunk[1].train()
        assert not may_stop(net)


def test_a_geometry_of_before_does_not_stop():
    assert not Geometry.from_dict({"inputs": 8}).once
    assert math.prod(Geometry.from_dict({"inputs": 8}).kernel_size) == 1
