import pytest
import show_perturbations
import torch
from PIL import Image
from show_perturbations import COLUMNS, draw_sheet, main, most_detailed, sections, shrink

from opmask.perturb import FILTERS, OTHER_FILTERS

# A photo of 300x400 whose left half is smooth and whose right half is not.
PHOTO = torch.full((3, 300, 400), 90, dtype=torch.uint8)
PHOTO[:, :, 200:] = torch.randint(60, 200, (3, 300, 200), dtype=torch.uint8)


def test_every_filter_and_degradation_is_shown_beside_the_photo():
    content = sections(PHOTO)
    filters, *others = ([title for title, _ in cells] for cells in content.values())
    assert filters == ["photo", *FILTERS, *OTHER_FILTERS]
    assert [len(titles) for titles in others] == [COLUMNS] * 5
    assert {titles[0] for titles in others} == {"photo"}


def test_everything_shown_differs_from_the_photo():
    for cells in sections(PHOTO).values():
        (_, photo), *changed = cells
        assert all(image.shape == photo.shape for _, image in changed)
        assert not any(torch.equal(image, photo) for _, image in changed)


def test_degradations_are_shown_where_there_is_detail():
    piece = most_detailed(PHOTO)
    assert piece.shape[1:] == torch.Size([side // 4 for side in shrink(PHOTO).shape[1:]])
    assert piece.float().std() > 20


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (301, 307)])
def test_the_sheet_has_the_same_margins_on_all_sides(size):
    photo = torch.zeros(3, *size, dtype=torch.uint8)
    height = shrink(photo).shape[1]
    sheet = draw_sheet({"one": [("a", shrink(photo))] * 8, "two": [("b", shrink(photo))] * 7})
    assert sheet.size == (10 + 7 * 234, 10 + 2 * 44 + 3 * (height + 36))
    corner = sheet.getpixel((sheet.width - 11, sheet.height - 11))
    assert corner == (0, 0, 0)
    assert sheet.getpixel((sheet.width - 10, sheet.height - 10)) == (255, 255, 255)


def test_titles_need_only_letters_that_the_font_has():
    titles = [title for cells in sections(PHOTO).values() for title, _ in cells]
    assert all(title.isascii() for title in [*titles, *sections(PHOTO)])


def test_a_photo_is_drawn_into_one_picture(tmp_path, capsys):
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO.permute(1, 2, 0).numpy()).save(path)
    main([str(path), "--out", str(tmp_path / "sheet.png")])
    assert capsys.readouterr().out == f"wrote {tmp_path / 'sheet.png'}\n"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((12, 10 + 44 + 26 + 2)) == (90, 90, 90)


def test_without_a_photo_a_scene_is_drawn(tmp_path):
    main(["--out", str(tmp_path / "sheet.png")])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 10 + COLUMNS * (show_perturbations.CELL + 10)


def test_neither_the_photo_nor_another_file_is_replaced(tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 48)).save(photo)
    for flags in ([], ["--overwrite"]):
        with pytest.raises(SystemExit, match="'--out' must not be a file that is read"):
            main([str(photo), "--out", str(photo), *flags])
    (tmp_path / "sheet.png").touch()
    with pytest.raises(SystemExit, match="'--out' must be a new file"):
        main([str(photo), "--out", str(tmp_path / "sheet.png")])
