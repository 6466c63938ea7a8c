import pytest
import torch
from reference_unet import ReferenceUNet
from torch import nn

import opmask
from opmask.backbones import AttentionUNet
from opmask.checkpoints.reference import generator_names


def as_published(net: AttentionUNet, depth: int, raw: bool = False) -> nn.Module:
    """The published network with the weights of `net`."""
    width, outputs = net.arguments["width"], net.arguments["out_channels"]
    published, ours = ReferenceUNet(outputs, width, depth, raw), net.state_dict()
    published.load_state_dict({theirs: ours[n] for theirs, n in generator_names(depth).items()})
    return published


@pytest.mark.parametrize(("outputs", "count"), [(6, 39_501_830), (3, 39_498_371)])
def test_it_has_the_published_number_of_parameters(outputs, count):
    with torch.device("meta"):
        net, published = AttentionUNet(out_channels=outputs), ReferenceUNet(outputs)
    assert sum(p.numel() for p in net.parameters()) == count
    assert sum(p.numel() for p in published.parameters()) == count


def test_it_has_the_published_number_of_gate_parameters():
    with torch.device("meta"):
        net = AttentionUNet()
    assert sum(p.numel() for p in net.gates.parameters()) == 344_960


@pytest.mark.parametrize("depth", [5, 6, 8])
@pytest.mark.parametrize("training", [False, True])
def test_it_equals_the_published_network(depth, training):
    net = AttentionUNet(out_channels=3, width=8, depth=depth).train(training)
    published = as_published(net, depth).train(training)
    image = 2 * torch.rand(2, 3, 2**depth, 2 ** (depth + 1)) - 1
    outputs = []
    for network in (net, published):
        torch.manual_seed(1)  # the same dropout, drawn in the same order
        outputs.append(network(image))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


def test_its_skips_are_not_those_that_the_paper_draws():
    net = AttentionUNet(out_channels=3, width=8, depth=5).eval()
    image = 2 * torch.rand(1, 3, 64, 64) - 1
    as_drawn = as_published(net, 5, raw=True).eval()
    assert (net(image) - as_drawn(image)).abs().max() > 0.02


def test_there_is_dropout_between_the_gates_and_the_innermost_level():
    net = AttentionUNet(width=1)
    assert [up[-1].p for up in net.decoder] == [0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0]
    assert [up[-1].p for up in AttentionUNet(width=1, depth=5).decoder] == [0.0] * 4


def test_a_gradient_reaches_every_parameter():
    net = AttentionUNet(width=8, depth=5)
    net(torch.rand(1, 3, 64, 64)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        # A norm takes the bias before it away.
        normalized = name.endswith("bias") and name.split(".")[:2] != ["encoder", "0"]
        assert normalized or parameter.grad.abs().max() > 1e-6, name


def test_biases_without_a_norm_after_them_learn():
    net = AttentionUNet(width=8, depth=5)
    net(torch.rand(1, 3, 64, 64)).square().mean().backward()
    for layer in (net.encoder[0][0], net.encoder[4][0], net.gates[1].conv, net.out[2]):
        assert layer.bias.grad.abs().max() > 1e-6


def test_the_innermost_level_is_idle_on_the_smallest_image():
    net, image = AttentionUNet(width=8, depth=5).eval(), torch.rand(1, 3, 32, 32)
    before = net(image)
    nn.init.normal_(net.encoder[-1][0].weight)
    torch.testing.assert_close(net(image), before, rtol=0, atol=1e-6)


def test_an_image_is_left_as_it_was():
    image = torch.rand(1, 3, 32, 32) - 0.5
    before = image.clone()
    AttentionUNet(width=8, depth=5)(image)
    assert torch.equal(image, before)


@pytest.mark.parametrize("size", [(64, 40), (40, 64), (16, 32)])
def test_a_size_that_is_no_multiple_raises(size):
    with pytest.raises(ValueError, match=r"multiples of 32, got \(\d+, \d+\)\. Wrap the network"):
        AttentionUNet(width=8, depth=5)(torch.rand(1, 3, *size))


def test_a_depth_without_room_for_the_gates_raises():
    with pytest.raises(ValueError, match="'depth' must be at least 5, got 4"):
        AttentionUNet(depth=4)


def test_it_remembers_its_arguments():
    arguments = {"in_channels": 4, "out_channels": 6, "width": 8, "depth": 6}
    assert AttentionUNet(4, 6, width=8, depth=6).arguments == arguments
    assert AttentionUNet(width=1).arguments["depth"] == 8


@pytest.mark.parametrize("depth", [5, 8])
def test_a_mask_head_reads_its_last_convolution(depth):
    net = AttentionUNet(3, 3, width=8, depth=depth)
    model = opmask.OperatorMaskWrapper(net, multiple_of=2**depth)
    assert (model.head.name, model.multiple_of) == ("out.2", 2**depth)
    assert model.unused == ["out.2.weight", "out.2.bias"]
    image = torch.rand(1, 3, 50, 70)
    torch.testing.assert_close(model.eval()(image).image, image, rtol=0, atol=1e-4)


def test_a_wrapper_finds_its_size_multiple():
    model = opmask.OperatorMaskWrapper(AttentionUNet(width=4))
    assert model.multiple_of == 256


def test_a_wrapped_one_trains_on_a_batch_of_one():
    net = AttentionUNet(width=8, depth=5)
    model = opmask.OperatorMaskWrapper(net, head=opmask.OutputHead(), multiple_of=32)
    model.train()(torch.rand(1, 3, 64, 64)).image.mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_real_one_trains_on_one_image():
    net = AttentionUNet()
    output = net(torch.rand(1, 3, 256, 256))
    output.mean().backward()
    assert output.shape == (1, 6, 256, 256)
    assert net.encoder[0][0].weight.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [3, 6])
def test_the_real_one_equals_the_published_network(outputs):
    net, image = AttentionUNet(out_channels=outputs).eval(), 2 * torch.rand(1, 3, 256, 256) - 1
    published = as_published(net, 8).eval()(image)
    ours = net(image)
    if outputs == 6:
        ours[:, 1::2].relu_()  # here the rows are in the published order
    torch.testing.assert_close(ours, published, rtol=0, atol=1e-4)
