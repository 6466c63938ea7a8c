import pytest
import torch
import torch.nn.functional as F

from opmask.operators.smooth import Grid, guided, nodes_of

SIZES = [(1, 1), (1, 9), (2, 3), (7, 5), (33, 64), (100, 41)]


def smooth(maps, nodes):
    grid = Grid(maps, nodes)
    return grid.spread(grid.means(maps))


def gaussian(maps, deviation):
    """The blur of the textbook, tap by tap, of an image that goes on mirrored."""
    reach = int(4 * deviation)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).double() / deviation) ** 2)
    for side in (-1, -2):
        whole = torch.cat([maps.flip(side), maps, maps.flip(side)], side)
        padded = whole.narrow(side, maps.shape[side] - reach, maps.shape[side] + 2 * reach)
        kernel = (taps / taps.sum()).view((1, 1, 1, -1) if side == -1 else (1, 1, -1, 1))
        maps = F.conv2d(padded, kernel)
    return maps


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("nodes", [1, 5, 300])
def test_constants_stay_at_any_size(size, nodes):
    image = torch.full((2, 3, *size), 0.7)
    torch.testing.assert_close(smooth(image, nodes), image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_leaves_its_range(size):
    image = torch.rand(1, 2, *size, dtype=torch.float64)
    for nodes in (1, 5, 300):
        smoothed = smooth(image, nodes)
        assert image.min() - 1e-12 <= smoothed.min() <= smoothed.max() <= image.max() + 1e-12


@pytest.mark.parametrize(("deviation", "size"), [(1.2, 64), (5.0, 200), (12.0, 240)])
def test_it_is_nearly_a_gaussian_of_the_share_that_is_asked_for(deviation, size):
    image = torch.zeros(1, 1, size, size + 31, dtype=torch.float64)
    image[..., size // 2 - 3 :] = 1
    image[..., size // 3 :, :] += 1
    image[..., :9, :9] += 1
    smoothed = smooth(image, nodes_of(deviation / size))
    torch.testing.assert_close(smoothed, gaussian(image, deviation), rtol=0, atol=0.025)


def test_a_small_copy_is_smoothed_like_the_photo():
    photo = F.interpolate(torch.rand(1, 3, 12, 18), size=(256, 384), mode="bicubic")
    shrunk = F.avg_pool2d(smooth(photo, 16), 4)
    torch.testing.assert_close(smooth(F.avg_pool2d(photo, 4), 16), shrunk, rtol=0, atol=0.01)


def test_a_mirrored_image_has_the_mirrored_result():
    image = torch.rand(1, 3, 21, 40, dtype=torch.float64)
    torch.testing.assert_close(smooth(image.flip(-1), 7), smooth(image, 7).flip(-1))
    torch.testing.assert_close(smooth(image.mT, 7), smooth(image, 7).mT)


def test_nodes_never_lie_closer_than_pixels():
    image = torch.rand(1, 1, 16, 24)
    assert torch.equal(smooth(image, 16), smooth(image, 4096))


def test_the_guided_filter_keeps_edges_and_smooths_what_varies_less():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 32:] = 1.0
    noisy = image + 0.02 * torch.randn(1, 1, 64, 64)
    smoothed = guided(noisy, Grid(noisy, 16), 0.1)
    inside = (..., slice(8, 24))
    assert smoothed[inside].std() < 0.3 * noisy[inside].std()
    assert (smoothed - noisy)[..., 30:34].abs().max() < 0.1


def test_the_guided_filter_has_gradients_on_flat_images():
    image = torch.full((1, 3, 9, 9), 0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(guided(image, Grid(image, 4), 0.001).sum(), image)
    assert slope.isfinite().all()
