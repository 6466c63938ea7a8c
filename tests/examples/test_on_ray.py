"""Work on Ray: the same bytes as by one process, and resumed after it was killed."""

import filecmp
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import build_benchmark_with_ray
import harmonize_with_ray
import numpy as np
import pytest
from PIL import Image
from reproduction.on_ray import check_gpus, start

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


@pytest.fixture(params=["harmonize", "build"])
def script(request, people, tmp_path):
    """The main function of each script, and arguments for it."""
    if request.param == "build":
        return build_benchmark_with_ray.main, ["lip", str(people), str(tmp_path / "out")]
    photos = str(people / "val_images")
    return harmonize_with_ray.main, [photos, "--out", str(tmp_path / "out")]


@pytest.fixture
def no_ray(monkeypatch):
    """Ray is not to be started."""
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--address", "nonsense"], "must be HOST:PORT, or auto on a machine of the cluster, got"),
        (["--address", "head:"], "must be HOST:PORT"),
        (["--address", ":6379"], "must be HOST:PORT"),
        (["--address", "head:65536"], "must be HOST:PORT"),
        (["--address", "ray://head:10001"], "must be HOST:PORT"),
        (["--workers", "0"], "must be a whole number from 1 on, got 0"),
        (["--workers", "-1"], "must be a whole number from 1 on, got -1"),
    ],
)
def test_bad_flags_are_refused_before_ray_starts(script, flags, message, no_ray, capsys):
    main, arguments = script
    with pytest.raises(SystemExit):
        main([*arguments, *flags])
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("gpus", ["-1", "nan", "1.5", "many"])
def test_what_is_no_share_of_a_gpu_is_refused(gpus, people, tmp_path, no_ray, capsys):
    with pytest.raises(SystemExit):
        harmonize_with_ray.main([str(people), "--out", str(tmp_path), "--gpus", gpus])
    assert f"must be a number from 0 to 1, got {gpus}." in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "a..b"])
def test_an_address_at_which_nothing_answers_is_refused_before_ray_tries(script, host, no_ray):
    main, arguments = script
    with pytest.raises(SystemExit, match=r"'--address' must be that of a running cluster, got"):
        main([*arguments, "--address", f"{host}:1"])


@pytest.fixture
def unfound(monkeypatch):
    """Ray finds no cluster."""

    def refuse(*_, **__):
        raise ConnectionError("no Ray")

    monkeypatch.setattr(ray, "init", refuse)


def test_an_address_at_which_another_program_answers_is_refused(unfound):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SystemExit, match=f"running cluster, got {address}: no Ray"):
            start(address)


def test_a_cluster_that_is_not_named_is_for_ray_to_find(unfound):
    with pytest.raises(SystemExit, match="running cluster, got auto: no Ray"):
        start("auto")


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ({"CPU": 2.0}, r"'--gpus' must be 0 where Ray finds no GPU, got 0.4. Leave it out"),
        ({"GPU": 2.0}, r"'--workers' must be at most 4 with '--gpus 0.4', as Ray finds 2 GPUs"),
    ],
)
def test_gpus_that_ray_would_wait_for_are_refused(there, message, people, tmp_path, monkeypatch):
    monkeypatch.setattr(harmonize_with_ray, "start", lambda address: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    photos, flags = people / "val_images", ["--gpus", "0.4", "--workers", "5"]
    with pytest.raises(SystemExit, match=message):
        harmonize_with_ray.main([str(photos), "--out", str(tmp_path / "out"), *flags])


def test_gpus_with_room_for_all_processes_are_taken(monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 2.0})
    for gpus, workers in ((0, 9), (0.4, 4), (0.1, 20), (1, 2)):
        check_gpus(gpus, workers)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r"pip install 'opmask\[ray\]'"):
        start(None)
