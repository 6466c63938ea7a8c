import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

import opmask
from opmask.datasets import ADE20K, LIP, Benchmark, BenchmarkConfig, PhotoFiles, Triptychs
from opmask.datasets import build_benchmark as build
from opmask.datasets.benchmark.lines import Entry
from opmask.datasets.benchmark.manifest import sha256
from opmask.datasets.benchmark.triptych import to_triptych
from opmask.datasets.pairs import PhotoCounts
from opmask.perturb import DEFAULT, REFERENCE, Filter, draw, sample_seed

CONFIG = BenchmarkConfig("ADE20K", "validation", seed=3)


@pytest.fixture
def photos(ade20k):
    return ADE20K(ade20k, "validation")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def content(folder):
    """All files of a folder and what they hold."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.*")}


def test_entries_say_which_files_and_what_is_done_to_them(photos, ade20k, out):
    benchmark = build(photos, ade20k, out, CONFIG)
    entry = benchmark.entries[1]
    assert (entry.index, entry.recompression) == (2, None)
    assert entry.photo == "images/validation/p2.jpg"
    assert entry.label_map == "annotations/validation/p2.png"
    assert entry.photo_sha256 == sha256(ade20k / entry.photo)
    assert entry.label_map_sha256 == sha256(ade20k / entry.label_map)
    assert entry.applied == draw(photos[2].label_map, sample_seed(3, 0, 2), DEFAULT)


def test_the_header_says_what_was_kept_and_what_was_not(photos, ade20k, out, caplog):
    (ade20k / "images/validation/p3.jpg").write_bytes(b"no picture")
    header = build(photos, ade20k, out, CONFIG).header
    assert (header.config, header.version) == (CONFIG, opmask.__version__)
    assert (header.photos, header.kept) == (5, 3)
    assert header.unlabelled == ("images/validation/p1.jpg",)
    assert header.broken == ("images/validation/p3.jpg",)
    assert header.table_1 == PhotoCounts(2000, 2000)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "photo left out: " in caplog.text
    assert "p3.jpg cannot be read" in caplog.text


def test_lip_is_compared_with_its_own_counts(tmp_path, out, plant):
    root = plant(tmp_path / "lip", "lip", count=2)
    header = build(LIP(root, "val"), root, out, BenchmarkConfig("LIP", "val")).header
    assert (header.kept, header.table_1) == (2, PhotoCounts(10000, 9972))


def test_any_pairs_of_files_will_do(ade20k, out):
    class Barns(PhotoFiles):
        def __init__(self):
            self.pairs = ADE20K(ade20k, "validation").pairs[2:4]

    benchmark = build(Barns(), ade20k.parent, out, BenchmarkConfig("barns", "all"))
    assert benchmark.header.table_1 is None
    assert benchmark.entries[0].photo == "ade20k/images/validation/p2.jpg"


def test_only_a_manifest_is_written_unless_images_are_asked_for(photos, ade20k, out):
    assert build(photos, ade20k, out, CONFIG).manifest == out / "manifest.jsonl"
    assert list(content(out)) == ["manifest.jsonl"]


@pytest.mark.parametrize(
    "choices", [{}, {"size": 16}, {"settings": "reference"}, {"recompression": 80}]
)
def test_images_are_those_of_the_rebuilt_samples(photos, ade20k, out, choices):
    config = BenchmarkConfig("ADE20K", "validation", **choices)
    benchmark = build(photos, ade20k, out, config, images=True)
    names = [f"images/00000{n}-p{n}.png" for n in (0, 2, 3, 4)]
    assert list(content(out)) == [*names, "manifest.jsonl"]
    for picture, sample in zip(Triptychs(out / "images"), benchmark, strict=True):
        assert torch.equal(to_triptych(picture), to_triptych(sample))


def test_the_number_of_workers_changes_nothing(photos, ade20k, tmp_path):
    (ade20k / "images/validation/p3.jpg").write_bytes(b"no picture")
    folders = [tmp_path / f"b{workers}" for workers in (0, 2)]
    for workers, folder in zip((0, 2), folders, strict=True):
        build(photos, ade20k, folder, CONFIG, images=True, workers=workers)
    assert content(folders[0]) == content(folders[1])


def test_the_global_random_state_stays(photos, ade20k, out):
    before = torch.get_rng_state()
    build(photos, ade20k, out, CONFIG, images=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_gives_another_benchmark(photos, ade20k, tmp_path):
    configs = CONFIG, BenchmarkConfig("ADE20K", "validation", seed=4)
    first, second = (build(photos, ade20k, tmp_path / str(r.seed), r).entries for r in configs)
    assert not {e.applied.seed for e in first} & {e.applied.seed for e in second}


def test_images_can_be_added_later(photos, ade20k, tmp_path, out):
    build(photos, ade20k, out, CONFIG)
    before = times(out)
    build(photos, ade20k, out, CONFIG, images=True)
    build(photos, ade20k, tmp_path / "once", CONFIG, images=True)
    assert content(out) == content(tmp_path / "once")
    assert times(out).items() >= before.items()


def test_what_is_whole_stays_and_the_rest_is_made(photos, ade20k, out):
    build(photos, ade20k, out, CONFIG, images=True)
    first, half, gone, last = sorted((out / "images").iterdir())
    expected, before = content(out), times(out)
    half.write_bytes(half.read_bytes()[:-1])
    gone.unlink()
    build(photos, ade20k, out, CONFIG, images=True, workers=1)
    assert content(out) == expected
    kept = {name for name, changed in times(out).items() if changed == before[name]}
    assert kept == {first.name, last.name, "manifest.jsonl"}


def test_leftovers_of_a_killed_build_are_removed(photos, ade20k, out):
    out.mkdir()
    (out / ".manifest.opmask-0123abcd.jsonl").write_text("{")
    build(photos, ade20k, out, CONFIG)
    (out / "images").mkdir()
    (out / "images/.000000-p0.opmask-0123abcd.png").write_bytes(b"half")
    build(photos, ade20k, out, CONFIG)
    assert list(content(out)) == ["manifest.jsonl"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"data": "LIP"}, "'data' 'ADE20K', not 'LIP'"),
        ({"split": "training"}, "'split' 'validation', not 'training'"),
        ({"seed": 4}, "'seed' 3, not 4"),
        ({"settings": "reference"}, "'settings' 'default', not 'reference'"),
        ({"size": 16}, "'size' None, not 16"),
        ({"recompression": 90}, "'recompression' None, not 90"),
    ],
)
def test_the_folder_of_another_benchmark_is_refused(photos, ade20k, out, change, field):
    build(photos, ade20k, out, CONFIG)
    before = content(out)
    other = BenchmarkConfig(**{"data": "ADE20K", "split": "validation", "seed": 3, **change})
    with pytest.raises(ValueError, match=f"'out' must be the folder of the same .* has {field}"):
        build(photos, ade20k, out, other, images=True)
    assert content(out) == before


def test_the_folder_of_other_photos_is_refused(photos, ade20k, out):
    build(photos, ade20k, out, CONFIG)
    photos.pairs = photos.pairs[:4]
    with pytest.raises(ValueError, match="has 'photos' 5, not 4"):
        build(photos, ade20k, out, CONFIG)


def test_a_folder_that_holds_something_else_is_refused(photos, ade20k, out):
    (out / "images").mkdir(parents=True)
    (out / "images/.mine.png").touch()
    (out / "thesis.tex").touch()
    message = r"got .*out, which has no manifest.jsonl but 'images'"
    with pytest.raises(ValueError, match=message):
        build(photos, ade20k, out, CONFIG)
    assert list(content(out)) == ["images/.mine.png", "thesis.tex"]


def test_a_damaged_manifest_is_not_overwritten(photos, ade20k, out):
    out.mkdir()
    (out / "manifest.jsonl").write_text("{")
    with pytest.raises(
        ValueError, match=r"manifest\.jsonl, line 1: the header: Input data was trunc"
    ):
        build(photos, ade20k, out, CONFIG)


def test_without_a_usable_photo_nothing_is_written(tmp_path, out, plant):
    root = plant(tmp_path / "empty", count=2, empty=(0, 1))
    with pytest.raises(ValueError, match="'photos' must hold one that can be used, got none in 2"):
        build(ADE20K(root, "validation"), root, out, CONFIG)
    assert content(out) == {}


def test_photos_outside_of_the_root_are_refused(photos, ade20k, out):
    message = r"'root' must be a folder of all photos, got .*annotations: .*p0\.jpg"
    with pytest.raises(ValueError, match=message):
        build(photos, ade20k / "annotations", out, CONFIG)
    assert not out.exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_files_that_changed_since_then_end_it_with_a_plain_message(photos, ade20k, out, workers):
    build(photos, ade20k, out, CONFIG)
    (ade20k / "images/validation/p2.jpg").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"^\S*p2.jpg must have the SHA-256 .*was built\.$"):
        build(photos, ade20k, out, CONFIG, images=True, workers=workers)


def test_a_folder_that_cannot_be_written_to_shows_before_the_work(ade20k, tmp_path):
    (tmp_path / "file").touch()

    class Untouched(ADE20K):
        def __getitem__(self, index):
            raise AssertionError

    with pytest.raises(OSError, match="file"):
        build(Untouched(ade20k, "validation"), ade20k, tmp_path / "file/out", CONFIG)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_ends_it_and_leaves_no_half_image(photos, ade20k, out, monkeypatch, workers):
    def fail(picture, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match=r"cannot be written: No space left on device\. Free"):
        build(photos, ade20k, out, CONFIG, images=True, workers=workers)
    assert list(content(out)) == ["manifest.jsonl"]


def test_a_disk_that_is_full_of_samples_is_named(photos, ade20k, out, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Entry, "to_json", fail)
    with pytest.raises(OSError, match=r"half-made.jsonl' cannot be written: No space .* Free"):
        build(photos, ade20k, out, CONFIG)


def test_mistakes_of_a_data_set_are_not_swallowed(ade20k, out):
    class Failing(ADE20K):
        def __getitem__(self, index):
            raise KeyError("a mistake in the data set")

    with pytest.raises(KeyError, match="a mistake"):
        build(Failing(ade20k, "validation"), ade20k, out, CONFIG)
    assert not (out / "manifest.jsonl").exists()


def negative(image):
    return 255 - image


@dataclass(frozen=True)
class Darker:
    steps: int

    def __call__(self, image):
        return image - image.clamp(max=self.steps)


def draw_own(rng):
    return negative if rng.random() < 0.5 else Darker(int(rng.random() * 90) + 10)


def only_filters_on_class_2(label, perturbation):
    return label != 2 or isinstance(perturbation, Filter)


def nothing_on_class_7(label, perturbation):
    return label != 7


OWN = replace(DEFAULT, draw_second=draw_own, second_rate=1.0)


@pytest.mark.parametrize("choices", [{}, {"size": 16}, {"recompression": 80}])
def test_perturbations_of_ones_own_are_rebuilt(photos, ade20k, out, choices):
    config = BenchmarkConfig("ADE20K", "validation", **choices)
    own = [negative, Darker]
    build(photos, ade20k, out, config, images=True, settings=OWN, perturbations=own)
    rebuilt = Benchmark(out, ade20k, own)
    for entry in rebuilt.entries:
        label_map, seed = photos[entry.index].label_map, sample_seed(0, 0, entry.index)
        assert entry.applied == draw(label_map, seed, OWN)
    for picture, sample in zip(Triptychs(out / "images"), rebuilt, strict=True):
        assert torch.equal(to_triptych(picture), to_triptych(sample))


def test_a_policy_decides_what_is_drawn(photos, ade20k, out):
    own = replace(OWN, policy=only_filters_on_class_2)
    benchmark = build(photos, ade20k, out, CONFIG, settings=own, perturbations=[negative, Darker])
    changes = [change for entry in benchmark.entries for change in entry.applied.regions]
    assert {len(change.perturbations) for change in changes if change.label == 2} == {1}
    assert {len(change.perturbations) for change in changes if change.label != 2} == {2}


def test_photos_that_a_policy_spares_are_left_out(photos, ade20k, out, caplog):
    Image.new("L", (42, 30), 7).save(ade20k / "annotations/validation/p2.png")
    own = replace(DEFAULT, policy=nothing_on_class_7)
    benchmark = build(photos, ade20k, out, CONFIG, settings=own)
    assert [entry.index for entry in benchmark.entries] == [0, 3, 4]
    assert benchmark.header.broken == ("images/validation/p2.jpg",)
    assert "p2.jpg cannot be changed: 'policy' must allow some change" in caplog.text


def test_the_manifest_says_in_what_settings_differ(photos, ade20k, tmp_path):
    def header(config, **choices):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        return build(photos, ade20k, out, config, **choices).header

    reference = replace(CONFIG, settings="reference")
    own = replace(DEFAULT, second_rate=0.25, policy=only_filters_on_class_2)
    assert header(CONFIG, settings=DEFAULT) == header(CONFIG)
    assert header(CONFIG).own_settings == header(reference).own_settings == ""
    found = header(CONFIG, settings=own).own_settings
    assert found == "second_rate=0.25, policy=only_filters_on_class_2"
    own = replace(REFERENCE, compositing=DEFAULT.compositing)
    found = header(reference, settings=own).own_settings
    assert found == "compositing=Compositing(name='rgb-antialiased')"


def test_the_folder_of_other_settings_is_refused(photos, ade20k, out):
    build(photos, ade20k, out, CONFIG)
    with pytest.raises(ValueError, match="has 'own_settings' '', not 'second_rate=0"):
        build(photos, ade20k, out, CONFIG, settings=replace(DEFAULT, second_rate=0.51))


def test_perturbations_that_are_not_given_are_refused_at_once(photos, ade20k, out):
    message = r"'perturbations' must hold (negative|Darker), .*Pass perturbations="
    with pytest.raises(ValueError, match=message):
        build(photos, ade20k, out, CONFIG, settings=OWN)
    assert (out / ".half-made.jsonl").read_bytes().count(b"\n") == 1
    build(photos, ade20k, out, CONFIG, settings=OWN, perturbations=[negative, Darker])
    with pytest.raises(ValueError, match=rf"manifest\.jsonl, line 2: in the field .*{message}"):
        Benchmark(out, ade20k)


def odd(ade20k):
    """Makes the five photos, and five more, of every kind that there is."""
    images, maps = ade20k / "images/validation", ade20k / "annotations/validation"
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)
    for number in range(5, 10):
        Image.fromarray(noise[..., :3]).save(images / f"p{number}.jpg")
    Image.fromarray(noise[..., 0]).save(images / "p0.jpg")  # one channel
    Image.fromarray(noise).save(images / "p2.jpg", "PNG")  # alpha
    (images / "p3.jpg").write_bytes((images / "p3.jpg").read_bytes()[:900])  # truncated
    labels = np.full((30, 40), 300, np.uint16)  # above 255
    labels[:, 20:] = 7
    Image.fromarray(labels).save(maps / "p0.png")
    for size, number in ((20, 15), 2), ((21, 15), 5):  # of another size, and another shape
        Image.new("L", size, 7).save(maps / f"p{number}.png")
    nan = Image.fromarray(np.full((30, 40), np.nan, np.float32))
    nan.save(maps / "p6.png", "TIFF")
    (maps / "p7.png").write_bytes((maps / "p4.png").read_bytes()[:70])
    Image.fromarray(noise[..., :3]).save(maps / "p8.png")  # colours
    Image.fromarray(labels.astype(np.int32) - 8).save(maps / "p9.png", "TIFF")  # -1 and 292


def test_odd_files_are_used_or_left_out_with_their_names(ade20k, out, caplog):
    odd(ade20k)
    photos = ADE20K(ade20k, "validation")
    benchmark = build(photos, ade20k, out, CONFIG, images=True)
    assert [entry.index for entry in benchmark.entries] == [0, 2, 4]
    assert {change.label for change in benchmark.entries[0].applied.regions} <= {7, 300}
    names = tuple(f"images/validation/p{number}.jpg" for number in (3, 5, 6, 7, 8, 9))
    assert (benchmark.header.unlabelled, benchmark.header.broken) == (
        ("images/validation/p1.jpg",),
        names,
    )
    rules = [
        "p3.jpg cannot be read",
        "p5.png must have the aspect ratio",
        "p6.png must hold whole numbers from 0 on",
        "p7.png cannot be read",
        "p8.png must have a single channel",
        "p9.png must hold whole numbers from 0 on",
    ]
    for message, rule in zip(caplog.messages, rules, strict=True):
        assert rule in message
    for picture, sample in zip(Triptychs(out / "images"), benchmark, strict=True):
        assert torch.equal(to_triptych(picture), to_triptych(sample))


def test_a_folder_for_pictures_that_is_a_file_is_named(photos, ade20k, out):
    build(photos, ade20k, out, CONFIG)
    (out / "images").touch()
    with pytest.raises(OSError, match="images"):
        build(photos, ade20k, out, CONFIG, images=True)


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs aside
from opmask.datasets import ADE20K, BenchmarkConfig, build_benchmark
root, out = sys.argv[1:]
config = BenchmarkConfig("ADE20K", "validation", seed=3)
build_benchmark(ADE20K(root, "validation"), root, out, config, images=True, workers=2)
"""


