import pickle
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from opmask.datasets import (
    ADE20K,
    LIP,
    Benchmark,
    BenchmarkConfig,
    Composites,
    Photo,
    Triptychs,
    build_benchmark,
    read_photo,
)
from opmask.datasets.benchmark.recompression import draw_recompression
from opmask.datasets.benchmark.triptych import to_triptych
from opmask.perturb import PRESETS, Perturber, composite, sample_seed


@pytest.fixture
def built(ade20k, tmp_path):
    """The folder of a benchmark of four samples."""
    build_benchmark(ADE20K(ade20k, "validation"), ade20k, tmp_path / "b", config())
    return tmp_path / "b"


def config(**choices):
    return BenchmarkConfig("ADE20K", "validation", **choices)


def same(first, second):
    return first.applied == second.applied and all(map(torch.equal, first[:3], second[:3]))


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("settings", PRESETS)
def test_samples_are_those_of_composites(ade20k, tmp_path, settings, size):
    photos, how = ADE20K(ade20k, "validation"), config(seed=3, settings=settings, size=size)
    benchmark = build_benchmark(photos, ade20k, tmp_path / "b", how)
    composites = Composites(photos, Perturber(PRESETS[settings]), seed=3, size=size)
    assert [entry.index for entry in benchmark.entries] == [0, 2, 3, 4]
    for entry, sample in zip(benchmark.entries, benchmark, strict=True):
        assert same(sample, composites[entry.index])


@pytest.mark.parametrize("size", [None, 16])
def test_recompressed_samples_are_composites_resampled_and_compressed(ade20k, tmp_path, size):
    photos = ADE20K(ade20k, "validation")
    benchmark = build_benchmark(
        photos, ade20k, tmp_path / "b", config(recompression=70, size=size)
    )
    for entry, sample in zip(benchmark.entries, benchmark, strict=True):
        image, label_map, _ = photos[entry.index]
        assert entry.recompression == draw_recompression(sample_seed(0, 0, entry.index), 70)
        expected = entry.recompression(composite(image, label_map, entry.applied), size=size)
        assert same(sample, expected)
        assert sample.applied == entry.applied


def test_a_manifest_is_found_in_its_folder_or_by_its_name(built, ade20k):
    by_folder = Benchmark(built, ade20k)
    by_name = Benchmark(str(built / "manifest.jsonl"), str(ade20k))
    assert by_folder.manifest == by_name.manifest == built / "manifest.jsonl"
    assert same(by_folder[1], by_name[1])
    assert len(by_folder) == len(by_folder.entries) == 4


def test_the_photos_may_have_moved(built, ade20k):
    before = list(Benchmark(built, ade20k))
    moved = ade20k.rename(ade20k.with_name("moved"))
    assert all(map(same, before, Benchmark(built, moved)))


def test_samples_can_be_loaded_by_workers(built, ade20k):
    benchmark = pickle.loads(pickle.dumps(Benchmark(built, ade20k)))
    loaded = DataLoader(benchmark, batch_size=None, num_workers=1)
    assert all(map(same, loaded, benchmark))


def test_negative_places_count_from_the_end(built, ade20k):
    benchmark = Benchmark(built, ade20k)
    assert same(benchmark[-1], benchmark[3])
    with pytest.raises(IndexError):
        benchmark[4]


@pytest.mark.parametrize(
    ("place", "file", "field"),
    [
        (0, "images/validation/p0.jpg", "'photo' in line 2"),
        (3, "annotations/validation/p4.png", "'label_map' in line 5"),
        (-1, "annotations/validation/p4.png", "'label_map' in line 5"),
    ],
)
def test_missing_files_are_named(built, ade20k, place, file, field):
    (ade20k / file).unlink()
    message = rf"{field} of .*manifest\.jsonl must be a file below 'root', got .*{file}, which is"
    with pytest.raises(FileNotFoundError, match=message):
        Benchmark(built, ade20k)[place]


def test_a_name_that_no_file_can_have_is_named_briefly(built, ade20k):
    benchmark = Benchmark(built, ade20k)
    benchmark.entries[0] = replace(benchmark.entries[0], photo=4096 * "x")
    with pytest.raises(FileNotFoundError, match=r"'photo' in line 2 .* its name is too long") as e:
        benchmark[0]
    assert len(str(e.value)) < 1000


@pytest.mark.parametrize("file", ["images/validation/p2.jpg", "annotations/validation/p2.png"])
def test_files_that_changed_are_named(built, ade20k, file):
    path = ade20k / file
    path.write_bytes(path.read_bytes() + b"\0")
    benchmark = Benchmark(built, ade20k)
    field = "photo" if path.suffix == ".jpg" else "label_map"
    message = rf"{file} must have the SHA-256 that stands beside '{field}' in line 3 of .*, got "
    with pytest.raises(ValueError, match=message):
        benchmark[1]
    assert benchmark[0].applied == benchmark.entries[0].applied  # the others are not looked at


def test_files_that_were_cut_off_are_named(built, ade20k):
    path = ade20k / "images/validation/p2.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"p2\.jpg must have the SHA-256 .* The file has changed"):
        Benchmark(built, ade20k)[1]


def test_a_missing_manifest_is_named(ade20k, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone"):
        Benchmark(tmp_path / "gone", ade20k)
    with pytest.raises(FileNotFoundError, match=r"manifest\.jsonl"):
        Benchmark(tmp_path, ade20k)


@pytest.mark.parametrize(
    "choices", [{}, {"size": 64}, {"recompression": 90, "size": 64}, {"recompression": 75}]
)
def test_rebuilt_samples_of_real_photos_equal_their_pictures(data_root, tmp_path, choices):
    root = data_root / "scenes"
    photos = ADE20K(root, "validation")
    photos.pairs = photos.pairs[:5]
    build_benchmark(photos, root, tmp_path / "b", config(**choices), images=True)
    pictures = Triptychs(tmp_path / "b/images")
    for picture, rebuilt in zip(pictures, Benchmark(tmp_path / "b", root), strict=True):
        assert torch.equal(to_triptych(picture), to_triptych(rebuilt))
        # Where nothing was resized in the end, not even rounding comes between them.
        assert "size" in choices or all(map(torch.equal, picture[:3], rebuilt[:3]))


def test_records_of_real_people_rebuild_their_samples(data_root, tmp_path):
    root = data_root / "people"
    photos = LIP(root, "val")
    photos.pairs = photos.pairs[:4]
    how = BenchmarkConfig("LIP", "val", size=64)
    benchmark = build_benchmark(photos, root, tmp_path / "b", how)
    for entry, sample in zip(benchmark.entries, benchmark, strict=True):
        photo: Photo = read_photo(*photos.pairs[entry.index])
        again = composite(photo.image, photo.label_map, sample.applied, size=64)
        assert all(map(torch.equal, sample[:3], again[:3]))
