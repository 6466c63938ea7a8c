import copy

import pytest
import torch

from opmask.backbones import DIRL


def test_its_maps_have_the_size_of_the_image():
    maps = (
        DIRL(width=4, channels=8)(torch.rand(2, 3, 48, 80)),
        *DIRL(width=4).maps(torch.rand(2, 3, 48, 80)),
    )
    assert [tuple(found.shape) for found in maps] == [(2, 1, 48, 80)] * 7
    assert all(0 <= found.min() < found.max() <= 1 for found in maps)


def test_more_channels_than_colours_are_taken_as_they_are():
    network, image = DIRL(4, width=4, channels=8).eval(), torch.rand(1, 4, 32, 32)
    seen = []
    network.encoder.stem.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(image)
    assert torch.equal(seen[0][:, 3:], image[:, 3:])
    assert not torch.equal(seen[0][:, :3], image[:, :3])


def test_all_maps_together_give_a_gradient_to_every_parameter_in_use():
    network = DIRL(width=4, channels=8)
    torch.stack(network.maps(torch.rand(2, 3, 64, 64))).square().sum().backward()
    learning = [p for p in network.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learning)
    unused = set(network.decoder.unused.parameters())
    assert set(network.parameters()) - set(learning) == unused


@pytest.mark.slow
def test_it_is_copied_compiled_exported_and_halved():
    network = copy.deepcopy(DIRL(width=4, channels=8)).eval()
    image = torch.rand(1, 3, 64, 96)
    wanted = network(image)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(image), wanted)
    torch.testing.assert_close(torch.export.export(network, (image,)).module()(image), wanted)
    halved = network.bfloat16()(image.bfloat16())
    torch.testing.assert_close(halved.float(), wanted, rtol=0, atol=0.05)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match="multiples of 16, got"):
        DIRL(width=4)(torch.rand(1, 3, 60, 64))


def test_8_bit_and_grey_images_are_refused():
    with pytest.raises(TypeError, match="Divide 8-bit values by 255"):
        DIRL(width=4)(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"'image' must have shape \(B, 3, H, W\), got \(1, 1"):
        DIRL(width=4)(torch.rand(1, 1, 64, 64))
