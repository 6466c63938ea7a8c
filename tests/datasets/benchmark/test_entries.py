import dataclasses
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from PIL import Image

import opmask
from opmask.datasets import ADE20K, BenchmarkConfig, PhotoCounts
from opmask.datasets import build_benchmark as build
from opmask.datasets.benchmark.lines import Header
from opmask.files.locking import LOCK
from opmask.perturb import DEFAULT

CONFIG = BenchmarkConfig("ADE20K", "validation", seed=3)
HALF = ".half-made.jsonl"


class Watched(ADE20K):
    """Photos that note which of them were read, and end the reading at one of them."""

    def __init__(self, root, end=None):
        super().__init__(root, "validation")
        self.end = end
        self.read = []

    def __getitem__(self, index):
        if index == self.end:
            raise KeyboardInterrupt
        self.read.append(index)
        return super().__getitem__(index)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def whole(ade20k, tmp_path):
    """The manifest of a build that was not interrupted."""
    return build(Watched(ade20k), ade20k, tmp_path / "whole", CONFIG).manifest.read_bytes()


@pytest.fixture
def half(ade20k, out):
    """What is left of a build that was interrupted before photo 3: the samples of 0 and 2."""
    with pytest.raises(KeyboardInterrupt):
        build(Watched(ade20k, end=3), ade20k, out, CONFIG)
    return out / HALF


def read_again(ade20k, out, whole, config=CONFIG, **choices):
    """Which photos another build reads; its manifest must be that of one at once."""
    photos = Watched(ade20k)
    manifest = build(photos, ade20k, out, config, **choices).manifest
    assert whole is None or manifest.read_bytes() == whole
    assert [path.name for path in out.iterdir()] == ["manifest.jsonl"]
    return photos.read


def test_what_was_drawn_is_kept_line_by_line(half, whole):
    first, *others = half.read_bytes().splitlines()
    header = Header(CONFIG, opmask.__version__, 5, 0, table_1=PhotoCounts(2000, 2000))
    assert b'"kept": 0' in first
    assert Header.from_json(first) == header
    assert others == whole.splitlines()[1:3]


def test_samples_drawn_before_are_not_drawn_again(ade20k, out, half, whole):
    assert read_again(ade20k, out, whole) == [1, 3, 4]  # 1 has no labelled pixel


def test_workers_go_on_where_the_others_ended(ade20k, out, half, whole):
    assert read_again(ade20k, out, whole, workers=2) == []  # by this process


@pytest.mark.parametrize("cut", [1, 2, 50])
def test_a_line_that_was_cut_off_is_drawn_again(ade20k, out, half, whole, cut):
    half.write_bytes(half.read_bytes()[:-cut])
    assert read_again(ade20k, out, whole) == [1, 2, 3, 4]


def test_a_first_line_that_was_cut_off_starts_anew(ade20k, out, half, whole):
    half.write_bytes(half.read_bytes().splitlines()[0])
    assert read_again(ade20k, out, whole) == [0, 1, 2, 3, 4]


def test_it_may_be_interrupted_again(ade20k, out, half, whole):
    half.write_bytes(half.read_bytes()[:-1])
    with pytest.raises(KeyboardInterrupt):
        build(Watched(ade20k, end=4), ade20k, out, CONFIG)
    assert read_again(ade20k, out, whole) == [1, 4]


def test_another_benchmark_starts_anew(ade20k, out, half):
    config = dataclasses.replace(CONFIG, seed=4)
    assert read_again(ade20k, out, None, config) == [0, 1, 2, 3, 4]


def test_other_settings_start_anew(ade20k, out, half):
    own = dataclasses.replace(DEFAULT, second_rate=0.2)
    assert read_again(ade20k, out, None, settings=own) == [0, 1, 2, 3, 4]


def test_another_version_starts_anew(ade20k, out, half, monkeypatch):
    monkeypatch.setattr("opmask.datasets.benchmark.build.__version__", "99")
    assert read_again(ade20k, out, None) == [0, 1, 2, 3, 4]


def test_photos_that_changed_places_are_drawn_again(ade20k, out, half):
    photos = Watched(ade20k)
    photos.pairs = [photos.pairs[index] for index in (0, 3, 1, 2, 4)]
    manifest = build(photos, ade20k, out, CONFIG).entries
    assert photos.read == [1, 2, 3, 4]
    assert [entry.photo[-6:-4] for entry in manifest] == ["p0", "p3", "p2", "p4"]
    assert [entry.index for entry in manifest] == [0, 1, 3, 4]


