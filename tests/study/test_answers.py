import json
import os

import pytest

from opmask.study import StudyKey
from opmask.study.answers import Answer, read_all, read_answers

ANY = {"trial": "t", "order": [], "choice": "c", "seconds": 0}


def test_answers_become_places_in_the_key(key, write_answers):
    first = read_answers(write_answers("7", [2, 0, 1]), key)
    assert (first.participant, first.path.name) == ("7", "answers-7.json")
    assert first.answers == (Answer(0, 2, 0, 2.0), Answer(1, 0, 0, 2.0), Answer(2, 1, 0, 2.0))
    last = read_answers(write_answers("8", [2], shown_last=True, seconds=3.5), key)
    assert last.answers == (Answer(0, 2, 2, 3.5),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opmask_study": 2}, "'opmask_study', the version of the format, must be 1, got 2"),
        ({"checksum": "c0ffee" * 4}, r"'checksum' must be .*\.\.\., got c0ffeec0ffee\.\.\., so"),
        ({"opmask_study": None}, "expected `int`, got `null`, in the field 'opmask_study'"),
        ({"checksum": None}, "expected `str`, got `null`, in the field 'checksum'"),
        ({"answers": [{"trial": "nothing"}]}, "object missing required field `order`"),
        ({"answers": [{}]}, r"missing required field `trial`, in the field 'answers\[0\]'"),
        ({"answers": 3}, "expected `array`, got `int`, in the field 'answers'"),
        ({"checksum": "7" * 10_001}, "expected `str` of length <= 10000, in the field 'checks"),
        ({"answers": [ANY] * 100_001}, "expected `array` of length <= 100000, in the field 'ans"),
    ],
)
def test_other_contents_are_refused_with_their_file(key, write_answers, change, message):
    path = write_answers("7", [0, 0, 0], **change)
    with pytest.raises(ValueError, match=rf"answers-7.json must be answers .*: .*{message}"):
        read_answers(path, key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": ["a", "b", "c"]}, r"'order' of 'barn' must hold its choices, got \['a'"),
        ({"order": ["a"] * 10}, r"expected `array` of length <= 9, in the field 'answers.*order"),
        ({"trial": "nothing"}, "'trial' must be one of the key's, got 'nothing'"),
        ({"choice": "a"}, "'choice' of 'barn' must be in its order, got 'a'"),
        ({"seconds": "long"}, "expected `float`, got `str`, in the field .*seconds'"),
        ({"seconds": True}, "expected `float`, got `bool`, in the field .*seconds'"),
        ({"seconds": -1.0}, "expected `float` >= 0.0, in the field .*seconds'"),
        ({"seconds": float("nan")}, "JSON is malformed"),
        ({"seconds": float("inf")}, "JSON is malformed"),
        ({"seconds": 10**400}, "number out of range, in the field .*seconds'"),
    ],
)
def test_an_answer_with_other_choices_is_refused(key, write_answers, change, message):
    path = write_answers("7", [0, 0, 0])
    record = json.loads(path.read_text())
    record["answers"][0].update(change)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"answers-7.json must be .*: .*{message}"):
        read_answers(path, key)


def test_what_is_no_file_is_refused_instead_of_waited_for(key, tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes")
    os.mkfifo(tmp_path / "pipe.json")
    for read in (StudyKey.read, lambda path: read_answers(path, key)):
        with pytest.raises(ValueError, match="must be a file"):
            read(tmp_path / "pipe.json")


def test_an_image_that_is_answered_twice_is_refused(key, write_answers):
    path = write_answers("7", [0, 0, 0])
    record = json.loads(path.read_text())
    record["answers"][1] = record["answers"][0]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="an image is answered twice"):
        read_answers(path, key)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}"])
def test_what_is_no_export_is_refused(key, tmp_path, text):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=r"odd.json must be answers that the page exported: "):
        read_answers(tmp_path / "odd.json", key)


def test_two_files_of_one_participant_are_named(key, write_answers, tmp_path):
    path = write_answers("7", [0, 0, 0])
    again = path.rename(tmp_path / "again.json")
    files = [write_answers("8", [1]), again, write_answers("7", [1, 1, 1])]
    message = r"but .*again.json and .*answers-7.json are both of '7'. Leave one of them out."
    with pytest.raises(ValueError, match=message):
        read_all(files, key)


def test_all_are_read_in_the_order_of_their_files(key, write_answers):
    files = [write_answers(name, [0]) for name in ("9", "3", "5")]
    assert [answers.participant for answers in read_all(files, key)] == ["9", "3", "5"]
