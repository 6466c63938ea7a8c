from dataclasses import replace

import pytest
import torch
from torch import nn

import opmask
from opmask import RGB, Add, Calibration, Edit, Gated, OperatorMaskWrapper, OutputHead, Retoucher
from opmask.files.regions import boxes_region
from opmask.inference import grabcut
from opmask.inference.refine import BRIDGE, is_rough, joined, refined_region

REFINES = Calibration(0.5, (0.5,), (1.0,), refines=True)


class FindsBlue(nn.Module):
    """Adds to red all over, behind a gate that is open where the photo is blue."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(2.0))
        self.regions = []

    def forward(self, x):
        self.regions.append(x[:, 3:].clone())
        return torch.cat([self.logit.expand(len(x), 1, *x.shape[2:]), 40 * x[:, 2:3] - 20], 1)


def finder(calibration=REFINES):
    retoucher = Retoucher(Gated(Add(RGB, "r")))
    model = OperatorMaskWrapper(FindsBlue(), retoucher, region=True, head=OutputHead())
    model.calibration = calibration
    model.backbone.regions.clear()  # of the probing passes
    return model.eval()


def photo():
    """Black with a blue disc, and its place."""
    place = torch.cartesian_prod(torch.arange(64.0), torch.arange(64.0)) - 30
    disc = (place.norm(dim=1) < 12).view(64, 64)
    return torch.stack([0 * disc, 0 * disc, disc]).float(), disc.float()


BOX = torch.zeros(64, 64)
BOX[10:50, 12:48] = 1


def strokes():
    told = torch.full((64, 64), -1.0)
    told[30, 25:40] = 1
    told[5:8] = told[10:60, 30:32] = 0
    told[29:32, 30:32] = 1
    return told


def two_boxes():
    return torch.from_numpy(boxes_region([(4, 4, 30, 30), (20, 20, 60, 50)], (64, 64)))


def hill(height=256, width=256):
    """Below a long and gentle slope: an outline of long pieces and small steps."""
    top = 100 + (torch.arange(width) / 40).sin() * 9
    return (torch.arange(height)[:, None] > top).float()


ROUGH = {
    "a box": (BOX, True),
    "overlapping boxes": (two_boxes(), True),
    "a box at a corner": (BOX.roll((-10, -12), (0, 1)), True),
    "a box with soft edges": (torch.nn.functional.avg_pool2d(BOX[None], 3, 1, 1)[0], True),
    "a few pixels": (BOX[::9, ::9], True),
    "strokes": (strokes(), True),
    "half of the photo": ((torch.arange(64) < 20).float().expand(64, 64), True),
    "black strokes alone": (strokes().clamp(max=0), False),
    "a disc": (photo()[1], False),
    "a disc told at a sixteenth of the size": (
        photo()[1].repeat_interleave(16, 0).repeat_interleave(16, 1)[:, :900],
        False,
    ),
    "a hill": (hill(), False),
    "all": (torch.ones(64, 64), False),
    "nothing": (torch.zeros(64, 64), False),
    "unknown": (torch.full((64, 64), -1.0), False),
}


@pytest.mark.parametrize("name", ROUGH)
def test_boxes_and_strokes_are_rough_and_outlines_of_things_are_not(name):
    region, rough = ROUGH[name]
    assert is_rough(region[None].float()) is rough


@pytest.mark.parametrize("told", [BOX, strokes()], ids=["box", "strokes"])
def test_masks_are_predicted_for_the_part_that_the_gate_sees(told):
    model, (image, disc) = finder(), photo()
    edit = opmask.plan(model, image, region=told)
    expected = torch.maximum(disc, (told == 1).float() * (told < 0).any()) * (told != 0)
    torch.testing.assert_close(edit.region[0, 0].float(), expected, atol=1e-3, rtol=0)
    first, second = model.backbone.regions
    assert torch.equal(first[0, 0], told)
    torch.testing.assert_close(second[0, 0], expected)


def test_within_a_box_only_what_the_gate_sees_changes():
    image, disc = photo()
    after = opmask.harmonize(finder(), image, region=BOX)
    assert torch.equal((after - image).abs().amax(0) > 0.1, disc == 1)


@pytest.mark.parametrize(
    ("calibration", "told", "refine", "passes"),
    [
        (REFINES, BOX, "auto", 2),
        (REFINES, BOX, False, 1),
        (REFINES, photo()[1], "auto", 1),
        (REFINES, photo()[1], True, 2),
        (replace(REFINES, refines=False), BOX, "auto", 1),
        (None, BOX, "auto", 1),
        (None, BOX, True, 2),
        (REFINES, None, True, 1),
        (REFINES, torch.zeros(64, 64), True, 1),
    ],
)
def test_by_itself_a_model_refines_what_is_rough_if_it_is_fit_for_it(
    calibration, told, refine, passes
):
    model = finder(calibration)
    edit = opmask.plan(model, photo()[0], region=told, refine=refine)
    assert len(model.backbone.regions) == passes
    assert (edit.region is None) is (told is None)


@pytest.mark.parametrize(
    ("told", "refine", "strength"),
    [
        (BOX, "auto", 0.5),
        (BOX, False, 0.75),
        (photo()[1], "auto", 0.75),
        (photo()[1], True, 0.5),
    ],
)
@pytest.mark.parametrize("refines", [True, False])
def test_a_region_is_trusted_as_far_as_the_calibration_says(told, refine, strength, refines):
    model = finder(replace(REFINES, refines=refines, told=0.75, rough=0.5))
    edit = opmask.plan(model, photo()[0], region=told, refine=refine)
    full = opmask.plan(model, photo()[0], region=told, refine=refine, strength=1)
    assert [a.strength for a in edit.adjustments] == [strength]
    expected = strength * full.masks()["r_add"]
    torch.testing.assert_close(edit.masks()["r_add"], expected, atol=1e-3, rtol=0)
    assert full.adjustments == ()


@pytest.mark.parametrize(("told", "error"), [(BOX, 120.0), (photo()[1], 60.0)])
def test_small_changes_are_made_with_less_strength(told, error):
    trust = replace(REFINES, told=0.75, rough=0.5, told_error=60.0, rough_error=120.0)
    model, image = finder(trust), photo()[0]
    full = opmask.plan(model, image, region=told, strength=1)
    inside = full.region[0].float()
    assert torch.equal(inside[0], photo()[1])  # the box is refined to it
    change = full.render(image) - image
    levels = 255 * (change.square().mean() / inside.mean()).sqrt().item()
    [adjustment] = opmask.plan(model, image, region=told).adjustments
    largest = 0.5 if told is BOX else 0.75
    assert adjustment.strength == pytest.approx(largest / (1 + (error / levels) ** 2), rel=1e-3)
    assert adjustment.strength < 0.99 * largest


def test_told_only_what_is_outside_a_model_is_trusted_as_if_told_nothing():
    model = finder(replace(REFINES, told=0.75, rough=0.5, strength=(0.25,)))
    told = torch.full((64, 64), -1.0)
    told[:20] = 0
    blind, outside = (opmask.plan(model, photo()[0], region=r) for r in (None, told))
    trust = [[(a.strength, a.region is None) for a in e.adjustments] for e in (blind, outside)]
    assert trust == [[(0.0, False)], [(0.0, False)]]
    assert outside.masks()["r_add"][..., :19, :].abs().max() == 0
    (nothing,) = opmask.plan(model, photo()[0], region=0 * told.clamp_min(0)).adjustments
    assert nothing.strength == 0.75


def test_each_photo_of_a_batch_is_trusted_by_itself():
    image, disc = photo()
    edits = opmask.plan(
        finder(replace(REFINES, told=0.75, rough=0.5)),
        torch.stack([image, image]),
        region=torch.stack([BOX, disc])[:, None],
    )
    assert [edit.adjustments[0].strength for edit in edits] == [0.5, 0.75]


def test_each_photo_of_a_batch_is_refined_by_itself():
    image, disc = photo()
    edits = opmask.plan(
        finder(), torch.stack([image, image]), region=torch.stack([BOX, disc])[:, None]
    )
    assert all(torch.equal(edit.region[0, 0].float(), disc) for edit in edits)
    assert len({edit.predicted["r_add"].sum().item() for edit in edits}) == 1


def test_where_the_gate_sees_nothing_the_region_is_taken_as_it_is_and_it_is_said():
    image = torch.zeros(3, 64, 64)
    with pytest.warns(UserWarning, match="finds nothing to refine") as caught:
        edit = opmask.plan(finder(), image, region=BOX)
    assert torch.equal(edit.region[0, 0].float(), BOX)
    assert caught[0].filename == __file__


def test_soft_edges_stay_soft():
    told = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    finer = refined_region(torch.full_like(told, 0.8), told)
    torch.testing.assert_close(finer, 0.8 * told)


def test_strokes_around_which_nothing_is_found_are_taken_as_they_are():
    with pytest.warns(UserWarning, match="finds nothing to refine"):
        edit = opmask.plan(finder(), torch.zeros(3, 64, 64), region=strokes())
    assert torch.equal(edit.region[0, 0].float(), strokes())


@pytest.mark.parametrize("refine", [True, "grabcut"])
def test_what_no_stroke_is_joined_to_is_left_alone(refine):
    image, disc = photo()
    image[2, :6] = 1  # a blue sky, of which nobody said anything
    told = torch.full((64, 64), -1.0)
    told[30, 25:36] = 1
    edit = opmask.plan(finder(), image, region=told, refine=refine)
    assert (edit.region[0, 0, :12] == 0).all()
    assert (edit.region[0, 0][disc > 0] > 0.5).all()


def test_parts_are_joined_by_strokes_in_each_image_by_itself():
    finer = torch.zeros(2, 1, 20, 40)
    finer[..., 2:10, 2:12] = finer[..., 10:18, 28:38] = 0.75
    told = torch.full_like(finer, -1.0)
    told[0, 0, 5, 5] = told[1, 0, 9:11, 10:30] = 1  # one part, and a bridge to both
    left, both = joined(finer.where(told < 0, told), told)
    assert torch.equal(left > 0.5, (finer[0] > 0) & (torch.arange(40) < 20))
    assert torch.equal(both > 0.5, (finer[1] > 0) | (told[1] > 0))
    box = (told > 0).float()  # where nothing is unknown nothing is cut off
    assert torch.equal(joined(finer, box), finer)


@pytest.mark.parametrize("width", [1, 4, 5, 8])
def test_a_narrow_bridge_joins_nothing(width):
    finer, told = torch.zeros(1, 1, 24, 50), torch.full((1, 1, 24, 50), -1.0)
    finer[..., 2:22, 2:20] = finer[..., 2:22, 30:48] = 0.75
    finer[..., 8 : 8 + width, 20:30] = 0.75
    told[..., 10, 6:12] = 1
    found = joined(finer.where(told < 0, told), told) > 0.5
    wide = width > 2 * BRIDGE
    assert found[..., 2:22, 2:20].all()
    assert found[..., 30:].any() == wide
    assert torch.equal(found[..., 2:22, 30:48], torch.full_like(found[..., 2:22, 30:48], wide))


def test_a_region_is_judged_at_the_size_at_which_it_was_told():
    model, (_, disc) = finder(), photo()
    large = torch.zeros(3, 640, 640)
    edit = opmask.plan(model, large, region=disc, work_size=640)
    assert len(model.backbone.regions) == 1
    assert edit.region.shape[-1] == 640


def test_a_model_without_a_gate_cannot_refine():
    model = OperatorMaskWrapper(opmask.backbones.SmallUNet(4, width=8), region=True).eval()
    model.calibration = REFINES
    opmask.plan(model, photo()[0], region=BOX)
    with pytest.raises(ValueError, match="'refine' must be False or 'auto' for a model without"):
        opmask.plan(model, photo()[0], region=BOX, refine=True)


@pytest.mark.parametrize(
    ("refine", "error"), [("yes", ValueError), (1, TypeError), (None, TypeError)]
)
def test_refine_is_yes_no_or_auto(refine, error):
    with pytest.raises(error, match="'refine' must be 'auto', 'grabcut', True or False, got"):
        opmask.plan(finder(), photo()[0], region=BOX, refine=refine)


def test_the_region_is_saved_with_the_edit(tmp_path):
    edit = opmask.plan(finder(), photo()[0], region=strokes(), refine=False)
    edit.save(tmp_path / "a.opmask")
    assert torch.equal(Edit.load(tmp_path / "a.opmask").region, strokes()[None, None].half())


# --- GrabCut ---


@pytest.fixture
def opencv():
    pytest.importorskip("cv2")


def noisy_photo():
    image, disc = photo()
    grain = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    return (0.9 * image + 0.1 * grain).clamp(0, 1), disc


def blurred(plane, width=9):
    return torch.nn.functional.avg_pool2d(plane[None], width, 1, width // 2)


def overlap(region, disc):
    found = region.flatten() > 0.5
    return ((found & (disc.flatten() > 0)).sum() / (found | (disc.flatten() > 0)).sum()).item()


@pytest.mark.usefixtures("opencv")
def test_the_cut_ends_where_the_thing_does():
    image, disc = noisy_photo()
    rough = (blurred(disc, 13) > 0.1).float() * 0.7  # too large by some pixels
    found = grabcut.cut(image, BOX[None], rough)
    assert overlap(rough, disc) < 0.65
    assert overlap(found, disc) > 0.95
    assert torch.equal(found, (rough + disc) / 2)
    assert torch.equal(found, grabcut.cut(image, BOX[None], rough))  # no chance in it


@pytest.mark.usefixtures("opencv")
def test_soft_edges_stay_soft_when_cut():
    image, disc = noisy_photo()
    told = (0.15 + 0.85 * disc)[None] * BOX
    found = grabcut.cut(image, told, 0.9 * told)
    assert (found <= told).all()
    assert overlap(found, disc) > 0.95


@pytest.mark.usefixtures("opencv")
def test_where_grabcut_finds_nothing_what_the_model_says_stays(monkeypatch):
    image, disc = noisy_photo()
    cv2 = pytest.importorskip("cv2")
    monkeypatch.setattr(cv2, "grabCut", lambda pixels, labels, *_: labels.fill(cv2.GC_BGD))
    assert torch.equal(grabcut.cut(image, BOX[None], 0.8 * disc[None]), 0.8 * disc[None])


@pytest.mark.usefixtures("opencv")
def test_where_the_gate_is_shut_nothing_is_cut():
    dark = 0.2 * noisy_photo()[0]
    with pytest.warns(UserWarning, match="finds nothing to refine"):
        edit = opmask.plan(finder(), dark, region=BOX, refine="grabcut")
    assert torch.equal(edit.region[0, 0].float(), BOX)


@pytest.mark.usefixtures("opencv")
def test_what_was_told_stays():
    image, disc = noisy_photo()
    told = strokes()
    told[0, :30] = 1  # a stroke where nothing is
    refined = torch.where(told > 0, 1.0, disc * (told < 0))[None]
    found = grabcut.cut(image, told[None], refined)
    assert (found[0][told > 0] == 1).all()
    assert (found[0][told == 0] == 0).all()


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.usefixtures("opencv")
def test_without_both_sides_there_is_nothing_to_cut(level):
    refined = torch.full((1, 64, 64), level)
    assert torch.equal(grabcut.cut(noisy_photo()[0], torch.ones(1, 64, 64), refined), refined)


@pytest.mark.parametrize("told", [BOX, strokes()])
@pytest.mark.parametrize("refines", [True, False])
@pytest.mark.usefixtures("opencv")
def test_a_plan_has_the_region_that_was_cut(told, refines):
    image, disc = noisy_photo()
    edit = opmask.plan(
        finder(replace(REFINES, refines=refines)), image, region=told, refine="grabcut"
    )
    assert overlap(edit.region, disc) > 0.9
    exact = opmask.plan(finder(), image, region=disc, refine="grabcut")
    assert torch.equal(exact.region[0, 0].float(), disc)


@pytest.mark.usefixtures("opencv")
def test_a_model_without_a_gate_is_not_cut_for():
    model = opmask.OperatorMaskWrapper(opmask.backbones.SmallUNet(4, width=8), region=True)
    with pytest.raises(ValueError, match="'refine' must be False or 'auto' for a model without"):
        opmask.plan(model, photo()[0], region=BOX, refine="grabcut")


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(grabcut, "installed_opencv", lambda: None)
    with pytest.raises(ImportError, match=r"needs OpenCV, .* pip install 'opmask\[fast\]'"):
        opmask.plan(finder(), photo()[0], region=BOX, refine="grabcut")
