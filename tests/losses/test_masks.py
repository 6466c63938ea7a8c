import math

import pytest
import torch
from torch import nn

from opmask.losses import (
    MaskSparsity,
    MaskSupervision,
    MaskTotalVariation,
    RegionSupervision,
    mask_sparsity,
    mask_supervision,
    mask_total_variation,
    region_supervision,
)


@pytest.fixture
def masks():
    return {name: torch.randn(2, 1, 5, 7) for name in ("l_mul", "l_add")}


def close(value, expected):
    torch.testing.assert_close(float(value), float(expected), rtol=1e-5, atol=1e-7)


def test_total_variation_equals_a_plain_loop_over_neighbours(masks):
    down, right = [], []
    for mask in masks.values():
        for image in mask[:, 0].tolist():
            down += [abs(image[h + 1][w] - image[h][w]) for h in range(4) for w in range(7)]
            right += [abs(image[h][w + 1] - image[h][w]) for h in range(5) for w in range(6)]
    close(mask_total_variation(masks), sum(down) / len(down) + sum(right) / len(right))


def test_total_variation_is_the_same_from_the_identity(masks):
    shifted = {name: mask - 1 for name, mask in masks.items()}
    close(mask_total_variation(shifted), mask_total_variation(masks))


def test_sparsity_equals_a_plain_loop(masks):
    identity = {"l_add": 0.0, "l_mul": 1.0}
    values = [abs(v - identity[n]) for n, mask in masks.items() for v in mask.flatten().tolist()]
    close(mask_sparsity(masks, identity), sum(values) / len(values))


def test_masks_at_the_identity_cost_nothing():
    masks = {"l_mul": torch.ones(1, 1, 4, 4), "l_add": torch.zeros(1, 1, 4, 4)}
    assert mask_sparsity(masks, {"l_mul": 1.0, "l_add": 0.0}) == 0
    assert mask_total_variation(masks) == 0
    assert mask_supervision(masks, dict(masks)) == 0


def test_mask_supervision_equals_a_plain_loop_in_any_order_of_names(masks):
    fitted = {name: torch.randn(2, 1, 5, 7) for name in ("l_add", "l_mul")}
    pairs = [zip(m.flatten(), fitted[n].flatten(), strict=True) for n, m in masks.items()]
    values = [abs(float(a - b)) for pair in pairs for a, b in pair]
    close(mask_supervision(masks, fitted), sum(values) / len(values))


def test_mask_supervision_teaches_the_masks_and_not_their_targets(masks):
    leaf = {name: mask.clone().requires_grad_() for name, mask in masks.items()}
    fitted = {name: torch.zeros_like(mask).requires_grad_() for name, mask in masks.items()}
    mask_supervision(leaf, fitted).backward()
    for name, mask in leaf.items():
        torch.testing.assert_close(mask.grad, masks[name].sign() / 140)
        assert fitted[name].grad is None


def test_region_supervision_equals_a_plain_loop():
    image, composite, region = (
        torch.rand(2, 3, 4, 5),
        torch.rand(2, 3, 4, 5),
        torch.rand(2, 1, 4, 5),
    )
    total = 0.0
    for b in range(2):
        for h in range(4):
            for w in range(5):
                c = max(abs(float(image[b, k, h, w] - composite[b, k, h, w])) for k in range(3))
                p, r = (c + 0.03) / (c + 0.03 + 0.13), float(region[b, 0, h, w])
                total -= r * math.log(p) + (1 - r) * math.log(1 - p)
    close(region_supervision(image, composite, region, 0.1, 0.03), total / 40)


def test_a_change_by_the_threshold_of_the_iou_is_undecided():
    composite = torch.zeros(1, 3, 4, 4)
    for region in (torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)):
        close(region_supervision(composite + 4 / 255, composite, region), math.log(2))


def test_region_supervision_wants_change_inside_and_none_outside():
    image = torch.full((1, 3, 1, 2), 0.52, requires_grad=True)
    region = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    region_supervision(image, torch.full((1, 3, 1, 2), 0.5), region).backward()
    inside, outside = image.grad.sum((0, 1, 2))
    assert inside < 0 < outside


def test_the_gradient_of_region_supervision_is_bounded_where_nothing_changed_yet():
    image = torch.full((1, 3, 1, 1), 0.5 + 1e-6, requires_grad=True)
    composite = torch.full((1, 3, 1, 1), 0.5)
    region_supervision(image, composite, torch.ones(1, 1, 1, 1)).backward()
    assert 100 < image.grad.abs().sum() < 255


def test_a_region_may_be_bool():
    image, composite = torch.rand(2, 1, 3, 4, 4).unbind()
    region = torch.rand(1, 1, 4, 4) > 0.5
    close(
        region_supervision(image, composite, region),
        region_supervision(image, composite, region.float()),
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: mask_total_variation({}), ValueError, "'masks' must hold at least one mask"),
        (lambda m: mask_total_variation({**m, "x": m["l_add"][:1]}), ValueError, "one shape"),
        (lambda m: mask_sparsity(m, {"l_add": 0.0}), KeyError, "'identity' must have exactly"),
        (lambda m: mask_supervision(m, {}), KeyError, "'fitted' must have exactly the names"),
        (
            lambda m: mask_supervision(m, {n: x[:1] for n, x in m.items()}),
            ValueError,
            r"'fitted' must have the shape of 'masks', \(2, 1, 5, 7\), got \(1, 1, 5, 7\)",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, call, error, message):
    with pytest.raises(error, match=message):
        call(masks)


@pytest.mark.parametrize("name", ["threshold", "softness"])
def test_constants_must_be_positive(name):
    image, region = torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    with pytest.raises(ValueError, match=f"'{name}' must be positive, got 0"):
        region_supervision(image, image, region, **{name: 0.0})
    with pytest.raises(ValueError, match=f"'{name}' must be positive, got 0"):
        RegionSupervision(**{name: 0.0})


def test_shapes_and_types_of_images_are_checked():
    image = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match="'target' must have the shape of 'input'"):
        region_supervision(image, image[..., :2], torch.ones(1, 1, 4, 4))
    with pytest.raises(ValueError, match="'region' must have shape"):
        region_supervision(image, image, torch.ones(1, 4, 4))


def test_modules_are_the_functions_with_settings(masks):
    identity = {"l_add": 0.25, "l_mul": 0.5}
    image, composite = torch.rand(2, 1, 3, 4, 4).unbind()
    region = torch.rand(1, 1, 4, 4)
    modules: list[tuple[nn.Module, tuple, torch.Tensor]] = [
        (MaskTotalVariation(), (masks,), mask_total_variation(masks)),
        (MaskSparsity(identity), (masks,), mask_sparsity(masks, identity)),
        (MaskSupervision(), (masks, masks), mask_supervision(masks, masks)),
        (
            RegionSupervision(0.1, 0.2),
            (image, composite, region),
            region_supervision(image, composite, region, 0.1, 0.2),
        ),
    ]
    for module, arguments, expected in modules:
        torch.testing.assert_close(module(*arguments), expected)
