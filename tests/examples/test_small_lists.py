import csv
from collections import Counter
from hashlib import sha1
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reproduction.small import lists

COMMITTED = Path(lists.__file__).parent


def write_photo(path, seed, size=(18, 16)):
    """A picture of soft blotches, as different from others as photographs are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path, quality=95)


@pytest.fixture
def root(tmp_path):
    """Two photographs in each folder of each source with labels, and 40 without labels."""
    seeds = iter(range(1000))
    for source, (folders, *_) in lists.LABELLED.items():
        for images, labels in folders:
            for name in "ab":
                write_photo(tmp_path / source / images / f"{name}.jpg", next(seeds))
                write_photo(tmp_path / source / labels / f"{name}.png", 0)
    rows = [["file", "source", "licence", "clear(yes/no)"]]
    for number in range(36):
        rows.append([f"lake/{number}.jpg", "lake", "CC0", "yes"])
    rows += [[f"wall/w_v{number}.jpg", "wall", "none, or unknown", "no"] for number in range(1, 5)]
    rows += [["kodak/1.jpg", "kodak", "free", "yes"], ["kodak/2.jpg", "kodak", "paid", "no"]]
    for row in rows[1:]:
        write_photo(tmp_path / "photos" / row[0], next(seeds))
    with (tmp_path / "photos/sources.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    table = ["| source | photographs | clear | MB | from | licence |", "|---|---|---|---|---|---|"]
    table += [f"| {name} | 1 | 1 | 0.1 | the {name} | x |" for name in ("lake", "wall", "kodak")]
    (tmp_path / "photos/README.md").write_text("\n".join(["# Pool", "", *table]))
    return tmp_path


def splits(rows):
    return {row.file: row.split for row in rows}


def bits(*places):
    """A hash, all -1, but for 1 at some places."""
    hash_ = -np.ones(64, dtype=int)
    hash_[list(places)] = 1
    return hash_


def rows_of(*names):
    return [lists.Row(f"{place}", "s", "", "no", "auto", name) for place, name in enumerate(names)]


def test_hundredths_are_the_first_32_bits_of_the_sha_1():
    assert lists.hundredth("abc") == 0xA9993E36 % 100  # the digest of "abc" that FIPS 180 gives


def test_labelled_photographs_are_split_by_folder_and_then_by_name(root):
    found = splits(lists.labelled_rows(root))
    assert found["bsds/images/training/a.jpg"] == found["people/train_images/b.jpg"] == "train"
    for folder in "bsds/images/validation", "people/val_images", "scenes/images/validation":
        for name in "ab":
            key = f"{folder.split('/')[0]}/{name}".encode()
            even = int(sha1(key).hexdigest()[:8], 16) % 100 % 2 == 0
            assert found[f"{folder}/{name}.jpg"] == ("test" if even else "validation")


def test_labelled_photographs_of_foreign_sources_are_foreign_in_both_folders(root):
    rows = [row for row in lists.labelled_rows(root) if row.split == "foreign"]
    assert Counter(row.source for row in rows) == {"camvid": 4, "cocostuff_sample": 4}


def test_labelled_photographs_come_with_their_label_map_and_the_terms_of_their_source(root):
    rows = {row.file: row for row in lists.labelled_rows(root)}
    assert len(rows) == 24
    row = rows["people/val_images/a.jpg"]
    assert row.labels == "people/val_segmentations/a.png"
    assert (row.source, row.clear) == ("people", "no")
    assert row.licence.startswith("Apache-2.0")


def test_a_twentieth_of_the_others_is_tested_on_and_a_twentieth_validates(root):
    found = splits(lists.unlabelled_rows(root))
    for number in range(36):
        place = int(sha1(f"lake/{number}".encode()).hexdigest()[:8], 16) % 100
        expected = "test" if place < 5 else "validation" if place < 10 else "train"
        assert found[f"photos/lake/{number}.jpg"] == expected


@pytest.mark.parametrize(
    ("place", "split"), [(0, "test"), (4, "test"), (5, "validation"), (9, "validation"),
                         (10, "train"), (99, "train")],
)  # fmt: skip
def test_bounds_between_splits(root, monkeypatch, place, split):
    monkeypatch.setattr(lists, "hundredth", lambda key: place)
    found = splits(lists.unlabelled_rows(root))
    assert found["photos/lake/0.jpg"] == split
    assert found["photos/kodak/1.jpg"] == "foreign"


def test_pieces_of_a_wallpaper_share_a_split_by_the_name_before_v(root, monkeypatch):
    keys = []
    monkeypatch.setattr(lists, "hundredth", lambda key: keys.append(key) or 0)
    list(lists.unlabelled_rows(root))
    assert keys.count("wall/w") == 4
    assert "lake/0" in keys


def test_unlabelled_photographs_keep_their_licence(root):
    rows = {row.file: row for row in lists.unlabelled_rows(root)}
    assert rows["photos/wall/w_v1.jpg"][1:5] == ("wall", "none, or unknown", "no", "auto")
    assert rows["photos/lake/3.jpg"][1:5] == ("lake", "CC0", "yes", "auto")


def test_hashes_say_where_the_small_grey_picture_gets_brighter_to_the_right(tmp_path):
    write_photo(tmp_path / "a.jpg", 5, (40, 30))
    grey = Image.open(tmp_path / "a.jpg").convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    expected = [
        1 if grey.getpixel((x + 1, y)) > grey.getpixel((x, y)) else -1
        for y in range(8)
        for x in range(8)
    ]
    assert lists.difference_hash(tmp_path / "a.jpg").tolist() == expected


def test_equal_neighbours_do_not_get_brighter(tmp_path):
    Image.new("RGB", (20, 20), "gray").save(tmp_path / "a.png")
    assert set(lists.difference_hash(tmp_path / "a.png")) == {-1}


@pytest.mark.parametrize(("differ", "expected"), [(0, "out"), (6, "out"), (7, "train")])
def test_near_duplicates_differ_in_at_most_6_bits(differ, expected):
    hashes = np.stack([bits(), bits(*range(differ))])
    kept = lists.keep_apart(rows_of("test", "train"), hashes)
    assert [row.split for row in kept] == ["test", expected]


@pytest.mark.parametrize("order", [1, -1])
def test_near_duplicates_stay_in_the_first_split_only(order):
    names = ("test", "foreign", "validation", "train")
    for place, first in enumerate(names):
        for later in names[place + 1 :]:
            kept = lists.keep_apart(rows_of(first, later)[::order], np.stack([bits(), bits()]))
            assert [row.split for row in kept] == [first, "out"][::order]


def test_near_duplicates_within_a_split_stay():
    kept = lists.keep_apart(rows_of("train", "train"), np.stack([bits(), bits(3)]))
    assert [row.split for row in kept] == ["train", "train"]


def test_the_list_is_sorted_and_holds_everything(root):
    rows = lists.make_list(root)
    assert len(rows) == 24 + 42
    assert rows == sorted(rows)


def test_a_copy_of_a_test_photograph_is_out(root):
    rows = lists.make_list(root)
    assert not [row for row in rows if row.split == "out"]
    test = next(row.file for row in rows if row.split == "test")
    (root / "scenes/images/training/a.jpg").write_bytes((root / test).read_bytes())
    found = splits(lists.make_list(root))
    assert found["scenes/images/training/a.jpg"] == "out"
    assert found[test] == "test"


def test_both_files_are_written_and_then_agree(root, tmp_path, capsys):
    out = tmp_path / "out"
    lists.main(["--data", str(root), "--out", str(out)])
    lists.main(["--data", str(root), "--out", str(out), "--check"])
    assert sorted(path.name for path in out.iterdir()) == ["photos.csv", "sources.md"]
    assert b"\r" not in (out / "photos.csv").read_bytes()
    with (out / "photos.csv").open(newline="") as file:
        assert [lists.Row(**row) for row in csv.DictReader(file)] == lists.make_list(root)
    assert "'all': 66, 'clear': 37}" in capsys.readouterr().out


def test_sources_are_counted_by_split_with_their_origin_and_licences(root):
    rows = lists.make_list(root)
    lines = lists.to_table(rows, lists.read_origins(root)).splitlines()
    count = Counter(row.split for row in rows if row.source == "lake")
    numbers = " | ".join(str(count[split]) for split in ("train", "validation", "test"))
    assert f"| lake | {numbers} | 0 | 0 | 36 | 36 | the lake | CC0 |" in lines
    assert "| kodak | 0 | 0 | 0 | 2 | 0 | 2 | 1 | the kodak | 1 free; 1 paid |" in lines
    assert lines[-2].endswith(" | 66 | 37 |  |  |")
    assert lines[-1].startswith("| **clear** |")
    assert lines[-1].endswith(" | 1 | 0 | 37 | 37 |  |  |")


def test_the_most_frequent_licence_comes_first():
    rows = [row._replace(licence=kind) for row, kind in zip(rows_of(*"aaa"), "xyy", strict=True)]
    assert lists.count_licences(rows) == "2 y; 1 x"
    assert lists.count_licences(rows[1:]) == "y"


@pytest.mark.parametrize("name", ["photos.csv", "sources.md"])
def test_a_file_that_differs_is_named_with_its_line_and_left_alone(root, tmp_path, name):
    out = tmp_path / "out"
    lists.main(["--data", str(root), "--out", str(out)])
    lines = (out / name).read_text().splitlines()
    (out / name).write_text("\n".join([*lines[:2], "changed", *lines[3:]]))
    with pytest.raises(SystemExit, match=rf"{name}, line 3, must be\n .*\ngot\n  changed"):
        lists.main(["--data", str(root), "--out", str(out), "--check"])
    assert (out / name).read_text().splitlines()[2] == "changed"


def test_a_missing_or_longer_list_differs(root, tmp_path):
    with pytest.raises(
        SystemExit, match=r"photos.csv, line 1, must be\n  file,.*\ngot\n  nothing"
    ):
        lists.main(["--data", str(root), "--out", str(tmp_path / "new"), "--check"])
    (tmp_path / "a").write_text("one\nmore\n")
    with pytest.raises(SystemExit, match=r"a, line 2, must be\n  nothing\ngot\n  more"):
        lists.check(tmp_path, {"a": "one\n"})


def test_what_is_missing_or_damaged_is_named(root):
    data = ["--data", str(root), "--check"]
    (root / "bsds/annotations/training/a.png").unlink()
    with pytest.raises(SystemExit, match=r"--data must be .*a.jpg has no label map: no .*a.png"):
        lists.main(data)
    write_photo(root / "bsds/annotations/training/a.png", 0)
    photo = root / "photos/lake/7.jpg"
    photo.write_bytes(photo.read_bytes()[:300])
    with pytest.raises(SystemExit, match=r"--data must be .*lake/7.jpg cannot be read: "):
        lists.main(data)
    photo.unlink()
    with pytest.raises(SystemExit, match=r"--data must be .*lake/7.jpg cannot be read: .*no such"):
        lists.main(data)


def test_a_folder_without_photographs_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"must be the root of all photographs. \S+ holds no ph"):
        lists.main(["--data", str(tmp_path), "--check"])


def committed():
    with (COMMITTED / "photos.csv").open(newline="") as file:
        return [lists.Row(**row) for row in csv.DictReader(file)]


def test_the_committed_list_has_the_splits_that_models_were_trained_with():
    counts = Counter(row.split for row in committed())
    expected = {"train": 4799, "validation": 274, "test": 292, "foreign": 787, "out": 3}
    assert counts == expected
    pairs = "".join(f"{row.file},{row.split}\n" for row in committed())
    assert sha1(pairs.encode()).hexdigest() == "bbc6ae4371ccac7fd51e480e0b92a27dd55ffa68"


def test_no_foreign_source_is_trained_on():
    used = {row.source for row in committed() if row.split != "foreign"}
    assert used.isdisjoint(lists.FOREIGN)


def test_the_committed_table_counts_the_committed_list():
    table = (COMMITTED / "sources.md").read_text().splitlines()
    rows = committed()
    for source in {row.source for row in rows}:
        numbers = lists.count_rows([row for row in rows if row.source == source])
        begin = f"| {source} | {' | '.join(map(str, numbers))} | "
        assert any(line.startswith(begin) for line in table)


@pytest.mark.slow
def test_the_committed_files_are_what_the_photographs_give(data_root):
    lists.main(["--data", str(data_root), "--check"])