def test_a_label_map_that_moved_is_drawn_again(ade20k, out, half):
    photos = Watched(ade20k)
    photos.pairs[2] = photos.pairs[2][0], photos.pairs[3][1]
    build(photos, ade20k, out, CONFIG)
    assert photos.read == [1, 2, 3, 4]


def test_what_could_not_be_used_is_tried_again(ade20k, out, half):
    Image.new("L", (41, 30), 7).save(ade20k / "annotations/validation/p1.png")
    benchmark = build(Watched(ade20k), ade20k, out, CONFIG)
    assert [entry.index for entry in benchmark.entries] == [0, 1, 2, 3, 4]
    assert benchmark.header.unlabelled == ()


def test_a_damaged_line_is_named(ade20k, out, half):
    lines = half.read_bytes().splitlines(keepends=True)
    half.write_bytes(b"".join([lines[0], b"\0\0\n", lines[2]]))
    with pytest.raises(
        ValueError, match=r"\.half-made\.jsonl, line 2: the sample: JSON is malformed"
    ):
        build(Watched(ade20k), ade20k, out, CONFIG)


def test_what_a_build_left_that_was_killed_at_its_very_end_is_removed(ade20k, out, half, whole):
    left = half.read_bytes()
    read_again(ade20k, out, whole)
    half.write_bytes(left)
    assert read_again(ade20k, out, whole) == []


def test_a_warning_tells_of_broken_photos_whenever_they_are_tried(ade20k, out, caplog):
    (ade20k / "images/validation/p0.jpg").write_bytes(b"no picture")
    with pytest.raises(KeyboardInterrupt):
        build(Watched(ade20k, end=3), ade20k, out, CONFIG)
    build(Watched(ade20k), ade20k, out, CONFIG)
    assert caplog.text.count("photo left out: ") == 2


SCRIPT = """
import sys, time
from opmask.datasets import ADE20K, BenchmarkConfig, build_benchmark
root, out, workers = sys.argv[1:]
class Slow(ADE20K):
    def __getitem__(self, index):
        time.sleep(0.02)
        return super().__getitem__(index)
config = BenchmarkConfig("ADE20K", "validation", seed=3)
build_benchmark(Slow(root, "validation"), root, out, config, images=True, workers=int(workers))
"""


@pytest.fixture
def start(out):
    """A function that starts a slow build and waits until some samples are drawn."""
    started = []

    def start(root, workers, count):
        command = [sys.executable, "-c", SCRIPT, str(root), str(out), str(workers)]
        path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(command, start_new_session=True, env=path)
        started.append(process)
        while not (out / HALF).exists() or (out / HALF).read_bytes().count(b"\n") <= count:
            assert process.poll() is None
            time.sleep(0.005)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers outlive it by seconds
        process.wait()


def content(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.*")}


@pytest.mark.multiprocess
@pytest.mark.parametrize("workers", [0, 2])
def test_a_build_killed_while_drawing_goes_on_at_once(tmp_path, out, plant, start, workers):
    root = plant(tmp_path / "many", count=60)
    build(Watched(root), root, tmp_path / "whole", CONFIG, images=True)
    process = start(root, workers, 20)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert sorted(path.name for path in out.iterdir()) == [HALF, LOCK]  # which blocks nobody
    drawn = (out / HALF).read_bytes().count(b"\n") - 1
    photos = Watched(root)
    build(photos, root, out, CONFIG, images=True)
    assert 20 <= drawn < 60
    assert photos.read == list(range(drawn, 60))
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.multiprocess
def test_a_second_build_into_the_same_folder_is_refused(tmp_path, out, plant, start):
    root = plant(tmp_path / "many", count=60)
    process = start(root, 0, 3)
    photos = Watched(root)
    with pytest.raises(ValueError, match="'out' must be a folder that nobody else is writ"):
        build(photos, root, out, CONFIG)
    assert photos.read == []
    assert process.wait() == 0
    build(photos, root, tmp_path / "whole", CONFIG, images=True)
    assert content(out) == content(tmp_path / "whole")
