import hashlib
import json
import os
import tracemalloc

import pytest

from opmask.datasets import BenchmarkConfig
from opmask.datasets.benchmark.lines import FORMAT, Entry, Header
from opmask.datasets.benchmark.manifest import read_manifest, sha256, write_manifest
from opmask.datasets.benchmark.recompression import Recompression
from opmask.datasets.pairs import PhotoCounts
from opmask.perturb import Cube, Filter, GaussianBlur, LabScaling, PerturbationRecord, RegionChange

APPLIED = PerturbationRecord(
    7,
    (RegionChange(3, (Filter("moon"), LabScaling((1.1, 0.9, 1 / 3)))), RegionChange(5, ())),
    GaussianBlur(),
)
SHA = [digit * 64 for digit in "12ab"]
CONFIG = BenchmarkConfig("LIP", "val", 4, "reference-rgb", 256, 80)
HEADER = Header(CONFIG, "0.9", 5, 2, ("a.jpg", "b.jpg"), ("c.jpg",), PhotoCounts(10000, 9972))
ENTRIES = [
    Entry(1, "images/a.jpg", "labels/a.png", SHA[0], SHA[1], APPLIED),
    Entry(
        4,
        "images/d é.jpg",
        "labels/d é.png",
        SHA[2],
        SHA[3],
        PerturbationRecord(0, ()),
        Recompression(0.1 + 0.2),
    ),
]


@pytest.fixture
def path(tmp_path):
    write_manifest(tmp_path / "m.jsonl", HEADER, ENTRIES)
    return tmp_path / "m.jsonl"


def refusal(path, line, old, new):
    """The error of a manifest of which a line was changed, without its path."""
    lines = path.read_text().split("\n")
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"m\.jsonl, line") as error:
        read_manifest(path)
    return str(error.value).removeprefix(f"{path}, ")


def test_a_manifest_is_read_as_it_was_written(path):
    assert read_manifest(path) == (HEADER, ENTRIES)


def test_what_is_optional_may_be_missing(tmp_path):
    header = Header(BenchmarkConfig("barns", ""), "0.9", 0, 0)
    write_manifest(tmp_path / "m.jsonl", header, [])
    assert read_manifest(tmp_path / "m.jsonl") == (header, [])


def test_the_first_line_is_the_header(path):
    assert FORMAT == 1
    assert json.loads(path.read_text().splitlines()[0]) == {
        "opmask_benchmark": 1,
        "opmask": "0.9",
        "data": "LIP",
        "split": "val",
        "seed": 4,
        "settings": "reference-rgb",
        "size": 256,
        "recompression": 80,
        "photos": 5,
        "kept": 2,
        "unlabelled": ["a.jpg", "b.jpg"],
        "broken": ["c.jpg"],
        "table_1": {"photos": 10000, "labelled": 9972},
    }


def test_each_other_line_is_a_sample(path):
    first, second = map(json.loads, path.read_text().splitlines()[1:])
    assert first == {
        "index": 1,
        "photo": "images/a.jpg",
        "label_map": "labels/a.png",
        "photo_sha256": SHA[0],
        "label_map_sha256": SHA[1],
        "applied": json.loads(APPLIED.to_json()),
    }
    assert second["recompression"] == {"scale": 0.1 + 0.2, "quality": 90}


def test_pictures_sort_by_the_place_of_the_photo():
    names = [Entry(n, "a.b/c.d.jpg", "", "", "", APPLIED).image_name for n in (9, 10, 123456)]
    assert names == ["000009-c.d.png", "000010-c.d.png", "123456-c.d.png"]
    assert names == sorted(names)


def test_counts_are_described_and_compared_with_table_1():
    assert HEADER.describe() == (
        "2 of 5 photos kept: 2 without a labelled pixel, 1 that cannot be used. "
        "In the paper (Table 1) it is 9972 of 10000."
    )


@pytest.mark.parametrize(
    ("photos", "kept", "end"),
    [(10000, 9972, "10000, too."), (10000, 9971, "10000."), (9999, 9972, "10000.")],
)
def test_equal_counts_are_pointed_out(photos, kept, end):
    header = Header(CONFIG, "", photos, kept, table_1=PhotoCounts(10000, 9972))
    assert header.describe().endswith(f"it is 9972 of {end}")


def test_without_published_counts_there_is_no_comparison():
    assert Header(CONFIG, "", 3, 3).describe() == (
        "3 of 3 photos kept: 0 without a labelled pixel, 0 that cannot be used."
    )


def test_settings_of_ones_own_are_written_only_where_there_are_some(tmp_path):
    header = Header(BenchmarkConfig("barns", ""), "0.9", 0, 0, own_settings="second_rate=0.1")
    write_manifest(tmp_path / "m.jsonl", header, [])
    assert read_manifest(tmp_path / "m.jsonl") == (header, [])
    assert json.loads(header.to_json())["own_settings"] == "second_rate=0.1"
    wrong = header.to_json().replace('"second_rate=0.1"', "0.1")
    with pytest.raises(ValueError, match=r"got `float`, in the field 'own_settings'"):
        Header.from_json(wrong)


