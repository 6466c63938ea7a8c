import copy
import warnings

import pytest
import torch
from torch import nn
from zoo import (
    AuxiliaryInTraining,
    Counting,
    EvaluationOnly,
    Experts,
    FreesItsGraph,
    OneSizeInTraining,
    OtherInTraining,
    Plain,
)

import opmask
from opmask import OperatorMaskWrapper, OutputHead


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (OtherInTraining, "in training mode, layer 'out' did not run"),
        (EvaluationOnly, r"in training mode, .*it raised RuntimeError: targets must be given"),
        (OneSizeInTraining, r"in training mode, on an image batch of shape \(2, 3, 16, 16\) it"),
    ],
)
def test_a_network_that_cannot_be_trained_is_wrapped_with_a_word_on_how_to(kind, why):
    with pytest.warns(UserWarning, match=f"{kind.__name__} cannot be trained as it is: {why}"):
        model = OperatorMaskWrapper(kind()).train()
    model.backbone.eval()  # as the warning says
    model(torch.rand(2, 3, 32, 32)).image.sum().backward()
    assert model.head.layer.weight.grad is not None


def test_a_network_that_frees_its_graph_is_not_said_to_learn_in_evaluation_mode():
    net = FreesItsGraph()
    with pytest.warns(UserWarning, match=r"It fails in evaluation mode, too\. It can be used"):
        model = OperatorMaskWrapper(net)
    assert net.training
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(model.eval()(image).image, image, atol=1e-4, rtol=0)


def test_an_output_head_is_tried_in_training_too():
    net = EvaluationOnly(out=nn.Conv2d(16, 6, 1))
    with pytest.warns(UserWarning, match=r"call model\.backbone\.eval\(\) after model\.train"):
        OperatorMaskWrapper(net, head=OutputHead())


def test_the_step_of_training_changes_no_tensor_and_leaves_no_gradient():
    net = Counting()
    net.out.weight.grad = torch.ones_like(net.out.weight)
    before = copy.deepcopy(net.state_dict())
    model = OperatorMaskWrapper(net)
    torch.testing.assert_close(net.state_dict(), before)
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "backbone.out.weight"
    ]
    assert net.training


def test_what_batch_norm_cannot_take_at_the_smallest_size_is_tried_at_a_larger_one():
    net = nn.Sequential(  # one pixel at 16x16
        nn.Conv2d(3, 8, 16, 16),
        nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 8, 16, 16),
        nn.Conv2d(8, 3, 1),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OperatorMaskWrapper(net, example=torch.rand(1, 3, 64, 96))


def test_what_runs_in_training_alone_and_after_the_layer_is_frozen():
    model = OperatorMaskWrapper(AuxiliaryInTraining())
    assert model.unused == ["out.weight", "out.bias", "aux.weight", "aux.bias"]
    assert not model.backbone.aux.weight.requires_grad


def test_a_part_that_did_not_run_is_named_but_may_learn():
    model = OperatorMaskWrapper(Experts())
    assert model.unused == ["out.weight", "out.bias", "bright.weight", "bright.bias"]
    assert model.backbone.bright.weight.requires_grad
    assert model.backbone.dark.weight.requires_grad
    model.train()(torch.ones(1, 3, 32, 32)).image.sum().backward()
    assert model.backbone.bright.weight.grad is not None


def test_a_file_tells_what_is_frozen_from_what_is_idle(tmp_path):
    model = OperatorMaskWrapper(Experts())
    opmask.save(model, tmp_path / "model.safetensors")
    loaded = opmask.load(tmp_path / "model.safetensors", backbone=Experts())
    assert loaded.unused == model.unused
    for name, parameter in model.named_parameters():
        assert loaded.get_parameter(name).requires_grad == parameter.requires_grad


def test_what_a_user_has_frozen_is_not_named():
    net = Experts()
    net.bright.requires_grad_(False)
    assert OperatorMaskWrapper(net).unused == ["out.weight", "out.bias"]


def test_wrapping_a_usual_network_takes_few_small_runs():
    runs = []
    net = Plain()
    hook = net.register_forward_pre_hook(lambda net, args: runs.append(args[0].shape))
    OperatorMaskWrapper(net)
    hook.remove()
    assert len(runs) <= 7
    assert sum(batch * height * width for batch, _, height, width in runs) < 29_000
