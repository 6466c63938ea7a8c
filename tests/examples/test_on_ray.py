"""Work on Ray: the same bytes as by one process, and resumed after it was killed."""

import filecmp
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reproduction.on_ray import start

from opmask.datasets import LIP
from opmask.datasets.benchmark import BenchmarkConfig, build_benchmark

EXAMPLES = Path(__file__).parents[2] / "examples"
ray = pytest.importorskip("ray")


def command(name, *arguments):
    return [sys.executable, EXAMPLES / name, *map(str, arguments)]


def kill_midway(command, folder, pattern, count):
    """Runs a script and kills it when it has written some files, if it has not ended."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None and len([*folder.glob(pattern)]) < count:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def same(one, other):
    """Whether folders hold the same files, byte for byte."""
    files, others = (
        sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        for folder in (one, other)
    )
    assert files == others
    return filecmp.cmpfiles(one, other, files, shallow=False)[0] == files


def photo(seed, size=(40, 56)):
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BILINEAR)


@pytest.fixture
def people(tmp_path):
    for folder in ("val_images", "val_segmentations"):
        (tmp_path / "lip" / folder).mkdir(parents=True)
    for number in range(30):
        photo(number).save(tmp_path / "lip" / "val_images" / f"{number}.jpg")
        labels = np.zeros((40, 56), np.uint8)
        labels[:, 20:] = 5 if number else 0  # the first has no person
        Image.fromarray(labels).save(tmp_path / "lip" / "val_segmentations" / f"{number}.png")
    return tmp_path / "lip"


@pytest.mark.multiprocess
def test_a_benchmark_has_the_bytes_of_one_built_by_one_process(people, tmp_path):
    config = BenchmarkConfig("LIP", "val", 3, size=32)
    build_benchmark(LIP(people, "val"), people, tmp_path / "alone", config, images=True)
    arguments = ["lip", people, tmp_path / "shared", "--seed", 3, "--size", 32, "--images"]
    shared = command("build_benchmark_with_ray.py", *arguments, "--workers", 2)
    kill_midway(shared, tmp_path / "shared" / "images", "*.png", 5)
    done = run(shared)
    assert done.returncode == 0, done.stderr
    assert "29 of 30 photos kept: 1 without a labelled pixel" in done.stdout
    for folder in (tmp_path / "alone", tmp_path / "shared"):
        (folder / ".lock").unlink(missing_ok=True)
    assert same(tmp_path / "alone", tmp_path / "shared")


@pytest.mark.multiprocess
def test_a_folder_is_harmonized_as_by_the_command_and_bad_files_are_listed(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(8):
        photo(number, (64, 96)).save(photos / f"{number}.png")
    (photos / "bad.jpg").write_text("no picture")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    options = ["-o", alone, "--save-edits", alone / "edits", "--device", "cpu"]
    run([sys.executable, "-m", "opmask", "harmonize", photos, *options])
    on_ray = command("harmonize_with_ray.py", photos, "--out", shared, "--workers", 2)
    kill_midway(on_ray, shared, "*.png", 3)
    done = run(on_ray)
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    failed = shared / "failed.txt"
    assert failed.read_text().startswith(f"{photos / 'bad.jpg'} cannot be read: it is no picture")
    failed.unlink()
    assert same(alone, shared)


def test_an_address_at_which_nothing_answers_is_refused(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no answer")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(SystemExit, match=r"'--address' must be that of a cluster, got a:1: no"):
        start("a:1")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r"pip install 'opmask\[ray\]'"):
        start(None)
