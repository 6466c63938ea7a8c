import io

import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import ADE20K
from opmask.datasets.benchmark.recompression import (
    RECOMPRESSION_QUALITY,
    RECOMPRESSION_SCALES,
    Recompression,
    draw_recompression,
)
from opmask.perturb import Composite, PerturbationRecord, composite, draw, sample_seed
from opmask.perturb.compositing import RGB_ANTIALIASED

NOTHING = PerturbationRecord(0, ())


def made(height=40, width=60, left=20):
    """A grey photo of which the columns from `left` on were made brighter."""
    real = torch.full((3, height, width), 100 / 255)
    region = torch.zeros(1, height, width)
    region[..., left:] = 1
    return Composite(real + region * 100 / 255, real, region, NOTHING)


def noisy(seed=0):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 256, (2, 3, 40, 60), generator=generator)
    region = torch.zeros(1, 40, 60)
    region[:, 10:30, 15:50] = 1
    changed, real = codes / 255
    return Composite(torch.where(region > 0, changed, real), real, region, NOTHING)


def levels(image):
    return (image * 255).round().to(torch.uint8)


def pillow_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def left_of_the_change(before):
    """The share of a change by 100 levels that is left at each pixel; JPEG is off by 1 or 2."""
    after = Recompression(1.0, quality=100)(before)
    return (after.composite - after.real).mean(0) * 255 / 100


def test_a_straight_edge_fades_over_two_pixels_inwards():
    row = torch.tensor([0, 0, 0, 0, 0, 0.2, 0.6, 1, 1, 1, 1, 1])
    left = left_of_the_change(made(9, 12, left=5))
    torch.testing.assert_close(left, row.expand(9, -1), rtol=0, atol=0.025)


def test_regions_do_not_fade_at_the_border_of_the_image():
    left = left_of_the_change(made(4, 5, left=0))
    torch.testing.assert_close(left, torch.ones(4, 5), rtol=0, atol=0.025)


@pytest.mark.parametrize(("width", "share"), [(2, 0.0), (3, 0.2)])
def test_what_is_narrower_than_three_pixels_fades_away(width, share):
    region = torch.zeros(1, 20, 20)
    region[..., 10 : 10 + width] = 1
    real = torch.full((3, 20, 20), 100 / 255)
    left = left_of_the_change(Composite(real + region * 100 / 255, real, region, NOTHING))
    torch.testing.assert_close(left, share * region[0], rtol=0, atol=0.025)


def faded(region):
    """What is left of the change in each pixel, by the formula, pixel by pixel."""
    left = torch.zeros(region.shape, dtype=torch.float64)
    for _, y, x in region.nonzero().tolist():
        around = region[0, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].double()
        left[0, y, x] = max(0.0, 2 * float(around.mean()) - 1)
    return left


def test_the_whole_is_that_of_a_plain_derivation():
    before = noisy()
    got = Recompression(0.75, quality=70)(before)
    fade = faded(before.region)
    real = before.real.double()
    changed = real + fade * (before.composite.double() - real)
    for mine, image in (got.composite, changed), (got.real, real):
        small = torch.nn.functional.interpolate(
            image[None], (30, 45), mode="bilinear", antialias=True
        )[0]
        assert torch.equal(levels(mine), pillow_jpeg(levels(small), 70))
    small = torch.nn.functional.interpolate(fade[None], (30, 45), mode="bilinear", antialias=True)
    assert torch.equal(got.region, (small[0] >= 0.5).float())


def test_samples_are_8_bit_and_keep_their_record():
    got = Recompression(0.6)(noisy())
    assert got.applied == NOTHING
    assert got.composite.dtype == got.real.dtype == got.region.dtype == torch.float32
    for image in got.composite, got.real:
        assert torch.equal(image, levels(image) / 255)
    assert set(got.region.unique().tolist()) == {0, 1}


@pytest.mark.parametrize(("scale", "shape"), [(0.5, (20, 30)), (0.77, (31, 46)), (1, (40, 60))])
def test_sides_are_scaled_and_rounded(scale, shape):
    assert Recompression(scale)(made()).composite.shape == (3, *shape)


def test_no_side_becomes_shorter_than_a_pixel():
    assert Recompression(0.01)(made()).region.shape == (1, 1, 1)


def test_samples_are_resized_at_the_end_as_default_does():
    native, got = Recompression(0.6)(noisy()), Recompression(0.6)(noisy(), size=16)
    parts = levels(native.composite), levels(native.real), native.region
    changed, real, region = RGB_ANTIALIASED.resize(*parts, 16)
    torch.testing.assert_close(got.composite, changed / 255, rtol=0, atol=1e-7)
    torch.testing.assert_close(got.real, real / 255, rtol=0, atol=1e-7)
    assert torch.equal(got.region, region)


def test_far_from_the_region_composite_and_real_stay_equal():
    got = Recompression(0.8)(made(left=40))
    differ = (got.composite != got.real).any(0).any(0).nonzero()
    # The region begins at column 32, which is where a JPEG block does; before it lies one that
    # chroma may reach.
    assert 16 <= differ.min() <= 34


