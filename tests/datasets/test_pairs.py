import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import (
    TABLE_1,
    BrokenPhotoError,
    PhotoFiles,
    UnlabelledPhotoError,
    pair_files,
)


@pytest.fixture
def folders(tmp_path):
    """Folders of three photographs and their label maps, written in another order than sorted."""
    folders = tmp_path / "photographs", tmp_path / "maps"
    for folder, ending in zip(folders, ("jpg", "png"), strict=True):
        folder.mkdir()
        for number, name in enumerate("cab"):
            Image.fromarray(np.full((4, 6), number, np.uint8)).save(folder / f"{name}.{ending}")
    return folders


def names(folders, listed=None):
    pairs = pair_files(*folders, listed)
    assert all(image.parent == folders[0] and maps.parent == folders[1] for image, maps in pairs)
    assert all((image.stem, image.suffix) == (maps.stem, ".jpg") for image, maps in pairs)
    return [image.stem for image, _ in pairs]


def refusal(folders, listed=None):
    with pytest.raises(FileNotFoundError, match="'root' must hold photographs and label") as error:
        pair_files(*folders, listed)
    return str(error.value)


def test_pairs_come_in_the_order_of_their_names(folders):
    assert names(folders) == ["a", "b", "c"]


def test_a_list_decides_which_photos_there_are_and_their_order(folders):
    assert names(folders, ["c", "a"]) == ["c", "a"]


def test_what_is_not_listed_need_not_be_paired(folders):
    (folders[0] / "a.jpg").unlink()
    (folders[1] / "b.png").unlink()
    assert names(folders, ["c"]) == ["c"]


def test_listed_names_without_files_are_refused(folders):
    (folders[1] / "b.png").unlink()
    assert "got 2 listed names without a photograph: x, y." in refusal(folders, ["y", "a", "x"])
    assert "got 1 photographs without a label map: b." in refusal(folders, ["a", "b"])


def test_of_many_names_three_are_shown(folders):
    assert "got 3 listed names without a photograph: w, x, y." in refusal(folders, "wxy")
    assert "got 4 listed names without a photograph: w, x, y, ...." in refusal(folders, "wxyz")


def test_a_refusal_shows_the_expected_folders(folders):
    (folders[0] / "a.jpg").unlink()
    lines = refusal(folders).split("\n")
    assert lines[0].endswith("of the same names, as in")
    assert lines[1:3] == [f"    {folders[0]}/*.jpg", f"    {folders[1]}/*.png"]
    assert lines[3] == "got 1 label maps without a photograph: a."


def test_a_folder_without_label_maps_is_refused_with_what_it_holds(folders):
    for path in list(folders[1].iterdir()):
        path.rename(path.with_suffix(".bmp"))
    assert f"got no .png file among 3 in {folders[1]}: a.bmp, b.bmp, c.bmp." in refusal(folders)


def test_photographs_of_other_endings_are_taken_if_asked_for(folders):
    (folders[0] / "b.jpg").rename(folders[0] / "b.PNG")
    pairs = pair_files(*folders, endings=[".jpg", ".png"])
    assert [image.name for image, _ in pairs] == ["a.jpg", "b.PNG", "c.jpg"]
    (folders[0] / "b.jpg").touch()
    with pytest.raises(ValueError, match=r"one photograph of each name, got b.PNG and b.jpg in "):
        pair_files(*folders, endings=[".jpg", ".png"])


def test_missing_and_empty_folders_are_told_apart(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    assert re.search(r"got no folder .*gone\.", refusal((tmp_path / "gone", folders[1])))
    assert re.search(r"got an empty folder .*empty\.", refusal((folders[0], tmp_path / "empty")))


class Pairs(PhotoFiles):
    """Any pairs of files."""

    def __init__(self, folders):
        self.pairs = pair_files(*folders)


def test_photos_in_files_are_read_from_their_pairs(folders):
    photos = Pairs(folders)
    assert len(photos) == 3
    assert [photo.name for photo in (photos[0], photos[1])] == ["a", "b"]
    assert torch.equal(photos[1].label_map, torch.full((4, 6), 2))


def test_label_maps_are_read_without_their_photographs(folders):
    for path in folders[0].iterdir():
        path.write_bytes(b"")
    label_maps = [Pairs(folders).label_map(index) for index in range(3)]
    assert [int(label_map.max()) for label_map in label_maps] == [1, 2, 0]
    assert label_maps[0].shape == (4, 6)


def test_unlabelled_and_broken_photos_are_reported_when_they_are_read(folders):
    (folders[1] / "a.png").write_bytes(b"")
    photos = Pairs(folders)
    with pytest.raises(UnlabelledPhotoError, match=r"c.png must have a labelled pixel"):
        photos[2]
    for read in photos.__getitem__, photos.label_map:
        with pytest.raises(BrokenPhotoError, match=r"a.png cannot be read"):
            read(0)


def test_photos_beyond_the_last_end_the_reading(folders):
    with pytest.raises(IndexError):
        Pairs(folders)[3]


def test_table_1_is_that_of_the_paper():
    # Its text says how many were left out: 14 and 0 of ADE20K, 77 and 28 of LIP.
    assert [photos for photos, _ in TABLE_1.values()] == [20210, 2000, 30462, 10000]
    assert [photos - labelled for photos, labelled in TABLE_1.values()] == [14, 0, 77, 28]
    assert list(TABLE_1) == [
        *(("ADE20K", split) for split in ("training", "validation")),
        *(("LIP", split) for split in ("train", "val")),
    ]


def test_files_that_are_not_meant_are_no_photos(tmp_path):
    for name in "barn.jpg", "barn.png", "._barn.jpg", ".DS_Store", ".barn.opmask-01234567.png":
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert pair_files(tmp_path, tmp_path) == [(tmp_path / "barn.jpg", tmp_path / "barn.png")]
