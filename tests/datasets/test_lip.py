import os

import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import LIP, TABLE_1, BrokenPhotoError, labelled


@pytest.fixture
def root(tmp_path):
    """Three photos of the split "train", listed in an order of their own."""
    for number, name in enumerate("cab"):
        put(tmp_path, name, number + 1)
    (tmp_path / "train_id.txt").write_text("b\na\nc\n")
    return tmp_path


def put(root, name, label, split="train", image_folder="", label_folder=""):
    for parent, kind, ending in (
        (image_folder, "images", "jpg"),
        (
            label_folder,
            "segmentations",
            "png",
        ),
    ):
        path = root / parent / f"{split}_{kind}" / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6), label, np.uint8)).save(path)


def names(photos):
    return [photo.name for photo in photos]


def test_photos_come_in_the_order_of_the_list(root):
    assert names(LIP(root, "train")) == ["b", "a", "c"]


def test_photos_come_in_the_order_of_their_names_without_a_list(root):
    (root / "train_id.txt").unlink()
    assert names(LIP(root, "train")) == ["a", "b", "c"]


def test_the_list_may_leave_photos_out(root):
    (root / "train_id.txt").write_text("c")
    assert names(LIP(root, "train")) == ["c"]


@pytest.mark.parametrize("text", ["c\r\n\r\na\r\n", "  c \n\na\n\n", "\ufeffc\na", "c\na\nc\n"])
def test_odd_lists_are_read(root, text):
    (root / "train_id.txt").write_bytes(text.encode())
    assert names(LIP(root, "train")) == ["c", "a"]


def test_photos_come_with_their_own_labels(root):
    for photo, label in zip(LIP(root, "train"), (3, 2, 1), strict=True):
        assert photo.image.shape == (3, 4, 6)
        assert torch.equal(photo.label_map, torch.full((4, 6), label))


def test_the_root_may_be_a_string(root):
    assert len(LIP(str(root), "train")) == 3


def test_splits_are_apart_and_have_lists_of_their_own(root):
    put(root, "d", 1, "val")
    put(root, "e", 1, "val")
    (root / "val_id.txt").write_text("e")
    assert names(LIP(root, "val")) == ["e"]
    assert len(LIP(root, "train")) == 3


@pytest.mark.parametrize("deeper", ["", "/TrainVal_parsing_annotations"])
def test_folders_may_lie_where_the_archives_unpack_them(tmp_path, deeper):
    for name in "ab":
        label_folder = "TrainVal_parsing_annotations" + deeper
        put(tmp_path, name, 1, "val", "TrainVal_images", label_folder)
    assert names(LIP(tmp_path, "val")) == ["a", "b"]
    (tmp_path / "TrainVal_images/val_id.txt").write_text("b")
    assert names(LIP(tmp_path, "val")) == ["b"]


def test_the_folder_that_is_furthest_up_is_taken(root):
    put(root, "x", 1, "train", "A_copy", "A_copy/deeper")
    assert names(LIP(root, "train")) == ["b", "a", "c"]


def test_folders_deeper_than_two_are_not_found(tmp_path):
    put(tmp_path, "a", 1, "val", "one/two/three", "one/two/three")
    with pytest.raises(FileNotFoundError, match=r"got no folder .*val_images\."):
        LIP(tmp_path, "val")


def test_an_unknown_split_is_refused(root):
    with pytest.raises(ValueError, match=r"one of \('train', 'val'\), got 'training'"):
        LIP(root, "training")


def test_an_empty_list_is_refused(root):
    (root / "train_id.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"train_id.txt must name photographs, .* an empty list"):
        LIP(root, "train")


def refusal(root):
    with pytest.raises(FileNotFoundError, match="'root' must hold photographs and label") as error:
        LIP(root, "train")
    return str(error.value)


def test_a_folder_that_is_not_there_is_refused_with_the_expected_tree(tmp_path):
    message = refusal(tmp_path / "gone")
    assert f"{tmp_path / 'gone'}/train_images/*.jpg" in message
    assert f"{tmp_path / 'gone'}/train_segmentations/*.png" in message
    assert f"got no folder {tmp_path / 'gone' / 'train_images'}." in message


def test_listed_names_without_files_are_refused(root):
    (root / "train_segmentations/a.png").unlink()
    assert "got 1 photographs without a label map: a." in refusal(root)
    (root / "train_id.txt").write_bytes(b"gone\n\xff\n")
    assert "got 2 listed names without a photograph: gone, \ufffd." in refusal(root)


def test_label_maps_without_a_photograph_are_refused_where_there_is_no_list(root):
    (root / "train_images/a.jpg").unlink()
    (root / "train_id.txt").unlink()
    assert "got 1 label maps without a photograph: a." in refusal(root)


def test_a_broken_photo_is_reported_when_it_is_read(root):
    (root / "train_images/a.jpg").write_bytes(b"")
    photos = LIP(root, "train")
    assert photos[0].name == "b"
    with pytest.raises(BrokenPhotoError, match=r"a.jpg cannot be read"):
        photos[1]


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_counts_to_compare_with_are_those_of_the_split(root, split):
    put(root, "d", 1, "val")
    assert LIP(root, split).published == TABLE_1["LIP", split]


@pytest.mark.parametrize(("split", "count"), [("train", 799), ("val", 100)])
def test_the_shared_people_are_found_and_all_labelled(data_root, split, count):
    photos = LIP(data_root / "people", split)
    listed = (data_root / "people" / f"{split}_id.txt").read_text().split()
    assert len(photos) == len(labelled(photos, workers=2)) == count
    assert [photos[index].name for index in (0, -1)] == [listed[0], listed[-1]]
    assert photos[0].label_map.max() <= 59


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_full_data_set_has_the_counts_of_the_paper(split):
    root = os.environ.get("OPMASK_LIP") or pytest.skip("set OPMASK_LIP to the folder of LIP")
    photos = LIP(root, split)
    assert (len(photos), len(labelled(photos, workers=2))) == TABLE_1["LIP", split]


def test_the_second_tree_of_an_archive_of_macos_is_passed_over(tmp_path):
    for tree in "lip", "__MACOSX":
        for folder, name in ("val_images", "a.jpg"), ("val_segmentations", "a.png"):
            (tmp_path / tree / folder).mkdir(parents=True)
            path = tmp_path / tree / folder / (name if tree == "lip" else f"._{name}")
            Image.new("L", (3, 2), 7).save(path, "PNG")
    assert [photo.name for photo in LIP(tmp_path, "val")] == ["a"]
