import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from opmask.datasets import ADE20K, IHarmony4, MakingConfig, Photo, SyntheticScenes, make_iharmony4
from opmask.datasets.making import JOURNAL, build
from opmask.perturb import PerturbationRecord, composite

SCENES = {"train": SyntheticScenes(3, size=32), "test": SyntheticScenes(2, size=32, seed=9)}
PNG = MakingConfig("HScenes", format="png")


def content(folder):
    """All files of a folder and what they hold."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def lines(path):
    return path.read_text().splitlines()


def test_the_folder_is_read_as_iharmony4s(tmp_path, caplog):
    assert make_iharmony4(SCENES, tmp_path, MakingConfig("HScenes")) == {"train": 3, "test": 2}
    for split, count in ("train", 3), ("test", 2):
        samples = IHarmony4(tmp_path, split)
        assert samples.subsets == ["HScenes"] * count
        assert [s.paths[0].name for s in (samples, IHarmony4(tmp_path, split, "HScenes"))] == [
            lines(tmp_path / f"HScenes/HScenes_{split}.txt")[0]
        ] * 2
        assert samples[0].composite.shape == (3, 32, 32)
    assert caplog.text == ""


def test_names_and_lists_are_those_of_the_format(tmp_path):
    make_iharmony4({"test": SyntheticScenes(1, seed=4)}, tmp_path, MakingConfig(variants=2))
    first, second = lines(tmp_path / "IHD_test.txt")
    stem = first.removesuffix("_1.jpg").rsplit("/", 1)[1]
    assert second == first.replace("_1.jpg", "_2.jpg")
    assert first == f"HOwn/composite_images/{stem}_1.jpg"
    assert stem.rsplit("_", 1)[0] == "scene-4-0"
    assert {path.name for path in (tmp_path / "HOwn").rglob("*.*")} == {
        f"{stem}_1.jpg", f"{stem}_2.jpg", f"{stem}.png", "scene-4-0.jpg", "HOwn_test.txt", JOURNAL,
    }  # fmt: skip


def test_one_region_is_changed_and_no_other_pixel_and_masks_are_white_inside(tmp_path):
    make_iharmony4(SCENES, tmp_path, PNG)
    for index, sample in enumerate(samples := IHarmony4(tmp_path, "train")):
        label = int(samples.paths[index].stem.rsplit("_", 2)[1])
        photo = SCENES["train"][index]
        assert torch.equal(sample.region[0] == 1, photo.label_map == label)
        assert torch.equal(sample.real, photo.image / 255)
        assert torch.equal(
            sample.composite * (1 - sample.region), sample.real * (1 - sample.region)
        )
        assert not torch.equal(sample.composite, sample.real)
    with Image.open(next((tmp_path / "HScenes/masks").iterdir())) as mask:
        assert (mask.mode, set(np.unique(mask))) == ("L", {0, 255})


def test_the_journal_says_what_was_done(tmp_path):
    make_iharmony4({"train": SCENES["train"]}, tmp_path, PNG)
    entry = json.loads(lines(tmp_path / f"HScenes/{JOURNAL}")[2])
    (applied,) = entry["applied"].values()
    photo, record = SCENES["train"][1], PerturbationRecord.from_json(applied)
    assert (entry["split"], entry["index"], entry["photo"]) == ("train", 1, photo.name)
    made = composite(photo.image, photo.label_map, record)
    assert torch.equal(made.composite, IHarmony4(tmp_path, "train")[1].composite)
    assert record.degradation is None


def test_no_file_depends_on_workers_or_on_being_interrupted(tmp_path, monkeypatch):
    make_iharmony4(SCENES, tmp_path / "whole", PNG)
    make_iharmony4(SCENES, tmp_path / "shared", PNG, workers=2)
    write, calls = build._write, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(build, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        make_iharmony4(SCENES, tmp_path / "killed", PNG)
    assert not (tmp_path / "killed/IHD_train.txt").exists()
    make_iharmony4(SCENES, tmp_path / "killed", PNG)
    assert len(calls) == 6  # two, the one that was killed, and what was left
    assert content(tmp_path / "killed") == content(tmp_path / "shared")
    assert content(tmp_path / "whole") == content(tmp_path / "shared")


def test_what_is_there_stays_and_what_was_removed_is_made_again(tmp_path):
    make_iharmony4(SCENES, tmp_path, PNG)
    before = content(tmp_path)
    next((tmp_path / "HScenes/composite_images").iterdir()).unlink()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    make_iharmony4(SCENES, tmp_path, PNG)
    assert content(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_second_set_is_added_to_the_lists_of_the_root(tmp_path):
    make_iharmony4(SCENES, tmp_path, PNG)
    other = {"test": SyntheticScenes(1, size=32, seed=3)}
    make_iharmony4(other, tmp_path, MakingConfig("HAbc"))
    assert IHarmony4(tmp_path, "test").subsets == ["HAbc", "HScenes", "HScenes"]
    assert IHarmony4(tmp_path, "train").subsets == ["HScenes"] * 3


def test_masks_and_regions_are_as_many_as_asked_for_or_as_there_are(tmp_path):
    label_map = torch.arange(1, 5).repeat_interleave(16).view(8, 8)
    photo = Photo(torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8), label_map, "a barn")
    config = MakingConfig(masks=3, regions=2, format="png")
    assert make_iharmony4({"test": [photo]}, tmp_path, config) == {"test": 2}
    for sample in IHarmony4(tmp_path, "test"):
        assert sample.region.mean() == 0.5
    assert (tmp_path / "HOwn/real_images/a-barn.png").is_file()


def test_all_is_resized_and_the_quality_is_that_of_jpeg(tmp_path):
    sizes = {}
    for quality in 30, 95:
        out = tmp_path / str(quality)
        make_iharmony4(SCENES, out, MakingConfig(size=48, quality=quality))
        sizes[quality] = sum(path.stat().st_size for path in out.rglob("*.jpg"))
        assert IHarmony4(out, "test")[0].real.shape == (3, 48, 48)
    assert sizes[30] < sizes[95]


def test_photos_without_a_fitting_class_and_broken_ones_are_left_out(ade20k, tmp_path, caplog):
    (ade20k / "images/validation/p3.jpg").write_bytes(b"no picture")
    photos = {"test": ADE20K(ade20k, "validation")}
    assert make_iharmony4(photos, tmp_path / "out") == {"test": 3}
    assert caplog.text.count("photo left out") == 2
    with pytest.raises(ValueError, match=r"split 'test', got none in 5. The last one: 'p4' must"):
        make_iharmony4(photos, tmp_path / "none", MakingConfig(share=(0.7, 0.8)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "made with 'seed' 0, not 1. Choose another folder or subset"),
        ({"format": "jpg"}, "made with 'format' 'png', not 'jpg'"),
    ],
)
def test_a_set_made_otherwise_is_refused(tmp_path, change, message):
    make_iharmony4(SCENES, tmp_path, PNG)
    with pytest.raises(ValueError, match=message):
        make_iharmony4(SCENES, tmp_path, replace(PNG, **change))
    with pytest.raises(ValueError, match="made with 'photos' "):
        make_iharmony4({"test": SCENES["test"]}, tmp_path, PNG)


def test_a_folder_with_other_things_is_refused_before_any_work(tmp_path):
    (tmp_path / "HCOCO/masks").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"which has 'HCOCO' without a made.jsonl."):
        make_iharmony4(SCENES, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["HCOCO"]


def test_photos_of_one_name_are_refused(ade20k, tmp_path):
    scenes = {"train": SyntheticScenes(2), "test": SyntheticScenes(1)}
    match = r"names that differ, got 'scene-0-0' twice: number 0 of 'train' and 0 of 'test'"
    with pytest.raises(ValueError, match=match):
        make_iharmony4(scenes, tmp_path / "a")
    files = ADE20K(ade20k, "validation")
    with pytest.raises(ValueError, match=r"got 'p0' twice, in 'train' and 'test'. Rename one"):
        make_iharmony4({"train": files, "test": files}, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_other_splits_and_values_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'photos' must be by split, .*, got \['val'\]"):
        make_iharmony4({"val": SyntheticScenes(1)}, tmp_path)
    for name, value in (("masks", 0), ("quality", 0), ("format", "gif"), ("subset", "a/b")):
        with pytest.raises(ValueError, match=f"'{name}' must "):
            MakingConfig(**{name: value})
    with pytest.raises(ValueError, match="'share' must rise and lie between 0 and 1"):
        MakingConfig(share=(0.5, 0.1))


def test_a_damaged_journal_is_named(tmp_path):
    make_iharmony4(SCENES, tmp_path, PNG)
    with (tmp_path / f"HScenes/{JOURNAL}").open("a") as file:
        file.write('{"split": 3}\n')
    with pytest.raises(ValueError, match=r"made.jsonl, line 7: expected `str`, got `int`"):
        make_iharmony4(SCENES, tmp_path, PNG)