def negative(image):
    return 255 - image


def test_perturbations_of_ones_own_must_be_given(tmp_path):
    applied = PerturbationRecord(7, (RegionChange(3, (negative,)),))
    entry = Entry(0, "a.jpg", "a.png", SHA[0], SHA[1], applied)
    write_manifest(tmp_path / "m.jsonl", Header(CONFIG, "0.9", 1, 1), [entry])
    assert read_manifest(tmp_path / "m.jsonl", [negative])[1] == [entry]
    message = r"m\.jsonl, line 2: in the field 'applied', 'perturbations' must hold negative, "
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / "m.jsonl")


def test_a_missing_cube_file_is_named_with_its_line(tmp_path):
    lines = [f"{g} {g} {g}" for g in (0, 1) for _ in range(4)]
    (tmp_path / "look.cube").write_text("\n".join(["LUT_3D_SIZE 2", *lines]))
    applied = PerturbationRecord(7, (RegionChange(3, (Cube(tmp_path / "look.cube"),)),))
    entry = Entry(0, "a.jpg", "a.png", SHA[0], SHA[1], applied)
    write_manifest(tmp_path / "m.jsonl", Header(CONFIG, "0.9", 1, 1), [entry])
    assert read_manifest(tmp_path / "m.jsonl")[1] == [entry]
    (tmp_path / "look.cube").unlink()
    with pytest.raises(FileNotFoundError, match=r"m\.jsonl, line 2: .*look\.cube"):
        read_manifest(tmp_path / "m.jsonl")


def test_another_version_of_the_format_is_refused(path):
    assert refusal(path, 1, '"opmask_benchmark": 1', '"opmask_benchmark": 2') == (
        "line 1: 'opmask_benchmark', the version of the format, must be 1, got 2. "
        "It was written by opmask 0.9."
    )


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_broken_line_is_named_by_its_number(path, line):
    assert refusal(path, line, "{", "<").startswith(f"line {line}: the ")


def test_what_is_no_object_is_refused(path):
    path.write_text("3\n")
    with pytest.raises(ValueError, match=r"line 1: the header: expected `object`, got `int`"):
        read_manifest(path)


def test_bytes_that_are_no_text_are_refused(path):
    path.write_bytes(path.read_bytes().replace(b"labels/a.png", b"labels/\xff\xfe"))
    with pytest.raises(ValueError, match=r"line 2: the sample: .*'utf-8' codec"):
        read_manifest(path)


def test_an_empty_manifest_is_refused(path):
    path.write_text("")
    with pytest.raises(ValueError, match=r"line 1: the header: Input data was truncated"):
        read_manifest(path)


@pytest.mark.parametrize(("line", "number"), [(1, 13), (2, 6)])
def test_each_field_must_be_there(path, line, number):
    lines = path.read_text().splitlines()
    fields = json.loads(lines[line - 1])
    assert len(fields) == number
    for field in fields:
        rest = {name: value for name, value in fields.items() if name != field}
        path.write_text("\n".join([*lines[: line - 1], json.dumps(rest), *lines[line:]]))
        with pytest.raises(ValueError, match=f"line {line}: .* missing required field `{field}`"):
            read_manifest(path)


