import pytest
import show_operators
import torch
from PIL import Image
from shipped import NAMES
from show_operators import apply, build, cells, main, strong_masks

PHOTO = torch.randint(60, 200, (3, 60, 80), dtype=torch.uint8)


def test_every_operator_is_shown_beside_the_photo():
    titles = [title.partition(" ")[0] for title, _ in cells(PHOTO)]
    assert titles[0] == "photo"
    assert sorted(titles[1:]) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_everything_shown_differs_visibly_from_the_photo(name):
    shown = apply(build(name), PHOTO)
    assert shown.shape == PHOTO.shape
    assert (shown.float() - PHOTO.float()).abs().mean() > 3


@pytest.mark.parametrize("name", NAMES)
def test_masks_that_are_shown_lie_within_their_ranges(name):
    operator = build(name)
    for mask, value in strong_masks(operator).items():
        assert operator.ranges[mask].low <= value <= operator.ranges[mask].high


def test_no_operator_of_another_name_has_strong_masks():
    assert {*show_operators.STRONG, *show_operators.BUILT, *show_operators.ONE_SIDE} <= {*NAMES}


def test_a_photo_is_drawn_into_one_picture(tmp_path, capsys):
    Image.fromarray(PHOTO.permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    main([str(tmp_path / "photo.png"), "--out", str(tmp_path / "sheet.png")])
    assert capsys.readouterr().out == f"wrote {tmp_path / 'sheet.png'}\n"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 10 + 7 * 234
