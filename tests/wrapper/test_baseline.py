import pytest
import torch
from torch import nn

from opmask import DirectRGB


def test_the_network_works_between_minus_one_and_one():
    image = torch.rand(2, 3, 20, 24)
    model = DirectRGB(nn.Conv2d(3, 3, 1))
    expected = (model.backbone(2 * image - 1) + 1) / 2
    torch.testing.assert_close(model(image).image, expected.clamp(0, 1))
    assert model(image).masks == {}


def test_the_output_is_clamped_with_a_gradient():
    model, image = DirectRGB(nn.Conv2d(3, 3, 1)), torch.rand(1, 3, 16, 16)
    nn.init.constant_(model.backbone.bias, 9.0)
    output = model(image).image
    output.sum().backward()
    assert output.unique().tolist() == [1.0]
    torch.testing.assert_close(model.backbone.bias.grad, torch.full((3,), 128.0))


def test_sizes_are_padded_and_cropped_back():
    sizes = []
    net = nn.Conv2d(4, 3, 1)
    net.register_forward_hook(lambda _, inputs, output: sizes.append(inputs[0].shape))
    model = DirectRGB(net, region=True, multiple_of=32)
    image, region = torch.rand(1, 3, 40, 50), torch.rand(1, 1, 40, 50)
    assert model(image, region).image.shape == image.shape
    assert sizes == [(1, 4, 64, 64)]


def test_an_absent_region_is_minus_one():
    net = nn.Conv2d(4, 3, 1)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    with torch.no_grad():
        net.weight[:, 3] = 1
    model, image = DirectRGB(net, region=True), torch.rand(1, 3, 16, 16)
    assert model(image).image.unique().tolist() == [0]
    assert model(image, torch.ones(1, 1, 16, 16)).image.unique().tolist() == [1]


def test_a_blind_baseline_refuses_a_region():
    with pytest.raises(ValueError, match="this model is blind"):
        DirectRGB(nn.Conv2d(3, 3, 1))(torch.rand(1, 3, 16, 16), torch.rand(1, 1, 16, 16))


def test_a_multiple_below_one_raises():
    with pytest.raises(ValueError, match="'multiple_of' must be at least 1, got 0"):
        DirectRGB(nn.Conv2d(3, 3, 1), multiple_of=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_an_image_of_another_precision_is_cast_for_the_network(dtype):
    model, image = DirectRGB(nn.Conv2d(3, 3, 1)), torch.rand(1, 3, 16, 16).to(dtype)
    torch.testing.assert_close(model(image).image, model(image.float()).image)
    assert model.to(dtype)(image.float()).image.dtype == torch.promote_types(dtype, torch.float32)


def test_an_empty_batch_raises():
    with pytest.raises(ValueError, match="'image' must hold at least one image"):
        DirectRGB(nn.Conv2d(3, 3, 1))(torch.rand(0, 3, 16, 16))


def test_a_network_may_work_between_zero_and_one():
    image, net = torch.rand(2, 3, 20, 24), nn.Conv2d(3, 3, 1)
    output = DirectRGB(net, centered=False)(image).image
    torch.testing.assert_close(output, net(image).clamp(0, 1))


def test_what_is_painted_is_pasted_by_the_region():
    image, net = torch.rand(2, 3, 20, 24), nn.Conv2d(4, 3, 1)
    region = torch.rand(2, 1, 20, 24).round()
    painted = DirectRGB(net, region=True)(image, region).image
    pasted = DirectRGB(net, region=True, paste="always")(image, region).image
    torch.testing.assert_close(pasted, region * painted + (1 - region) * image)
    assert torch.equal(
        pasted[(region == 0).expand_as(image)], image[(region == 0).expand_as(image)]
    )


def test_where_the_region_is_unknown_all_is_painted():
    image, net = torch.rand(1, 3, 16, 16), nn.Conv2d(4, 3, 1)
    model, unknown = DirectRGB(net, region=True, paste="always"), -torch.ones(1, 1, 16, 16)
    assert torch.equal(model(image).image, DirectRGB(net, region=True)(image).image)
    torch.testing.assert_close(model(image, unknown).image, model(image).image)


def test_a_network_may_be_trained_on_all_that_it_paints():
    image, region = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    model = DirectRGB(nn.Conv2d(4, 3, 1), region=True, paste="evaluation")
    assert not torch.equal(model(image, region).image, image)
    assert torch.equal(model.eval()(image, region).image, image)


@pytest.mark.parametrize(
    ("paste", "message"),
    [("always", "'never' without a region, got 'always'"), ("soft", "one of never, evaluation")],
)
def test_pasting_that_cannot_be_is_refused(paste, message):
    with pytest.raises(ValueError, match=f"'paste' must be {message}"):
        DirectRGB(nn.Conv2d(3, 3, 1), paste=paste)