def start(root, out):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root), str(out)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait_for_images(process, out, count):
    # Without those that are being written, whose names begin with a dot.
    while len(list(out.glob("images/[!.]*.png"))) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


@pytest.mark.multiprocess
def test_a_build_killed_at_any_time_is_completed(tmp_path, plant):
    root = plant(tmp_path / "many", count=120)
    photos, out = ADE20K(root, "validation"), tmp_path / "out"
    build(photos, root, tmp_path / "whole", CONFIG, images=True)
    for count in (1, 30, 60):
        process = start(root, out)
        wait_for_images(process, out, count)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert len(Triptychs(out / "images")) < 120
        named = [path for path in out.rglob("*.*") if not path.name.startswith(".")]
        pictures = {path.relative_to(out).as_posix(): path.read_bytes() for path in named}
        # What has its final name is whole, whenever the end came.
        assert pictures.items() <= content(tmp_path / "whole").items()
    build(photos, root, out, CONFIG, images=True)
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.multiprocess
def test_ctrl_c_ends_all_processes_and_leaves_no_half_image(tmp_path, plant):
    for count in (500, 2_000, 8_000):
        root, out = plant(tmp_path / f"{count}", count=count), tmp_path / f"out-{count}"
        process = start(root, out)
        wait_for_images(process, out, 60)  # so many that all processes are at work
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
        if process.returncode != 0:
            break  # otherwise it was done, while this process waited for its turn
    assert errors.count("Traceback") == 1  # Python's own, of the interrupted program
    assert not list(out.glob("images/.*"))
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize("target", ["/dev/zero", ".half-made.jsonl", "gone"])
def test_a_half_made_manifest_that_is_no_file_is_refused(photos, ade20k, out, target):
    out.mkdir()
    (out / ".half-made.jsonl").symlink_to(target)
    with pytest.raises((ValueError, OSError), match=r"half-made\.jsonl'"):
        build(photos, ade20k, out, CONFIG)
    assert [path.name for path in out.iterdir()] == [".half-made.jsonl"]
