import itertools
import weakref

import pytest
import torch
from PIL import Image

from opmask import Calibration, DirectRGB, OperatorMaskWrapper
from opmask.backbones import SmallUNet
from opmask.inference import harmonize
from opmask.inference.video import (
    Moment,
    camera_step,
    harmonize_frames,
    is_cut,
    named_masks,
    shifted,
    smooth_masks,
)


def moments(count, seed=0, noise=0.0, masks=None):
    """One picture, with masks that are noise unless they are given."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 32, 48, generator=generator)
    for _ in range(count):
        grain = noise * torch.randn(1, 3, 32, 48, generator=generator)
        drawn = torch.randn(1, 2, 32, 48, generator=generator) if masks is None else masks
        yield Moment(small + grain, drawn)


def test_constant_masks_stay_to_the_bit():
    masks = torch.randn(1, 2, 32, 48)
    for smoothed in smooth_masks(moments(9, noise=0.01, masks=masks)):
        assert torch.equal(smoothed, masks)


def test_where_the_picture_stands_still_it_is_the_mean_of_the_window():
    found = torch.cat([*smooth_masks(moments(8), lag=2)])
    given = torch.cat([moment.masks for moment in moments(8)])
    for i in range(8):
        torch.testing.assert_close(found[i], given[max(0, i - 2) : i + 3].mean(0))


def test_without_lag_masks_stay():
    for found, given in zip(smooth_masks(moments(4), lag=0), moments(4), strict=True):
        assert torch.equal(found, given.masks)


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_masks_come_a_lag_late_and_all_come(lag):
    read = []
    source = (read.append(i) or moment for i, moment in enumerate(moments(9)))
    smoothed = smooth_masks(source, lag=lag)
    next(smoothed)
    assert len(read) == lag + 1
    assert 1 + len(list(smoothed)) == 9


def test_no_mean_reaches_across_a_cut():
    dark = [Moment(0.2 * m.small, m.masks) for m in moments(4)]
    light = [Moment(0.2 * m.small + 0.8, m.masks) for m in moments(5, seed=1)]
    together = [*smooth_masks(dark + light)]
    apart = [*smooth_masks(dark), *smooth_masks(light)]
    assert len(together) == 9
    assert all(map(torch.equal, together, apart))


def test_a_cut_is_seen_and_a_pan_is_none():
    scene = torch.rand(1, 3, 8, 40).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert not is_cut(scene[..., :256], scene[..., 4:260])
    assert is_cut(scene[..., :256], 1 - scene[..., :256] ** 4)


def test_windows_are_all_that_is_held():
    alive = weakref.WeakSet()

    def source():
        for moment in moments(40):
            alive.add(fresh := torch.clone(moment.masks))
            yield Moment(moment.small, fresh)
            del fresh

    assert max(len(alive) for _ in smooth_masks(source(), lag=2)) <= 6


@pytest.mark.parametrize("step", [(0, 5), (3, -4), (-2, 0), (0, 0)])
def test_masks_move_with_the_camera(step):
    scene, masks = torch.rand(1, 3, 80, 120), torch.rand(1, 2, 80, 120)
    before, after = (
        [maps[..., y : y + 60, x : x + 90] for maps in (scene, masks)]
        for y, x in ((10, 10), (10 - step[0], 10 - step[1]))
    )
    assert camera_step(before[0], after[0]) == step
    inner = shifted(after[1], step)[..., 6:-6, 6:-6]
    assert torch.equal(inner, before[1][..., 6:-6, 6:-6])


def test_what_moves_by_itself_keeps_its_own_masks():
    still, moved = torch.rand(1, 3, 32, 48).repeat(2, 1, 1, 1).split(1)
    moved = moved.clone()
    moved[..., 8:24, 8:24] = 1 - moved[..., 8:24, 8:24].round()
    pair = [Moment(still, torch.zeros(1, 1, 32, 48)), Moment(moved, torch.ones(1, 1, 32, 48))]
    first = next(smooth_masks(pair))
    assert first[..., 12:20, 12:20].max() < 0.01
    torch.testing.assert_close(first[..., 30:], torch.full((1, 1, 32, 18), 0.5))


def test_what_is_confined_stays_at_its_identity():
    identity = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    many = [*moments(5)]
    for moment in many:
        moment.masks[..., :20] = identity
    many[2].masks[..., :30] = identity
    third = [*smooth_masks(many, confined=identity)][2]
    assert (third[..., :30] == identity).all()
    assert (third[..., 30:] != many[2].masks[..., 30:]).any()


def test_masks_as_they_act_retouch_as_the_gated_ones(gated_model):
    image = torch.rand(1, 3, 32, 48)
    masks = gated_model.predict(image, -torch.ones(1, 1, 32, 48))
    acting = torch.cat([*gated_model.retoucher.effective(masks).values()], 1)
    found = gated_model.retoucher(image, named_masks(gated_model.retoucher, acting))
    torch.testing.assert_close(found, gated_model.retoucher(image, masks))


def clip(photo, count=5):
    return [photo[:, :, i : i + 150] for i in range(count)]


def test_one_frame_is_harmonized_like_a_photo(gated_model, photo):
    [found] = harmonize_frames(gated_model, [photo])
    wanted = harmonize(gated_model, photo)
    assert (found.int() - wanted.int()).abs().float().mean() < 0.5


@pytest.mark.parametrize("kind", ["tensor", "array", "picture"])
def test_frames_come_back_as_they_came(gated_model, photo, kind):
    arrays = [frame.permute(1, 2, 0).numpy() for frame in clip(photo)]
    kinds = {"tensor": clip(photo), "array": arrays, "picture": [*map(Image.fromarray, arrays)]}
    found = [*harmonize_frames(gated_model, iter(kinds[kind]))]
    assert len(found) == 5
    for before, after in zip(kinds[kind], found, strict=True):
        assert type(after) is type(before)


def test_outside_the_region_pixels_stay_to_the_bit(gated_model, photo):
    region = torch.zeros(120, 150)
    region[40:80, 50:100] = 1
    found = [*harmonize_frames(gated_model, clip(photo), regions=itertools.repeat(region))]
    for before, after in zip(clip(photo), found, strict=True):
        assert torch.equal(after[:, :30], before[:, :30])
        assert not torch.equal(after, before)


def test_boxes_in_clips_are_trusted_as_in_photos_but_not_refined(gated_model, photo):
    box, disc = torch.zeros(120, 150), torch.zeros(120, 150)
    box[40:80, 50:100] = 1
    down, across = torch.meshgrid(torch.arange(120) - 60, torch.arange(150) - 75, indexing="ij")
    disc[torch.hypot(down.float(), across.float()) < 30] = 1
    gated_model.calibration = Calibration(0.0, (0.5,), (0.0,), refines=True, told=0.9, rough=0.5)
    [frame] = clip(photo, 1)
    for region, strength in (box, 0.5), (disc, 0.9):
        [found] = harmonize_frames(gated_model, [frame], regions=[region])
        wanted = harmonize(gated_model, frame, region=region, refine=False, strength=strength)
        assert (found.int() - wanted.int()).abs().float().mean() < 0.2
        other = harmonize(gated_model, frame, region=region, refine=False, strength=1.4 - strength)
        assert (found.int() - other.int()).abs().float().mean() > 0.5


def test_what_does_not_fit_is_refused(gated_model, photo):
    with pytest.raises(ValueError, match=r"'lag' must be at least 0, got -1\."):
        next(harmonize_frames(gated_model, [photo], lag=-1))
    with pytest.raises(ValueError, match=r"'frames' must have one size, got \(120, 200\) and"):
        list(harmonize_frames(gated_model, [photo, photo[:, 1:]]))
    with pytest.raises(ValueError, match=r"'regions' must be one for each frame, got 1\."):
        list(harmonize_frames(gated_model, [photo] * 2, regions=[torch.ones(120, 200)]))


def test_a_model_that_it_cannot_take_is_refused_before_frames_are_read(photo):
    without_masks = DirectRGB(SmallUNet(width=8))
    with pytest.raises(TypeError, match="'model' must be an OperatorMaskWrapper, got DirectRGB"):
        next(harmonize_frames(without_masks, iter(lambda: 1 / 0, None)))
    blind = OperatorMaskWrapper(SmallUNet(width=8))
    with pytest.raises(ValueError, match="'region' must be None for a blind model"):
        next(harmonize_frames(blind, [photo], regions=[torch.ones(120, 200)]))
