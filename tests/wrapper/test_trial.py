import io
import warnings

import pytest
import torch
from torch import nn
from zoo import (
    Codec,
    CropsByTensors,
    Fixed,
    GroupNormed,
    NeedsTime,
    OneAtATime,
    OwnLayers,
    PadsShort,
    Plain,
    SquareOnly,
    Stacked,
)

from opmask import OperatorMaskWrapper


@pytest.mark.parametrize("example", [None, torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 96)])
def test_a_map_that_is_higher_than_the_image_is_refused(example):
    with pytest.raises(ValueError, match=r"it maps 64x\d+ pixels to 128x\d+, no wh"):
        OperatorMaskWrapper(Stacked(), example=example)


def test_a_size_that_was_found_to_be_the_only_one_is_reported():
    with pytest.warns(UserWarning, match="SquareOnly takes 224x224 pixels and no other size that"):
        model = OperatorMaskWrapper(SquareOnly())
    assert model.size == (224, 224)


def test_a_size_that_the_user_has_named_is_not_reported():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OperatorMaskWrapper(SquareOnly(), example=torch.rand(2, 3, 96, 96))
        OperatorMaskWrapper(SquareOnly(), size=96)


@pytest.mark.parametrize("size", [96, (96, 96)])
def test_the_size_at_which_a_network_is_to_run_is_tried(size):
    model = OperatorMaskWrapper(Fixed(96), size=size).eval()
    assert model.size == model.size_rule.fixed == (96, 96)
    assert model(torch.rand(1, 3, 50, 70)).image.shape == (1, 3, 50, 70)


@pytest.mark.parametrize("kind", [PadsShort, GroupNormed])
@pytest.mark.parametrize("size", [(16, 16), (17, 24), (33, 17), (24, 60)])
def test_a_single_small_image_runs_through_networks_that_want_more(kind, size):
    model = OperatorMaskWrapper(kind()).eval()
    assert model(torch.rand(1, 3, *size)).image.shape == (1, 3, *size)


def test_a_network_for_one_image_at_a_time_is_wrapped_and_reported():
    with pytest.warns(UserWarning, match="OneAtATime takes one image at a time"):
        model = OperatorMaskWrapper(OneAtATime())
    model(torch.rand(1, 3, 40, 40)).image.sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OperatorMaskWrapper(OneAtATime(), example=torch.rand(1, 3, 64, 96))


def test_a_wrong_call_ends_the_trial_when_it_comes_again():
    net, runs = NeedsTime(), []
    net.register_forward_pre_hook(lambda *_: runs.append(1))
    with pytest.raises(ValueError, match=r"Pass call= how to call it, as call\(backbone, input\)"):
        OperatorMaskWrapper(net)
    assert len(runs) == 2


def test_layers_of_a_class_of_their_own_are_found():
    model = OperatorMaskWrapper(OwnLayers()).train()
    assert model.head.name == "out"
    model(torch.rand(2, 3, 32, 32)).image.sum().backward()
    assert model.backbone.first.weight.grad is not None
    assert model.unused == ["out.weight"]


def test_layers_of_a_known_class_come_first():
    assert OperatorMaskWrapper(nn.Sequential(OwnLayers(), Plain())).head.name == "1.out"


def test_what_is_as_large_as_the_image_is_the_output():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = OperatorMaskWrapper(Codec())
    assert model.head.name == "out"
    assert [name for name in model.unused if "likelihood" in name]


# PyTorch 2.7 warns of constants that it has made itself.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*get_attr:UserWarning")
def test_a_network_whose_sizes_an_exporter_cannot_know_exports_wrapped_too():
    model, image, file = (
        OperatorMaskWrapper(CropsByTensors()).eval(),
        torch.rand(1, 3, 64, 64),
        io.BytesIO(),
    )
    nn.init.normal_(model.head.layer.weight)
    torch.export.export(model.backbone, (image,))
    torch.export.save(torch.export.export(model, (image,)), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    torch.testing.assert_close(loaded(image).image, model(image).image)
