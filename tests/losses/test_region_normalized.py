import pytest
import torch

from opmask.losses import RegionNormalizedMSE, region_normalized_mse


def region_of(*areas, size=20):
    region = torch.zeros(len(areas), size * size)
    for row, area in zip(region, areas, strict=True):
        row[:area] = 1
    return region.reshape(-1, 1, size, size)


def plain_loop(x, y, region, min_area):
    values = []
    for a, b, r in zip(x.tolist(), y.tolist(), region.tolist(), strict=True):
        total = sum(
            (a[c][h][w] - b[c][h][w]) ** 2 / len(a)
            for c in range(len(a))
            for h in range(len(a[0]))
            for w in range(len(a[0][0]))
        )
        values.append(total / max(sum(map(sum, r[0])), min_area))
    return torch.tensor(values)


def test_each_image_equals_a_plain_loop_with_a_soft_region():
    x, y, region = torch.rand(3, 3, 6, 7), torch.rand(3, 3, 6, 7), torch.rand(3, 1, 6, 7)
    loss = region_normalized_mse(x, y, region, min_area=21.0, reduction="none")
    torch.testing.assert_close(loss, plain_loop(x, y, region, 21.0))


@pytest.mark.parametrize(("area", "divisor"), [(0, 100), (99, 100), (101, 101), (400, 400)])
def test_the_sum_is_divided_by_the_area_but_by_100_pixels_at_least(area, divisor):
    real, region = torch.zeros(1, 3, 20, 20), region_of(area)
    loss = region_normalized_mse(real + 0.5, real, region)
    torch.testing.assert_close(loss, torch.tensor(0.25 * 400 / divisor))


def test_an_error_outside_of_the_region_counts():
    real, region = torch.zeros(1, 3, 20, 20), region_of(200)
    loss = region_normalized_mse(real + 0.1 * (1 - region), real, region)
    torch.testing.assert_close(loss, torch.tensor(0.01))


def test_small_and_large_regions_count_alike():
    real, region = torch.zeros(2, 3, 20, 20), region_of(100, 300)
    loss = region_normalized_mse(real + 0.1 * region, real, region, reduction="none")
    torch.testing.assert_close(loss, torch.tensor([0.01, 0.01]))


def test_the_reduction_is_over_the_images():
    x, y, region = torch.rand(2, 3, 20, 20), torch.rand(2, 3, 20, 20), region_of(150, 300)
    each = region_normalized_mse(x, y, region, reduction="none")
    torch.testing.assert_close(region_normalized_mse(x, y, region), each.mean())
    total = region_normalized_mse(x, y, region, reduction="sum")
    torch.testing.assert_close(total, each.sum())


def test_a_bool_region_is_a_region_of_ones():
    x, y, region = torch.rand(2, 3, 20, 20), torch.rand(2, 3, 20, 20), region_of(150, 300)
    expected = region_normalized_mse(x, y, region)
    torch.testing.assert_close(region_normalized_mse(x, y, region.bool()), expected)


def test_gradients_are_right():
    x, y = torch.rand(2, 2, 3, 4, 3, dtype=torch.float64)
    region = torch.rand(2, 1, 4, 3, dtype=torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: region_normalized_mse(x, y, region, 3.0), x)


def test_the_module_is_the_function_with_its_settings():
    x, y, region = torch.rand(2, 3, 20, 20), torch.rand(2, 3, 20, 20), region_of(50, 300)
    torch.testing.assert_close(
        RegionNormalizedMSE()(x, y, region), region_normalized_mse(x, y, region)
    )
    expected = region_normalized_mse(x, y, region, 7.0, "none")
    torch.testing.assert_close(RegionNormalizedMSE(7.0, "none")(x, y, region), expected)


def test_the_module_prints_its_settings():
    expected = "RegionNormalizedMSE(min_area=7.0, reduction='sum')"
    assert repr(RegionNormalizedMSE(7.0, "sum")) == expected


@pytest.mark.parametrize("shape", [(2, 20, 20), (2, 3, 20, 20), (1, 1, 20, 20), (2, 1, 20, 19)])
def test_a_region_of_another_shape_is_refused(shape):
    image = torch.zeros(2, 3, 20, 20)
    with pytest.raises(ValueError, match=r"must have shape \(2, 1, 20, 20\) to fit the input"):
        region_normalized_mse(image, image, torch.zeros(shape))


def test_an_image_without_a_batch_is_refused():
    image = torch.zeros(3, 20, 20)
    with pytest.raises(ValueError, match=r"'input' must have shape \(B, C, H, W\), got \(3, 2"):
        region_normalized_mse(image, image, torch.zeros(3, 1, 20))


def test_an_8_bit_region_is_refused():
    image, region = torch.zeros(1, 3, 20, 20), 255 * region_of(50).byte()
    with pytest.raises(TypeError, match=r"'region' must be bool or .* Divide .* by 255"):
        region_normalized_mse(image, image, region)


def test_different_or_8_bit_images_are_refused():
    image, region = torch.zeros(1, 3, 20, 20), region_of(50)
    with pytest.raises(ValueError, match="'target' must have the shape of 'input'"):
        region_normalized_mse(image, image[..., :10], region)
    with pytest.raises(TypeError, match="Divide 8-bit images by 255"):
        region_normalized_mse(image.byte(), image, region)


@pytest.mark.parametrize(
    ("settings", "match"),
    [((0.0, "mean"), "'min_area' must be positive, got 0.0"), ((1.0, "max"), "got 'max'")],
)
def test_bad_settings_are_refused(settings, match):
    image, region = torch.zeros(1, 3, 20, 20), region_of(50)
    with pytest.raises(ValueError, match=match):
        region_normalized_mse(image, image, region, *settings)
    with pytest.raises(ValueError, match=match):
        RegionNormalizedMSE(*settings)
