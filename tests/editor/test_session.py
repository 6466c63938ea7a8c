import numpy as np
import pytest
import torch
from PIL import Image

import opmask
from opmask.editor.session import Session


def same(a, b):
    return np.array_equal(a.render().pixels if isinstance(a, Session) else a, b)


def test_a_session_without_a_photo_refuses_all_work(model):
    session = Session(model)
    with pytest.raises(ValueError, match="no photo is open"):
        session.set_whole(1.0)
    with pytest.raises(ValueError, match="no photo is open"):
        session.open_region("mask.png")
    session.close()


def test_a_photo_is_planned_when_it_is_opened(session, model, photo):
    plan = opmask.plan(model, opmask.read_photo(photo))
    assert same(session, plan.render(opmask.read_photo(photo)).pixels)
    assert session.before.shape == (1, 3, 60, 80)


def test_a_preview_is_at_most_1280_pixels_long(model, tmp_path):
    Image.new("RGB", (2000, 500), "teal").save(tmp_path / "wide.png")
    session = Session(model)
    session.open_photo(tmp_path / "wide.png", "wide.png")
    assert session.before.shape == session.after().shape == (1, 3, 320, 1280)
    session.close()


def test_controls_say_what_adjust_says(session):
    base = session.edit
    session.set_control("l_add", "offset", 0.1)
    session.set_control("l_add", "strength", 0.5)
    session.set_control("b_mul", "on", False)
    expected = base.adjust("l_add", strength=0.5, offset=0.1).adjust("b_mul", strength=0)
    assert same(session, expected.render(session.photo).pixels)
    session.set_whole(0.5)
    assert same(session, expected.adjust(strength=0.5).render(session.photo).pixels)


def test_rendering_runs_no_network(session, monkeypatch):
    monkeypatch.setattr(type(session.model), "predict", None)
    session.set_control("l_add", "offset", 0.1)
    assert session.after().shape == (1, 3, 60, 80)
    assert session.render().size == (60, 80)


def test_moves_of_one_control_in_a_row_are_undone_as_one(session, clock):
    for value in (0.1, 0.2, 0.3):
        session.set_control("l_add", "offset", value)
    clock.now += 5
    session.set_control("l_add", "offset", 0.4)
    session.undo()
    assert session.draft.layer.row("l_add").offset == 0.3
    session.undo()
    assert session.draft.layer.at_rest
    assert not session.can_undo


def test_what_was_undone_can_be_done_again_until_something_else_is_done(session):
    session.set_control("l_add", "offset", 0.1)
    changed = session.render().pixels
    session.undo()
    session.redo()
    assert same(session, changed)
    session.undo()
    session.set_whole(0.0)
    assert not session.can_redo
    with pytest.raises(ValueError, match="nothing to do again"):
        session.redo()


def test_an_area_confines_changes_though_the_gate_is_shut(session, left, pixels):
    before = session.render().pixels
    session.paint(left)
    session.set_control("l_add", "offset", 0.3)
    after = session.render().pixels
    assert np.array_equal(after[:, 45:], before[:, 45:])
    assert after[:, :35].mean() > before[:, :35].mean() + 20


def test_changes_everywhere_act_everywhere(session):
    before = session.after()
    session.set_scope("photo")
    session.set_control("l_add", "offset", -0.3)
    assert (session.after() < before).float().mean() > 0.9


def test_another_area_begins_a_new_layer_and_keeps_what_was_changed(session, left):
    session.paint(left)
    session.set_control("l_add", "offset", 0.3)
    changed = session.render().pixels
    session.set_scope("model")
    assert session.draft.layer.at_rest
    assert same(session, changed)


def test_painting_on_extends_what_the_controls_do(session, left):
    session.paint(left)
    session.set_control("l_add", "offset", 0.3)
    before = session.render().pixels
    session.paint(torch.ones(1, 1, 60, 80))
    assert session.render().pixels[:, 45:].mean() > before[:, 45:].mean() + 20


def test_a_picked_region_is_what_is_changed_at_that_place(session, left):
    session.paint(left)
    session.set_control("l_add", "offset", 0.4)
    session.pick(0.2, 0.5)
    assert session.draft.layer.area[0, 0, 30, 16] == 1
    assert session.draft.layer.at_rest


def test_nothing_is_picked_where_nothing_is_changed(session):
    session.set_whole(0.0)
    with pytest.raises(ValueError, match="nothing is changed here"):
        session.pick(0.5, 0.5)
    with pytest.raises(ValueError, match="must be that of one of 0 regions"):
        session.pick_region(0)


def test_regions_are_picked_in_the_order_of_the_sentences(session):
    shares = [region.share for region in session.explanation.regions]
    assert shares
    for index, share in enumerate(shares):
        session.pick_region(index)
        assert session.draft.layer.area.mean() == pytest.approx(share, abs=1e-4)


