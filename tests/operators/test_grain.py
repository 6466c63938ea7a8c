import pytest
import torch
import torch.nn.functional as F

from opmask.operators import Grain


def apply(operator, image, value):
    return operator(image, torch.full_like(image[:, :1], value))


def test_grain_has_the_strength_that_the_mask_says():
    grainy = apply(Grain(size=0.02), torch.full((1, 3, 512, 512), 0.5), 0.1)
    assert grainy[:, 0].std().item() == pytest.approx(0.1, rel=0.1)
    assert grainy[:, 0].mean().item() == pytest.approx(0.5, abs=0.01)
    assert (grainy[:, 1:] == 0.5).all()


@pytest.mark.parametrize("lightness", [0.0, 1.0, -0.2, 1.2])
def test_black_and_white_have_no_grain(lightness):
    image = torch.full((1, 3, 64, 64), lightness)
    assert torch.equal(apply(Grain(), image, 0.1), image)


def test_grain_of_a_photo_becomes_that_of_its_small_copy():
    large, small = (
        apply(Grain(seed=3), torch.full((1, 3, *size), 0.5), 0.1)
        for size in ((512, 768), (64, 96))
    )
    torch.testing.assert_close(F.avg_pool2d(large, 8), small, rtol=0, atol=1e-4)


def test_grain_is_that_of_its_seed():
    fields = [apply(Grain(seed=seed), torch.full((1, 3, 32, 32), 0.5), 0.1) for seed in (1, 1, 2)]
    assert torch.equal(fields[0], fields[1])
    assert (fields[0] - fields[2]).abs().max() > 0.01
