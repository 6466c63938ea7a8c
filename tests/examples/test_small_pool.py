import csv
import json
import os
import pickle
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from reproduction.small import pool
from torch.utils.data import DataLoader

from opmask.datasets import BrokenPhotoError, Composites, read_image
from opmask.datasets.photos import Photo, resize_photo
from opmask.datasets.segmentation import segment
from opmask.files.locking import LOCK
from opmask.perturb import Perturber, collate

SIZE = 16


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Photographs and a list of them: two with label maps and two without to train on."""
    rows = [["file", "source", "licence", "clear", "labels", "split"]]
    for number, (clear, split) in enumerate(
        [("no", "train"), ("yes", "train"), ("no", "train"), ("yes", "train"),
         ("no", "validation"), ("yes", "test"), ("no", "foreign"), ("no", "out")]
    ):  # fmt: skip
        name, labels = f"s/{number}.png", f"l/{number}.png" if number % 2 == 0 else "auto"
        write_photo(tmp_path / name, number)
        if labels != "auto":
            write_labels(tmp_path / labels)
        rows.append([name, "s", "CC0", clear, labels, split])
    (tmp_path / "s/7.png").unlink()  # of the split "out", which nobody reads
    with (tmp_path / "photos.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    monkeypatch.setattr(pool, "LIST", tmp_path / "photos.csv")
    return tmp_path


def write_photo(path, seed):
    path.parent.mkdir(exist_ok=True)
    squares = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(squares).resize((40, 30), Image.Resampling.NEAREST).save(path)


def write_labels(path, values=(0, 7, 200, 90)):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.array([values], np.uint8)).resize((40, 30), Image.Resampling.NEAREST).save(
        path
    )


def train(root, **changes):
    return pool.Pool(root, "train", **{"size": SIZE, **changes})


def assert_same(packed, photos):
    assert len(packed) == len(photos)
    for index in range(len(photos)):
        assert torch.equal(packed[index].image, photos[index].image)
        assert torch.equal(packed[index].label_map, photos[index].label_map)
        assert packed[index].name == photos[index].name


def test_the_photos_of_a_split_come_in_the_order_of_the_list(root):
    assert train(root).names == ["s/0.png", "s/1.png", "s/2.png", "s/3.png"]
    for split, name in ("validation", "s/4.png"), ("test", "s/5.png"), ("foreign", "s/6.png"):
        assert pool.Pool(root, split, size=8).names == [name]


def test_only_clear_photos_are_left_on_request(root):
    assert train(root, clear=True).names == ["s/1.png", "s/3.png"]
    assert [files.image for files in pool.listed("test", clear=True)] == ["s/5.png"]
    assert pool.listed("foreign", clear=True) == []


def test_labels_are_resized_and_renumbered_in_their_order(root):
    photo = train(root)[2]
    assert photo.name == "s/2.png"
    assert photo.label_map.dtype == torch.int64
    row = torch.tensor([0, 1, 3, 2]).repeat_interleave(4)
    assert torch.equal(photo.label_map, row.expand(SIZE, SIZE))


def test_labels_without_0_are_numbered_from_1():
    assert pool.renumber(torch.tensor([[9, 5], [300, 5]])).tolist() == [[2, 1], [3, 1]]
    assert pool.renumber(torch.tensor([[9, 0], [300, 5]])).tolist() == [[2, 0], [3, 1]]


def test_images_are_those_of_resize_photo(root):
    blank = torch.ones(30, 40, dtype=torch.int64)
    for index in 0, 1:
        image = read_image(root / f"s/{index}.png")
        expected = resize_photo(Photo(image, blank, ""), SIZE).image
        assert torch.equal(train(root)[index].image, expected)


def test_regions_are_found_in_the_resized_photo_where_nobody_labelled_it(root):
    photo = train(root, size=48)[1]
    assert photo.label_map.max() > 1
    assert torch.equal(photo.label_map, segment(photo.image))


def test_a_split_that_is_not_trained_or_tested_on_is_refused(root):
    with pytest.raises(ValueError, match=r"'split' must be one of train, .*foreign, got 'out'"):
        pool.Pool(root, "out", size=SIZE)


def test_a_size_below_2_is_refused(root):
    with pytest.raises(ValueError, match="'size' must be at least 2, got 1"):
        train(root, size=1)
    assert train(root, size=2)[0].image.shape == (3, 2, 2)


@pytest.mark.parametrize("name", ["s/1.png", "l/2.png"])
def test_missing_files_are_named_before_anything_is_read(root, name):
    (root / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"got \S+, which lacks 1 of 6, such as {name}\."):
        train(root)


def test_a_photo_that_cannot_be_read_is_named(root, tmp_path):
    photo = root / "s/1.png"
    photo.write_bytes(photo.read_bytes()[:60])
    for workers in 0, 2:
        with pytest.raises(BrokenPhotoError, match=r"^\S+s.1.png cannot be read: ") as caught:
            pool.pack(train(root), tmp_path / "out", workers=workers)
        assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_packed_photos_are_the_photos(root, tmp_path, workers):
    packed = pool.pack(train(root), tmp_path / "out", workers=workers)
    assert_same(packed, train(root))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "images.npy", "labels.npy", "photos.json"]  # fmt: skip


def test_a_pack_is_two_arrays_of_bytes_that_numpy_reads(root, tmp_path):
    pool.pack(train(root), tmp_path / "out")
    images, labels = (np.load(tmp_path / "out" / name) for name in ("images.npy", "labels.npy"))
    assert (images.shape, labels.shape) == ((4, 3, SIZE, SIZE), (4, SIZE, SIZE))
    assert images.dtype == labels.dtype == np.uint8
    assert torch.equal(torch.from_numpy(images[3]), train(root)[3].image)
    assert torch.equal(torch.from_numpy(labels[3]).long(), train(root)[3].label_map)


def test_packed_images_are_not_copied_and_the_files_are_safe(root, tmp_path):
    packed = pool.pack(train(root), tmp_path / "out")
    before = (tmp_path / "out/images.npy").read_bytes()
    assert packed[1].image.data_ptr() == packed.images[1].data_ptr()
    packed[1].image.fill_(9)
    assert (tmp_path / "out/images.npy").read_bytes() == before
    assert packed.images.dtype == packed.labels.dtype == torch.uint8
    assert packed[0].label_map.dtype == torch.int64


def test_packed_photos_are_mapped_into_memory(root, tmp_path, monkeypatch):
    pool.pack(train(root), tmp_path / "out")
    load, modes = np.load, []

    def spy(path, mmap_mode=None):
        modes.append(mmap_mode)
        return load(path, mmap_mode=mmap_mode)

    monkeypatch.setattr(np, "load", spy)
    pool.Packed(tmp_path / "out")
    assert modes == ["c", "c"]


def test_packed_photos_can_be_counted_from_the_end_and_have_one(root, tmp_path):
    packed = pool.pack(train(root), tmp_path / "out")
    assert packed[-1].name == "s/3.png"
    assert [photo.name for photo in packed] == packed.names


def test_a_pickle_holds_the_folder_and_no_photos(root, tmp_path):
    packed = pool.pack(train(root, size=64), tmp_path / "out")
    assert len(pickle.dumps(packed)) < 1000
    assert_same(pickle.loads(pickle.dumps(packed)), train(root, size=64))


def test_packed_photos_are_trained_on(root, tmp_path):
    packed = pool.pack(train(root), tmp_path / "out")
    samples = Composites(packed, Perturber(), size=SIZE, seed=1)
    batch = next(iter(DataLoader(samples, 4, sampler=range(4), collate_fn=collate)))
    assert batch.composite.shape == (4, 3, SIZE, SIZE)


class Failing(pool.Pool):
    """Photos that an interrupt stops before the third; or, later, what must not be read again."""

    stop, reads = 2, ()

    def __getitem__(self, index):
        self.reads = (*self.reads, index)
        if index == self.stop:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def interrupt(root, out):
    with pytest.raises(KeyboardInterrupt):
        pool.pack(Failing(root, "train", size=SIZE), out)


def test_what_was_interrupted_goes_on_where_it_was(root, tmp_path):
    interrupt(root, tmp_path / "out")
    photos = Failing(root, "train", size=SIZE)
    photos.stop = None
    packed = pool.pack(photos, tmp_path / "out")
    assert photos.reads == (2, 3)
    assert_same(packed, train(root))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
@pytest.mark.parametrize("left", [0, 50, 128, 128 + 255, 128 + 3 * 256 - 1, 128 + 3 * 256])
def test_half_written_rows_are_written_again(root, tmp_path, name, left):
    pool.pack(train(root), tmp_path / "out")
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:left])
    assert_same(pool.pack(train(root), tmp_path / "out"), train(root))


def test_a_finished_pack_is_left_as_it_is(root, tmp_path):
    pool.pack(train(root), tmp_path / "out")
    photos = Failing(root, "train", size=SIZE)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    pool.pack(photos, tmp_path / "out")
    assert photos.reads == ()
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_half_a_pack_is_not_read(root, tmp_path):
    interrupt(root, tmp_path / "out")
    with pytest.raises(ValueError, match=r"got \S+out with 2 of 4. Write the rest: run pool.py"):
        pool.Packed(tmp_path / "out")


def test_a_folder_without_a_pack_is_not_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no photos: photos.json is missing"):
        pool.Packed(tmp_path)


def test_a_pack_of_another_size_is_refused(root, tmp_path):
    pool.pack(train(root), tmp_path / "out")
    with pytest.raises(ValueError, match=r"must be a new .* got \S+out, which has size 16, not 8"):
        pool.pack(train(root, size=8), tmp_path / "out")


def test_a_pack_of_other_photos_is_refused_whether_it_is_finished_or_not(root, tmp_path):
    interrupt(root, tmp_path / "half")
    pool.pack(train(root), tmp_path / "out")
    for folder in "half", "out":
        with pytest.raises(ValueError, match=r"which has s/0.png as photo 0, not s/1.png"):
            pool.pack(train(root, clear=True), tmp_path / folder)
    assert_same(pool.Packed(tmp_path / "out"), train(root))


def test_photos_that_are_missing_or_too_many_are_named(root, tmp_path):
    pool.pack(train(root), tmp_path / "out")
    content = json.loads((tmp_path / "out/photos.json").read_text())
    for names, message in (
        (content["photos"][:3], "has nothing as photo 3, not s/3.png"),
        ([*content["photos"], "z.png"], "has z.png as photo 4, not nothing"),
    ):
        (tmp_path / "out/photos.json").write_text(json.dumps({**content, "photos": names}))
        with pytest.raises(ValueError, match=message):
            pool.pack(train(root), tmp_path / "out")


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_files_of_something_else_are_left_alone(root, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"holds {name} but no photos.json. Choose another"):
        pool.pack(train(root), tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == b"mine"


@contextmanager
def held_elsewhere(folder):
    """Another process holds a folder."""
    code = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield
        process.stdin.close()


def test_two_processes_do_not_write_the_same_pack(root, tmp_path):
    interrupt(root, tmp_path / "out")
    with (
        held_elsewhere(tmp_path / "out"),
        pytest.raises(ValueError, match="nobody else is writing to"),
    ):
        pool.pack(train(root), tmp_path / "out")
    assert_same(pool.pack(train(root), tmp_path / "out"), train(root))


def test_several_processes_may_read_a_finished_pack(root, tmp_path):
    pool.pack(train(root), tmp_path / "out")
    with held_elsewhere(tmp_path / "out"):
        assert_same(pool.pack(train(root), tmp_path / "out"), train(root))


def test_the_command_packs_every_split(root, tmp_path, capsys):
    out = tmp_path / "packs"
    pool.main(["--data", str(root), "--out", str(out), "--size", "12", "--workers", "0"])
    assert capsys.readouterr().out.splitlines() == [
        "train: 4 photos", "validation: 1 photos", "test: 1 photos", "foreign: 1 photos"]  # fmt: skip  # noqa: E501
    assert_same(pool.Packed(out / "test"), pool.Pool(root, "test", size=12))


def test_the_command_tells_what_is_wrong_in_a_line(root, tmp_path):
    (root / "s/5.png").unlink()
    with pytest.raises(SystemExit, match=r"^'root' must hold all files .* such as s/5.png\.$"):
        pool.main(["--data", str(root), "--out", str(tmp_path / "packs")])
    assert not (tmp_path / "packs").exists()


@pytest.mark.slow
def test_the_command_runs_by_itself(tmp_path):
    command = [sys.executable, "-m", "reproduction.small.pool", "--data", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command += ["--out", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("'root' must hold all files of the list, got ")


def test_real_photographs_are_packed(data_root, tmp_path):
    photos = pool.Pool(data_root, "validation", size=32)
    assert len(photos) == 274
    photos.files = photos.files[::30]
    assert_same(pool.pack(photos, tmp_path / "out"), photos)


def test_every_file_of_the_list_is_there(data_root):
    assert sum(len(pool.Pool(data_root, split, size=8)) for split in pool.SPLITS) == 6152
    assert len(pool.Pool(data_root, "train", size=8, clear=True)) == 1907