def test_values_out_of_range_are_clipped_before_they_are_mixed():
    wild = made()._replace(composite=made().composite * 9 - 4)
    clipped = wild._replace(composite=wild.composite.clamp(0, 1))
    assert torch.equal(Recompression(0.6)(wild).composite, Recompression(0.6)(clipped).composite)
    wild = made()._replace(real=made().real * 9)
    clipped = wild._replace(real=wild.real.clamp(0, 1))
    assert torch.equal(Recompression(0.6)(wild).composite, Recompression(0.6)(clipped).composite)


@pytest.mark.parametrize("scale", [0, -0.5, 1.01, float("nan")])
def test_scales_out_of_range_are_refused(scale):
    with pytest.raises(ValueError, match=r"'scale' must be in \(0, 1\], got"):
        Recompression(scale)


def test_what_is_no_quality_is_refused():
    with pytest.raises(ValueError, match=r"'quality' must lie in \[1, 100\], got 101"):
        Recompression(0.5, quality=101)


def test_scales_are_drawn_evenly_between_their_bounds():
    assert (RECOMPRESSION_SCALES, RECOMPRESSION_QUALITY) == ((0.5, 0.9), 90)
    scales = [draw_recompression(sample_seed(0, 0, index)).scale for index in range(2000)]
    assert 0.5 <= min(scales) < 0.501
    assert 0.899 < max(scales) <= 0.9
    assert abs(np.mean(scales) - 0.7) < 0.01


def test_the_drawn_recompression_is_part_of_the_format():
    assert draw_recompression(7, 80) == Recompression(0.7181862503403433, 80)


def gradient():
    """A synthetic photo with every level, whose right half is changed as 8-bit filters do it."""
    wave = torch.sin(torch.arange(256) * torch.pi / 40)[:, None] * 60
    real = (torch.arange(128, 384) / 2 + wave + torch.randn(3, 256, 256) * 3).clamp(0, 255).round()
    # Half of the contrast and then twice: every second level is left out.
    changed = (real * 0.5).round() * 2 * 0.75 + 60
    region = torch.zeros(1, 256, 256)
    region[..., 128:] = 1
    parts = torch.where(region > 0, changed.round(), real) / 255, real / 255
    return Composite(*parts, region, NOTHING)


def empty_levels(made):
    """How many levels no pixel of a region has, between those that the most extreme ones have."""
    inside = levels(made.composite)[:, made.region[0] > 0]
    counts = [torch.bincount(channel.long(), minlength=256) for channel in inside]
    spans = [count[int(count.nonzero()[0]) : int(count.nonzero()[-1])] for count in counts]
    return sum(int((span == 0).sum()) for span in spans)


def test_a_comb_of_levels_is_filled():
    before = gradient()
    assert empty_levels(before) > 140  # in three channels
    for scale in RECOMPRESSION_SCALES:
        assert empty_levels(Recompression(scale)(before)) == 0


@pytest.mark.parametrize("scale", [*RECOMPRESSION_SCALES, 1.0])
def test_the_change_begins_over_two_pixels_or_more(scale):
    # Columns, the mean of all rows: the share of the full change at each.
    def profile(composite):
        change = (composite.composite - composite.real).mean((0, 1))
        return change / change[-8:].mean()

    before = made(height=64, width=128, left=64)
    after = Recompression(scale, quality=100)(before)
    assert ((profile(before) > 0.03) & (profile(before) < 0.97)).sum() == 0
    between = (profile(after) > 0.03) & (profile(after) < 0.97)
    assert between.sum() >= 2
    assert float(profile(after).diff().max()) < 0.61


def combed(image, region):
    """The share of levels between the 5th and 95th percentile that few pixels of a region have."""
    shares = []
    for channel in levels(image):
        values = channel[region[0] > 0].long()
        low, high = (int(torch.quantile(values.float(), q)) for q in (0.05, 0.95))
        counts = torch.bincount(values, minlength=256)[low : high + 1].float()
        around = (counts[:-2] + counts[2:]) / 2
        shares.append((counts[1:-1] < around / 4).float())
    return torch.cat(shares).mean()


def test_combs_and_cuts_of_real_photos_vanish(data_root):
    photos = ADE20K(data_root / "scenes", "validation")
    before, after, jumps = [], [], []
    for index in range(6):
        image, label_map, _ = photos[index]
        label_map = torch.ones_like(label_map)
        label_map[:, : label_map.shape[1] // 2] = 0
        plain = composite(image, label_map, draw(label_map, index))
        compressed = Recompression(0.9)(plain)
        before.append(combed(plain.composite, plain.region))
        after.append(combed(compressed.composite, compressed.region))
        jumps.append([jump(plain), jump(compressed)])
    assert np.mean(before) > 10 * np.mean(after)
    plain, compressed = np.median(jumps, axis=0)
    assert compressed < 0.5 * plain


def jump(made):
    """How much the change grows from one pixel to the next across the region's edge."""
    change = (made.composite - made.real).abs().mean(0)
    edge = made.region[0, :, 1:] != made.region[0, :, :-1]
    return float(change.diff(dim=1).abs()[edge].mean() / change[made.region[0] > 0].mean())
