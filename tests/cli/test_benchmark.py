import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from opmask import cli
from opmask.cli.benchmark import SETTINGS
from opmask.datasets import ADE20K, LIP, BenchmarkConfig, IHarmony4, build_benchmark
from opmask.datasets.benchmark import RECOMPRESSION_QUALITY, read_manifest
from opmask.perturb import PRESETS


@pytest.fixture
def root(tmp_path):
    """Three photos, in the layouts of both data sets; the last has no labelled pixel."""
    folders = (
        ("images/validation", "annotations/validation"),
        ("images/training", "annotations/training"),
        ("val_images", "val_segmentations"),
    )
    for images, label_maps in folders:
        for folder in images, label_maps:
            (tmp_path / "root" / folder).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
            label_map = np.full((20, 30), 4 if number < 2 else 0, np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"root/{images}/p{number}.jpg")
            Image.fromarray(label_map).save(tmp_path / f"root/{label_maps}/p{number}.png")
    return tmp_path / "root"


def run(capsys, *arguments):
    """The status, and what was written to the standard output and error."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    return end.value.code, *capsys.readouterr()


def build(capsys, *arguments):
    return run(capsys, "build-benchmark", *arguments, "--workers", 0)


def test_a_benchmark_is_built_and_its_counts_are_printed(root, tmp_path, capsys):
    status, output, errors = build(capsys, "ade20k", root, tmp_path / "out")
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "2 of 3 photos kept: 1 without a labelled pixel, 0 that cannot be used. "
        "In the paper (Table 1) it is 2000 of 2000.",
        f"Written: {tmp_path / 'out/manifest.jsonl'}",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.jsonl"]


@pytest.mark.parametrize(
    ("data", "kind", "split"), [("ade20k", ADE20K, "validation"), ("lip", LIP, "val")]
)
def test_defaults_are_those_of_the_library_and_of_the_papers_test(
    root, tmp_path, capsys, data, kind, split
):
    assert build(capsys, data, root, tmp_path / "out")[0] == 0
    config = BenchmarkConfig(kind.__name__, split)
    build_benchmark(kind(root, split), root, tmp_path / "expected", config)
    written = [(tmp_path / name / "manifest.jsonl").read_bytes() for name in ("out", "expected")]
    assert written[0] == written[1]


def test_options_reach_the_benchmark(root, tmp_path, capsys):
    options = (
        "--split training --seed 5 --settings reference-rgb --size 16 --recompress --quality 70"
    )
    status, output, _ = build(
        capsys, "ade20k", root, tmp_path / "out", *options.split(), "--images"
    )
    assert status == 0
    assert output.endswith(f"manifest.jsonl and {tmp_path / 'out/images'}\n")
    header, _ = read_manifest(tmp_path / "out/manifest.jsonl")
    assert header.config == BenchmarkConfig("ADE20K", "training", 5, "reference-rgb", 16, 70)
    assert len(list((tmp_path / "out/images").iterdir())) == 2


def test_recompression_has_the_quality_90_by_default_and_quality_alone_changes_nothing(
    root, tmp_path, capsys
):
    build(capsys, "lip", root, tmp_path / "compressed", "--recompress")
    build(capsys, "lip", root, tmp_path / "plain", "--quality", 70)
    found = [
        read_manifest(tmp_path / n / "manifest.jsonl")[0].config for n in ("compressed", "plain")
    ]
    assert [config.recompression for config in found] == [90, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["coco", "ROOT", "OUT"], "'data' must be ade20k or lip, got 'coco'."),
        (["lip", "ROOT", "OUT", "--split", "x"], "'split' must be one of ('train', 'val'), got"),
        (
            ["lip", "ROOT", "OUT", "--settings", "best"],
            "'settings' must be one of default, lifelike",
        ),
        (["lip", "ROOT", "OUT", "--size", "0"], "'size' must be at least 1, got 0."),
        (
            ["lip", "ROOT", "OUT", "--recompress", "--quality", "0"],
            "'quality' must lie in [1, 100]",
        ),
        (["lip", "GONE", "OUT"], "'root' must hold photographs and label maps of the same names"),
        (["lip", "ROOT", "ROOT"], "'out' must be a new or an empty folder or that of the same"),
        (["lip", "ROOT", "FILE/out"], "'out' must be a folder that can be written to, got"),
    ],
)
def test_what_the_library_refuses_is_one_line_and_status_1(
    root, tmp_path, capsys, arguments, message
):
    (tmp_path / "file").touch()
    places = {"ROOT": "root", "OUT": "out", "GONE": "gone", "FILE/out": "file/out"}
    arguments = [tmp_path / places[a] if a in places else a for a in arguments]
    status, output, errors = build(capsys, *arguments)
    assert (status, output) == (1, "")
    assert errors.startswith(f"opmask: {message}")
    assert errors.count("\n") == 1


def test_the_folder_of_another_benchmark_is_refused(root, tmp_path, capsys):
    build(capsys, "lip", root, tmp_path / "out")
    status, _, errors = build(capsys, "lip", root, tmp_path / "out", "--seed", 1)
    assert status == 1
    assert "has 'seed' 0, not 1. Choose another folder.\n" in errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opmask_benchmark": 9}, "'opmask_benchmark', the version of the format, must be 1"),
        ({"seed": None}, "the header: expected `int`, got `null`, in the field 'seed'"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(root, tmp_path, capsys, change, message):
    build(capsys, "lip", root, tmp_path / "out")
    manifest = tmp_path / "out/manifest.jsonl"
    first, *others = manifest.read_text().splitlines()
    manifest.write_text("\n".join([json.dumps({**json.loads(first), **change}), *others]))
    status, _, errors = build(capsys, "lip", root, tmp_path / "out")
    assert status == 1
    assert f"manifest.jsonl, line 1: {message}" in errors


def test_arguments_that_make_no_sense_have_status_2(root, tmp_path, capsys):
    status, _, errors = build(capsys, "lip", root, tmp_path / "out", "--size", "large")
    assert status == 2
    assert "--size" in errors
    assert "Traceback" not in errors
    assert run(capsys, "build-benchmark", "lip")[0] == 2
    assert run(capsys, "no-such-command")[0] == 2


def test_help_names_the_commands_and_their_options(capsys):
    status, output, _ = run(capsys, "--help")
    assert status == 0
    assert "build-benchmark" in output
    output = run(capsys, "build-benchmark", "--help")[1]
    for name in [
        "split",
        "seed",
        "settings",
        "size",
        "recompress",
        "quality",
        "images",
        "workers",
    ]:
        assert f"--{name}" in output


def test_one_process_for_each_processor_works_by_default(root, tmp_path, capsys, monkeypatch):
    asked = []

    def record(*arguments, workers, **options):
        asked.append(workers)
        return build_benchmark(*arguments, **options)

    monkeypatch.setattr("opmask.datasets.benchmark.build_benchmark", record)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    run(capsys, "build-benchmark", "lip", root, tmp_path / "a")
    run(capsys, "build-benchmark", "lip", root, tmp_path / "a", "--workers", 3)
    monkeypatch.setattr(os, "cpu_count", lambda: None)  # where Python cannot tell
    run(capsys, "build-benchmark", "lip", root, tmp_path / "a")
    assert asked == [7, 3, 1]


@pytest.mark.slow
def test_the_command_runs_by_itself(root, tmp_path):
    program = [sys.executable, "-W", "error", "-c", "from opmask.cli import main; main()"]
    arguments = ["build-benchmark", "lip", str(root), str(tmp_path / "new/out"), "--images"]
    ended = subprocess.run(
        program + arguments,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("2 of 3 photos kept")


def test_a_label_map_without_pixels_is_left_out(root, tmp_path, capsys):
    (root / "val_segmentations/p0.png").write_bytes(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0\x3a\x7e\x9b\x55"
        b"\0\0\0\0IEND\xae\x42\x60\x82"
    )
    assert run(capsys, "build-benchmark", "lip", root, tmp_path / "out")[0] == 0
    assert len(read_manifest(tmp_path / "out/manifest.jsonl")[1]) == 1


def test_what_is_there_stays_and_is_said(root, tmp_path, capsys):
    build(capsys, "ade20k", root, tmp_path / "out")
    output = build(capsys, "ade20k", root, tmp_path / "out", "--images")[1]
    assert output.splitlines()[2:] == ["1 of 3 files were there already and stay."]
    output = build(capsys, "ade20k", root, tmp_path / "out", "--images")[1]
    assert output.splitlines()[2:] == ["3 of 3 files were there already and stay."]


def test_help_shows_the_settings_and_the_quality_that_the_library_has(capsys):
    assert tuple(PRESETS) == SETTINGS
    assert f"[default: {RECOMPRESSION_QUALITY}]" in run(capsys, "build-benchmark", "--help")[1]


def make(capsys, *arguments):
    return run(capsys, "make-iharmony4", *arguments, "--workers", 0)


def test_a_set_in_iharmony4s_format_is_made_and_said(root, tmp_path, capsys):
    for split in "training", "validation":  # whose names differ in the published data, too
        for path in root.glob(f"*/{split}/*.*"):
            path.rename(path.with_name(f"{split}-{path.name}"))
    for path in root.glob("annotations/*/*.png"):
        label_map = np.array(Image.open(path))
        label_map[:, :9] = 2 * (label_map[:, :9] > 0)
        Image.fromarray(label_map).save(path)
    out = tmp_path / "out"
    status, output, _ = make(capsys, root, out, "--size", 16, "--variants", 2, "--quality", 80)
    assert status == 0
    assert output.splitlines() == [
        f"train: 3 photos in {root / 'images/training'}",
        f"test: 3 photos in {root / 'images/validation'}",
        f"train: 4 composites, {out / 'IHD_train.txt'}",
        f"test: 4 composites, {out / 'IHD_test.txt'}",
        f"Written: {out / 'HOwn'}, JPEG of quality 80, colours not subsampled; "
        "masks are PNG, white where the photo was changed.",
    ]
    assert [len(IHarmony4(out, split)) for split in ("train", "test")] == [4, 4]


def test_sets_of_scenes_are_made_as_options_say(tmp_path, capsys):
    options = "--subset HA --seed 3 --size 32 --format png --masks 2 --test-share 0.5"
    status, output, _ = make(capsys, "scenes:2", tmp_path, *options.split())
    assert (status, output.splitlines()[0]) == (0, "train: 1 photos")
    assert "HA, PNG; masks are PNG" in output
    samples = IHarmony4(tmp_path, "test", "HA")
    assert len(samples) == 2
    assert samples[0].composite.shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["GONE", "OUT"], "'source' must be a folder in the layout of ADE20K"),
        (["scenes:2", "OUT", "--format", "gif"], "'format' must be one of ('jpg', 'png'), got"),
        (["scenes:2", "ROOT"], "'out' must be a new or an empty folder or one of sets that were"),
    ],
)
def test_what_cannot_be_made_is_one_line(root, tmp_path, capsys, arguments, message):
    places = {"ROOT": root, "OUT": tmp_path / "out", "GONE": tmp_path / "gone"}
    status, _, errors = make(capsys, *(places.get(a, a) for a in arguments))
    assert status == 1
    assert errors.startswith(f"opmask: {message}")
    assert errors.count("\n") == 1