@pytest.mark.parametrize(
    ("line", "old", "new", "rule"),
    [
        (1, '"LIP"', "3", "expected `str`, got `int`, in the field 'data'"),
        (1, '"val"', "null", "expected `str`, got `null`, in the field 'split'"),
        (1, '"seed": 4', '"seed": "4"', "expected `int`, got `str`, in the field 'seed'"),
        (1, '"seed": 4', '"seed": true', "expected `int`, got `bool`, in the field 'seed'"),
        (
            1,
            '"seed": 4',
            f'"seed": {10**400}',
            "expected `int` <= 9223372036854775807, in the fie",
        ),
        (1, '"size": 256', '"size": 2.5', "expected `int | null`, got `float`, in the field 'siz"),
        (1, '"size": 256', '"size": 1000000', "expected `int` <= 8192, in the field 'size'"),
        (1, '"size": 256', '"size": 0', "expected `int` >= 1, in the field 'size'"),
        (
            1,
            '"recompression": 80',
            '"recompression": "80"',
            "expected `int | null`, got `str`, in the field 're",
        ),
        (
            1,
            '"recompression": 80',
            '"recompression": 101',
            "expected `int` <= 100, in the field 'recompression'",
        ),
        (1, '"photos": 5', '"photos": -1', "expected `int` >= 0, in the field 'photos'"),
        (1, '"kept": 2', '"kept": 6', "'kept' must be at most 'photos', 5, got 6"),
        (
            1,
            '"kept": 2',
            f'"kept": {10**400}',
            "expected `int` <= 1000000000, in the field 'kept'",
        ),
        (1, '["c.jpg"]', "1", "expected `array`, got `int`, in the field 'broken'"),
        (1, '["c.jpg"]', "[1]", "expected `str`, got `int`, in the field 'broken[0]'"),
        (
            1,
            '["a.jpg", "b.jpg"]',
            "{}",
            "expected `array`, got `object`, in the field 'unlabelled",
        ),
        (
            1,
            '{"photos": 10000, "labelled": 9972}',
            "[1, 2]",
            "expected `object | null`, got `arra",
        ),
        (
            1,
            '"labelled": 9972',
            '"labelled": "9"',
            "expected `int`, got `str`, in the field 'tabl",
        ),
        (1, '"0.9"', "[" * 50_000 + "]" * 50_000, "expected `str`, got `array`"),
        (2, '"images/a.jpg"', "[]", "expected `str`, got `array`, in the field 'photo'"),
        (2, SHA[1], "34", "expected `str` matching regex '^[0-9a-f]{64}"),
        (2, SHA[1], SHA[1] + "\\n", "expected `str` matching regex '^[0-9a-f]{64}"),
        (2, '"index": 1', '"index": null', "expected `int`, got `null`, in the field 'index'"),
        (2, '"index": 1', '"index": -1', "expected `int` >= 0, in the field 'index'"),
        (3, '"quality": 90', '"quality": 1.5', "expected `int`, got `float`, in the field 'reco"),
        (3, '"scale": 0.3', '"scale": "x", "y": 0.3', "expected `float`, got `str`, in the field"),
    ],
)
def test_fields_of_another_kind_are_refused(path, line, old, new, rule):
    kind = "header" if line == 1 else "sample"
    assert refusal(path, line, old, new).startswith(f"line {line}: the {kind}: {rule}")


OUTSIDE = [
    *("/etc/passwd", "../a.jpg", "a/../../b.jpg", "..", "", ".", "C:/a.jpg", "C:a.jpg", "a\0.jpg"),
    *("\\\\host\\share\\a.jpg", "a\\..\\..\\b.jpg", "//host/share/a.jpg", "x" * 5000),
]


@pytest.mark.parametrize("field", ["photo", "label_map"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_paths_that_lead_out_of_the_data_set_are_refused_at_once(path, field, name):
    old = {"photo": "images/a.jpg", "label_map": "labels/a.png"}[field]
    message = refusal(path, 2, json.dumps(old), json.dumps(name))
    assert f"'{field}'" in message
    assert message.startswith("line 2: the sample: ")


def test_other_paths_are_read(path):
    text = path.read_text().replace("images/a.jpg", "./..images/a..b/c:d....jpg")
    path.write_text(text)
    assert read_manifest(path)[1][0].photo == "./..images/a..b/c:d....jpg"


def test_more_lines_than_announced_are_not_read(path):
    with path.open("a") as file:
        file.write("nonsense\n" * 3)
    with pytest.raises(ValueError, match=r"m\.jsonl, line 4: the sample: "):
        read_manifest(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], *lines[1:3] * 9]))
    with pytest.raises(ValueError, match=r"in its first line says, 2, got 3 or more\."):
        read_manifest(path)


def test_a_line_without_end_is_not_read(path):
    with path.open("r+b") as file:
        file.truncate(2**30)  # sparse
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"m\.jsonl, line 4: it must be shorter than 16777216"):
        read_manifest(path)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_what_is_no_file_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="must be a file"):
            read_manifest(path)


def test_values_that_make_no_sense_are_refused(path):
    assert "line 1: 'settings' must be one of" in refusal(path, 1, '"reference-rgb"', '"best"')


def test_records_that_make_no_sense_are_refused(path):
    message = "line 2: in the field 'applied', 'text' must be what"
    assert message in refusal(path, 2, '"moon"', '"sun"')


def test_numbers_that_are_none_are_refused(path):
    assert "line 2: the sample: JSON is malformed" in refusal(path, 2, "1.1", "NaN")
    path.write_text(path.read_text().replace("NaN", "1.1"))
    assert "line 3: the sample: JSON is malformed" in refusal(
        path, 3, '"scale": 0.30000000000000004', '"scale": NaN'
    )


def test_recompressions_that_make_no_sense_are_refused(path):
    assert "line 3: 'scale' must be in" in refusal(path, 3, '"scale": 0.3', '"scale": 1.3')


@pytest.mark.parametrize(("lines", "got"), [(slice(0, 2), 1), (slice(0, 1), 0)])
def test_missing_lines_are_noticed(path, lines, got):
    path.write_text("\n".join(path.read_text().splitlines()[lines]))
    with pytest.raises(ValueError, match=rf"as 'kept' in its first line says, 2, got {got}\."):
        read_manifest(path)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.jsonl"):
        read_manifest(tmp_path / "gone.jsonl")


def test_checksums_are_those_of_hashlib(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_manifests_from_before_recompression_had_its_name_are_read(path):
    path.write_text(path.read_text().replace('"recompression"', '"clean"'))
    assert read_manifest(path) == (HEADER, ENTRIES)
