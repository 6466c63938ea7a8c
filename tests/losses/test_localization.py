import math

import pytest
import torch

from opmask.backbones import DIRL
from opmask.losses import LocalizationLoss, localization_loss

REGION = (torch.rand(2, 1, 14, 17, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def windows(image, h, w):
    """The pixels around one, each with its weight; those beyond the edge are 0."""
    pixels = []
    for dy in range(-5, 6):
        for dx in range(-5, 6):
            within = 0 <= h + dy < image.shape[0] and 0 <= w + dx < image.shape[1]
            value = image[h + dy, w + dx].item() if within else 0.0
            pixels.append((math.exp(-(dy**2 + dx**2) / 4.5), value))
    return pixels


def similarity(x, y):
    values = []
    for h in range(x.shape[0]):
        for w in range(x.shape[1]):
            a, b = windows(x, h, w), windows(y, h, w)
            total = sum(weight for weight, _ in a)
            ma, mb = (sum(k * v for k, v in p) / total for p in (a, b))
            va, vb = (sum(k * v * v for k, v in p) / total - m * m for p, m in ((a, ma), (b, mb)))
            pairs = zip(a, b, strict=True)
            cov = sum(k * v * u for (k, v), (_, u) in pairs) / total - ma * mb
            bright = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
            values.append(bright * (2 * cov + 9e-4) / (va + vb + 9e-4))
    return sum(values) / len(values)


def test_the_loss_equals_plain_loops():
    found, expected = torch.rand(2, 1, 14, 17), 0.0
    for p, r in zip(found[:, 0], REGION[:, 0], strict=True):
        pairs = list(zip(p.flatten().tolist(), r.flatten().tolist(), strict=True))
        entropy = -sum(math.log(a if b else 1 - a) for a, b in pairs) / len(pairs)
        both = sum(a * b for a, b in pairs)
        overlap = both / (sum(a + b for a, b in pairs) - both)
        expected += (entropy + 1 - similarity(p, r) + 1 - overlap) / 2
    assert localization_loss(found, REGION).item() == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_several_maps_is_the_sum():
    maps = [torch.rand_like(REGION) for _ in range(3)]
    total = sum(localization_loss(found, REGION) for found in maps)
    torch.testing.assert_close(LocalizationLoss()(maps, REGION), total)


def test_a_region_found_whole_costs_nothing_and_one_that_is_missed_most():
    assert localization_loss(REGION, REGION.bool()).item() == pytest.approx(0, abs=1e-6)
    assert localization_loss(1 - REGION, REGION) > 100  # the logarithm is cut at -100


def test_nothing_found_of_nothing_is_right():
    zeros = torch.zeros_like(REGION).requires_grad_()
    loss = localization_loss(zeros, torch.zeros_like(REGION))
    loss.backward()
    assert loss.item() == 0
    assert zeros.grad.isfinite().all()


def test_half_precision_and_autocast_cost_the_same():
    found = torch.rand_like(REGION).bfloat16()
    wanted = localization_loss(found.float(), REGION)
    with torch.autocast("cpu", torch.bfloat16):
        loss = localization_loss(found, REGION)
    torch.testing.assert_close(loss, wanted)


@pytest.mark.slow
def test_a_dirl_learns_the_region_by_all_its_maps():
    torch.manual_seed(0)
    network, image = DIRL(width=8, channels=8), torch.rand(2, 3, 32, 48)
    region = torch.zeros(2, 1, 32, 48)
    region[:, :, 8:24, 10:30] = 1
    image = image * (1 - 0.7 * region)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = localization_loss(network.maps(image), region)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        ([], ValueError, "'maps' must hold at least one map"),
        (REGION.byte(), TypeError, "'maps' must be floating point maps"),
        (REGION.expand(2, 3, 14, 17), ValueError, "'maps' must have shape"),
        (REGION[..., :5], ValueError, "'region' must have shape"),
    ],
)
def test_what_is_no_map_is_refused(maps, error, message):
    with pytest.raises(error, match=message):
        localization_loss(maps, REGION)
