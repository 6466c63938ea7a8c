import numpy as np
import pytest
import torch

from opmask import LAB, plan
from opmask.inference.explain import NOTICEABLE, ChangedRegion
from opmask.inference.panel import LIMIT, LINE, MOST, draw_panel


@pytest.fixture
def grey():
    """A grey photo, L* = 50."""
    return (
        LAB.to_rgb(torch.tensor([0.5, 0, 0]).view(1, 3, 1, 1))[0].expand(3, 96, 160).contiguous()
    )


@pytest.fixture
def edit(gated_model, grey):
    """An edit that changes nothing yet; the gate is open everywhere."""
    still = plan(gated_model, grey, strength=0, work_size=80)
    return still.adjust("gate", strength=0, offset=0.5)


def left(size=(96, 160)):
    region = torch.zeros(size)
    region[:, : size[1] // 4] = 1
    return region


def test_the_change_is_in_units_of_cielab(edit, grey):
    told = edit.adjust("l_add", offset=-0.12).adjust("b_add", offset=-9 / 128).explain(grey)
    mean = told.change.mean((0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor([-12.0, 0.0, -9.0]), rtol=0, atol=0.05)
    torch.testing.assert_close(told.distance.mean(), torch.tensor(15.0), rtol=0, atol=0.05)
    assert told.sentences == ["Region 1 (100% of the photo): darker by 12 L*, bluer by 9 b*."]


def test_a_grey_photo_gets_no_colour(edit):
    levels = np.full((96, 160), 0.466, np.float32)
    edit = edit.adjust("l_add", offset=-0.12).adjust("b_add", offset=0.3)
    told, rendered = edit.explain(levels, force=True), edit.render(levels, force=True)
    assert told.change[:, 1:].abs().max() < 0.1
    assert told.after.mean().item() == pytest.approx(rendered.mean(), abs=2e-3)


def test_each_region_has_its_box_and_its_sentence(edit, grey):
    told = edit.adjust("l_add", offset=0.2, region=left())
    told = told.adjust("a_add", offset=0.1, region=left().flip(1)).explain(grey)
    boxes = {region.box for region in told.regions}
    assert boxes == {(0, 0, 40, 96), (120, 0, 160, 96)}
    said = [region.sentence for region in told.regions]
    assert sorted(said) == ["lighter by 20 L*", "redder by 13 a*"]


def test_a_line_goes_around_the_region_that_was_told(gated_model, grey):
    told = plan(gated_model, grey, region=left(), strength=0, work_size=80).explain(grey)
    before = np.array(draw_panel(told))[LINE + 6 :, 12:]
    assert told.region[0, 0].sum() == pytest.approx(48 * 20)
    white = (before[100] == 255).all(-1)
    assert white[:90].any()
    assert not white[100:200].any()


def test_what_nobody_notices_is_no_region(edit, grey):
    small = 0.9 * NOTICEABLE / 100
    assert edit.adjust("l_add", offset=small).explain(grey).regions == ()
    assert edit.explain(grey).sentences == ["Nothing changes visibly."]


def test_colours_that_srgb_does_not_have_are_counted(edit, grey):
    told = edit.adjust("l_add", offset=0.9, region=left()).explain(grey)
    assert told.clipped.float().mean() == 0.25
    assert told.sentences[-1] == "25% of the pixels are clipped: sRGB ends there."


def test_a_region_without_a_common_change_says_so():
    region = ChangedRegion((0, 0, 1, 1), 0.1, (0.4, -0.6, 0.2))
    assert region.sentence == "changed here and there, on average by less than 1"


def test_another_photo_is_refused(edit, grey):
    with pytest.raises(ValueError, match="must be the photo that the edit was planned for"):
        edit.explain(grey / 2)
    assert edit.explain(grey / 2, force=True).regions == ()


@pytest.mark.parametrize("size", [(96, 160), (160, 96), (16, 300)])
def test_the_panel_shows_changes_by_a_fixed_scale(gated_model, size):
    photo = torch.full((3, *size), 0.5)
    edit = plan(gated_model, photo, strength=0).adjust("gate", strength=0, offset=0.5)
    panel = draw_panel(edit.adjust("l_add", offset=LIMIT / 100, region=left(size)).explain(photo))
    row = np.asarray(panel, int)[40]
    dark_red = np.array([163, 20, 33])
    assert (np.abs(row - dark_red).max(1) < 10).any()
    assert panel.getpixel((2, 2)) == (255, 255, 255)


def test_the_panel_names_the_largest_regions_only(edit, grey):
    spots = torch.zeros(96, 160)
    for i in range(12):
        spots[8:24, 4 + 13 * i : 12 + 13 * i] = 1
    few = edit.adjust("l_add", offset=0.2, region=left()).explain(grey)
    many = edit.adjust("l_add", offset=0.2, region=spots).explain(grey)
    assert len(many.regions) == 12
    lines = (draw_panel(many).height - draw_panel(few).height) / LINE
    assert lines == MOST + 1 - 1  # so many sentences and how many are left out, instead of one