def test_a_mask_plans_anew_and_can_be_undone(session, left, tmp_path):
    blind = session.render().pixels
    Image.fromarray((left[0, 0].numpy() * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    session.open_region(tmp_path / "mask.png")
    assert np.array_equal(session.render().pixels[:, 45:], session.photo.pixels[:, 45:])
    session.undo()
    assert same(session, blind)


def test_a_painted_area_can_be_harmonized(session, left):
    with pytest.raises(ValueError, match="no area is chosen"):
        session.match_area()
    session.paint(left)
    session.match_area()
    told = opmask.plan(session.model, session.photo, region=left)
    assert same(session, told.render(session.photo).pixels)


def test_a_refined_area_is_the_area_from_then_on(session, left, monkeypatch):
    session.paint(left)
    monkeypatch.setattr("opmask.inference.refine.refined_region", lambda gate, told: told.tril())
    assert session.match_area(refine=True) == ()
    told = opmask.plan(session.model, session.photo, region=left, refine=True)
    assert same(session, told.render(session.photo).pixels)
    assert session.draft.layer.scope == "area"
    assert torch.equal(session.draft.layer.area.half(), told.region)
    session.undo()
    assert torch.equal(session.draft.layer.area, left)


def test_where_there_is_nothing_to_refine_it_is_said(session, left, monkeypatch):
    session.paint(left)
    monkeypatch.setattr("opmask.inference.refine.refined_region", lambda gate, told: 0 * told)
    with pytest.warns(UserWarning, match="finds nothing to refine"):
        said = session.match_area(refine=True)
    assert said == ("The model finds nothing to refine in the region, which is taken as it is.",)


def test_a_saved_edit_gives_the_same_picture_and_its_steps_are_undone(session, model, photo):
    session.set_control("l_add", "offset", 0.2)
    session.set_whole(0.5)
    path = session.save_edit()
    assert path.name == "house.opmask"
    other = Session(model)
    other.open_photo(photo, "house.png")
    other.open_edit(path)
    assert same(other, session.render().pixels)
    other.undo()
    other.undo()
    assert not other.can_undo
    other.close()


def test_an_edit_of_another_photo_is_refused_once(session, model, pixels, tmp_path):
    Image.fromarray(pixels[::-1].copy()).save(tmp_path / "other.png")
    other = Session(model)
    other.open_photo(tmp_path / "other.png", "other.png")
    with pytest.raises(ValueError, match="of another photo, of 80 by 60 pixels; this one has 80"):
        other.open_edit(session.save_edit())
    other.open_edit(session.save_edit())
    assert other.render().size == (60, 80)
    other.close()


def test_a_bad_photo_leaves_the_one_before(session, tmp_path):
    before = session.render().pixels
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(ValueError, match="cannot be read"):
        session.open_photo(tmp_path / "bad.jpg", "bad.jpg")
    with pytest.raises(ValueError, match="edit"):
        session.open_edit(tmp_path / "bad.jpg")
    assert same(session, before)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a b.jpg", "a b-edited.jpg"),
        ("../../etc/x.tiff", "x-edited.tiff"),
        ("C:\\dir\\y.bmp", "y-edited.png"),
        ("", "photo-edited.png"),
        ("<img onerror=1>.webp", "_img onerror_1_-edited.webp"),
    ],
)
def test_the_photo_is_written_in_its_own_format_under_a_plain_name(session, name, written, photo):
    session.open_photo(photo, name)
    path, said = session.save_photo()
    assert (path.name, path.parent, said) == (written, session.folder, ())


def test_a_photo_of_16_bits_keeps_them(model, tmp_path):
    levels = np.random.default_rng(0).integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    opmask.write_photo(opmask.Photo(levels), tmp_path / "deep.tif")
    session = Session(model)
    session.open_photo(tmp_path / "deep.tif", "deep.tif")
    path, _ = session.save_photo()
    assert np.array_equal(opmask.read_photo(path).pixels, session.render().pixels)
    assert opmask.read_photo(path).levels == 65535
    session.close()


def test_a_photo_that_its_ending_cannot_hold_is_written_as_png(model, tmp_path):
    Image.new("RGBA", (40, 30), (9, 90, 90, 100)).save(tmp_path / "clear.png")
    session = Session(model)
    session.open_photo(tmp_path / "clear.png", "clear.jpg")
    assert session.save_photo()[0].name == "clear-edited.png"
    session.close()


@pytest.mark.parametrize(
    ("name", "control", "value", "message"),
    [
        ("hue", "on", True, "'name' must be one of"),
        ("l_add", "strength", 2.5, "'strength' must be a number in"),
        ("l_add", "offset", float("nan"), "'offset' must be a number in"),
        ("l_add", "offset", "much", "'offset' must be a number in"),
        ("l_add", "colour", 1.0, "'control' must be strength"),
    ],
)
def test_controls_go_no_further_than_on_the_page(session, name, control, value, message):
    with pytest.raises(ValueError, match=message):
        session.set_control(name, control, value)


def test_another_photo_removes_what_was_offered_of_the_one_before(session, photo):
    session.offer(session.save_photo()[0])
    session.open_photo(photo, "barn.png")
    assert not session.downloads
    assert not [*session.folder.iterdir()]


def test_a_session_removes_its_folder(session):
    path = session.save_edit()
    key = session.offer(path)
    assert session.downloads == {key: path}
    session.close()
    assert not session.folder.exists()
    assert not session.downloads
