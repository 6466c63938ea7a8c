import logging
import threading

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from opmask.datasets import PhotoCounts, PhotoFiles, Resized, labelled


@pytest.fixture(autouse=True)
def _all_levels(caplog):
    caplog.set_level(logging.INFO, "opmask")


class Files(PhotoFiles):
    """Photos named by their place, of one label each; None is a broken label map."""

    def __init__(self, folder, *labels, published=None):
        self.pairs = [(folder / f"{k}.jpg", folder / f"{k}.png") for k in range(len(labels))]
        self.published = published
        for label, (image, label_map) in zip(labels, self.pairs, strict=True):
            Image.new("L", (3, 2)).save(image)
            array = np.zeros((2, 3), np.uint8)
            array[-1, -1] = label or 0
            Image.fromarray(array).save(label_map)
            if label is None:
                label_map.write_bytes(b"")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_unlabelled_photos_are_left_out_and_the_order_stays(tmp_path, workers):
    photos = labelled(Files(tmp_path, 0, 9, 0, 1, 255), workers=workers)
    assert photos.indices == [1, 3, 4]
    assert len(photos) == 3
    assert [photo.name for photo in photos] == ["1", "3", "4"]


def test_what_is_left_out_is_logged(tmp_path, caplog):
    labelled(Files(tmp_path, 0, 9, 0, 1, 255))
    text = "2 of 5 photos have no labelled pixel and are left out"
    assert caplog.record_tuples == [("opmask", logging.WARNING, text)]


def test_broken_label_maps_are_left_out_and_counted_apart(tmp_path, caplog):
    photos = labelled(Files(tmp_path, 0, None, 7, None))
    assert photos.indices == [2]
    assert "1 of 4 photos have no labelled pixel" in caplog.messages[0]
    assert caplog.messages[1].startswith(
        f"2 of 4 label maps cannot be used and are left out; the first: {tmp_path}/1.png cannot be"
    )
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_nothing_is_logged_where_nothing_is_left_out(tmp_path, caplog):
    assert len(labelled(Files(tmp_path, 1, 2))) == 2
    assert not caplog.records


def test_photographs_are_not_read(tmp_path):
    files = Files(tmp_path, 1, 2)
    for image, _ in files.pairs:
        image.unlink()
    assert len(labelled(files)) == 2


@pytest.mark.parametrize("labels", [(), (0,), (0, None)])
def test_photos_of_which_none_is_labelled_are_refused(tmp_path, labels):
    with pytest.raises(
        ValueError, match=rf"one with a labelled pixel, got none in {len(labels)}\."
    ):
        labelled(Files(tmp_path, *labels))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_label_maps_are_read_by_so_many_threads(tmp_path, workers):
    files = Files(tmp_path, *[1] * 12)
    meet = threading.Barrier(max(1, workers))  # passed only by that many threads at once
    files.label_map = lambda index: (
        meet.wait(10) is not None and PhotoFiles.label_map(files, index)
    )
    assert len(labelled(files, workers=workers)) == 12


def test_other_errors_are_not_swallowed(tmp_path):
    files = Files(tmp_path, 1, 2)
    files.label_map = lambda index: {}["label"]
    with pytest.raises(KeyError):
        labelled(files)


def test_the_rest_can_be_resized_and_loaded_by_workers(tmp_path):
    photos = Resized(labelled(Files(tmp_path, 0, 9, 1)), 4)
    loader = DataLoader(photos, batch_size=None, num_workers=1)
    assert [photo.name for photo in loader] == ["1", "2"]


def test_counts_as_in_the_paper_are_reported(tmp_path, caplog):
    labelled(Files(tmp_path, 0, 9, 1, published=PhotoCounts(3, 2)))
    text = "2 of 3 photos remain, as in the paper (Table 1)"
    assert caplog.record_tuples[1:] == [("opmask", logging.INFO, text)]


@pytest.mark.parametrize("number", [1, 3])
def test_another_number_of_labelled_photos_is_a_warning(tmp_path, caplog, number):
    labelled(Files(tmp_path, 0, 9, 1, published=PhotoCounts(3, number)))
    text = f"2 of 3 photos remain; in the paper (Table 1) it is {number}"
    assert caplog.record_tuples[1:] == [("opmask", logging.WARNING, text)]


@pytest.mark.parametrize("number", [2, 4])
def test_a_part_of_the_data_set_is_reported_as_such(tmp_path, caplog, number):
    labelled(Files(tmp_path, 0, 9, 1, published=PhotoCounts(number, 2)))
    text = f"2 of 3 photos remain; the full data set has {number}"
    assert caplog.record_tuples[1:] == [("opmask", logging.INFO, text)]
