import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import ADE20K, TABLE_1, BrokenPhotoError, labelled


@pytest.fixture
def root(tmp_path):
    """Three training photos, named so that their order is not that in which they were written."""
    for number, name in enumerate("cab"):
        put(tmp_path, name, number)
    return tmp_path


def put(root, name, number, split="training"):
    for folder, ending in ("images", "jpg"), ("annotations", "png"):
        path = root / folder / split / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6), number + 1, np.uint8)).save(path)


def test_photos_come_in_the_order_of_their_names(root):
    photos = ADE20K(root, "training")
    assert len(photos) == 3
    assert [photos[i].name for i in range(3)] == ["a", "b", "c"]


def test_photos_come_with_their_own_labels(root):
    for photo, label in zip(ADE20K(root, "training"), (2, 3, 1), strict=True):
        assert photo.image.shape == (3, 4, 6)
        assert torch.equal(photo.label_map, torch.full((4, 6), label))


def test_the_root_may_be_a_string(root):
    assert len(ADE20K(str(root), "training")) == 3


def test_splits_are_apart(root):
    put(root, "d", 0, "validation")
    assert [photo.name for photo in ADE20K(root, "validation")] == ["d"]
    assert len(ADE20K(root, "training")) == 3


def test_other_files_and_upper_case_endings_do_no_harm(root):
    for path in (root / "images/training/notes.txt", root / "annotations/training/.DS_Store"):
        path.write_text("")
    (root / "images/training/a.jpg").rename(root / "images/training/a.JPG")
    assert len(ADE20K(root, "training")) == 3


def test_real_photos_are_found(data_root):
    photos = ADE20K(data_root / "ade150_sample", "validation")
    assert len(photos) == 3
    assert photos[0].name == "ADE_val_00000001"
    assert photos[0].image.shape[1:] == photos[0].label_map.shape
    assert 0 <= photos[0].label_map.min() < photos[0].label_map.max() <= 150


@pytest.mark.parametrize(("split", "count"), [("training", 390), ("validation", 35)])
def test_the_shared_scenes_are_found_and_all_labelled(data_root, split, count):
    photos = ADE20K(data_root / "scenes", split)
    assert len(photos) == len(labelled(photos, workers=2)) == count


@pytest.mark.slow
@pytest.mark.parametrize("split", ["training", "validation"])
def test_the_full_data_set_has_the_counts_of_the_paper(split):
    root = os.environ.get("OPMASK_ADE20K") or pytest.skip(
        "set OPMASK_ADE20K to ADEChallengeData2016"
    )
    photos = ADE20K(root, split)
    assert (len(photos), len(labelled(photos, workers=2))) == TABLE_1["ADE20K", split]


@pytest.mark.parametrize("split", ["training", "validation"])
def test_the_counts_to_compare_with_are_those_of_the_split(root, split):
    put(root, "d", 0, "validation")
    assert ADE20K(root, split).published == TABLE_1["ADE20K", split]


def test_an_unknown_split_is_refused(root):
    with pytest.raises(ValueError, match=r"one of \('training', 'validation'\), got 'test'"):
        ADE20K(root, "test")


def refusal(root):
    """The message with which a folder is refused."""
    with pytest.raises(FileNotFoundError, match="'root' must hold photographs and label") as error:
        ADE20K(root, "training")
    return str(error.value)


def test_a_folder_that_is_not_there_is_refused_with_the_expected_tree(tmp_path):
    message = refusal(tmp_path / "gone")
    assert f"{tmp_path / 'gone'}/images/training/*.jpg" in message
    assert f"{tmp_path / 'gone'}/annotations/training/*.png" in message
    assert f"got no folder {tmp_path / 'gone' / 'images' / 'training'}." in message


def test_a_folder_without_annotations_is_refused(root):
    for path in (root / "annotations/training").iterdir():
        path.unlink()
    (root / "annotations/training").rmdir()
    assert f"got no folder {root / 'annotations' / 'training'}." in refusal(root)


def test_a_folder_without_photographs_is_refused_with_what_it_holds(root):
    for path in list((root / "images/training").iterdir()):
        path.rename(path.with_suffix(".bmp"))
    folder = root / "images" / "training"
    assert f"got no .jpg file among 3 in {folder}: a.bmp, b.bmp, c.bmp." in refusal(root)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "images/training").mkdir(parents=True)
    assert re.search(r"got an empty folder .*training\.", refusal(tmp_path))


def test_photographs_without_a_label_map_are_refused_by_name(root):
    (root / "annotations/training/b.png").unlink()
    assert "got 1 photographs without a label map: b." in refusal(root)


def test_label_maps_without_a_photograph_are_refused_by_name(root):
    (root / "images/training/c.jpg").unlink()
    assert "got 1 label maps without a photograph: c." in refusal(root)


def test_only_the_first_three_of_many_names_are_shown(root):
    for number in range(20):
        put(root, f"x{number:02}", 0)
        (root / f"annotations/training/x{number:02}.png").unlink()
    assert "got 20 photographs without a label map: x00, x01, x02, ...." in refusal(root)


def test_a_broken_photo_is_reported_when_it_is_read(root):
    Path(root / "images/training/b.jpg").write_bytes(b"")
    photos = ADE20K(root, "training")
    assert photos[0].name == "a"
    with pytest.raises(BrokenPhotoError, match=r"b.jpg cannot be read"):
        photos[1]
